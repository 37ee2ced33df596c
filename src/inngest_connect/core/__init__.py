"""The decisions of the worker, as plain synchronous Python. Private.

Everything here takes an input and the time and returns commands. Nothing here imports an event
loop, a socket, a clock, a thread, a random source or a log; an import contract enforces that.
Follow one request: ``inputs`` -> ``worker_core.WorkerCore.handle`` -> ``commands``.
"""
