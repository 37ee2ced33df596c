"""Chaos: real worker processes, sockets and signals, and a server with random faults.

``run_chaos`` starts a server process and worker processes, lets faults happen for a while, and
returns the server's ledger and the workers' counts. ``python -m chaos`` prints them. It covers what
the models of ``simulation`` cannot show.
"""

from .controller import ChaosReport, run_chaos

__all__ = ["ChaosReport", "run_chaos"]
