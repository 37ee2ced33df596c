"""How much memory this process has resident."""

import sys
from pathlib import Path


def resident_bytes() -> int:
    """Bytes now; where the system does not tell, the most there ever were."""
    import resource  # not on every system

    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
