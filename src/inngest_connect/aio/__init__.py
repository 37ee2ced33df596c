"""Private. Threads, event loops, signals and the end of the process.

These modules know nothing of Inngest: each would serve any program that runs an event loop on a
thread beside the application's.
"""
