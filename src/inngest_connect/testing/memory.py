"""How much memory a process has resident."""

import sys
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int:
    """Bytes now, of this process or another one.

    Where the system does not tell, the most that this process ever had. Raises OSError for a
    process that is not there.
    """
    import resource  # not on every system

    statm = Path(f"/proc/{pid or 'self'}/statm")
    if pid is not None or statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
