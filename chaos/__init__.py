"""Chaos on the real thing: worker processes, sockets and signals, and a server that misbehaves.

``run_chaos`` starts a server process and worker processes, lets random faults happen for a while,
and returns what the server's ledger and the workers say in the end. ``python -m chaos``
prints it. Simulated chaos is in ``simulation``; this is for what models cannot show.
"""

from .controller import ChaosReport, run_chaos

__all__ = ["ChaosReport", "run_chaos"]
