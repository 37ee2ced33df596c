"""The operating system's side of a child process: its start, its memory, and its exit code."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

PROGRAM: Final = "inngest_connect.execution.processes.program"
_BOOTSTRAP: Final = f"""
import json, runpy, sys
sys.path[:] = json.loads(sys.argv[2])["path"]
runpy.run_module({PROGRAM!r}, run_name="__main__", alter_sys=True)
"""
"""The path comes first: this package may be found only because the parent's program extended it, as
in an archive.
"""


def spawn(
    program: Mapping[str, str | None],
    grace: float,
    connection: socket.socket,
    reports: socket.socket,
) -> "subprocess.Popen[bytes]":
    """Start a child that serves ``program["target"]`` over ``connection``. Raises OSError.

    ``grace`` is the seconds that the child has to end after the parent has closed its half.
    A fresh interpreter, not a fork: threads and locks of this process would not survive one. It
    blocks this thread for milliseconds: ``subprocess`` uses vfork, which copies no page tables.
    """
    number = connection.fileno()
    arguments = {
        "path": [each for each in sys.path if isinstance(each, str)],
        **program,
        "grace": grace,
        "parent": os.getpid(),
        "reports": reports.fileno(),
    }
    # The child inherits the mask and unblocks them when it has handlers: Ctrl-C in a terminal goes
    # to all processes, and would end one that is still importing.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    try:
        return subprocess.Popen(  # noqa: S603 - this interpreter, with data for it
            [sys.executable, "-c", _BOOTSTRAP, str(number), json.dumps(arguments)],
            stdin=subprocess.DEVNULL,
            pass_fds=(number, reports.fileno()),
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def is_frozen() -> bool:
    """Whether there is no interpreter: ``sys.executable`` is this program, or nothing."""
    # PyInstaller and cx_Freeze; Nuitka, which in its other modes compiles for an interpreter.
    compiled = getattr(sys.modules["__main__"], "__compiled__", None)
    nuitka = compiled is not None and getattr(compiled, "standalone", True)
    return bool(getattr(sys, "frozen", False) or nuitka or not sys.executable)


def resident_bytes(pid: int) -> int:
    """Memory that the process has in use, 0 when the system does not report it."""
    import resource  # not on every system

    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):  # it has just ended
        return 0
    return int(pages) * resource.getpagesize()


def describe_exit(code: int | None) -> str:
    """``code`` as subprocess has it, in words that start with a verb."""
    if code is None:
        return "could not be started"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    # The kernel sends SIGKILL to processes that use too much memory.
    return f"was killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
