"""Starts the processes of a chaos run, stops and continues them at random, and collects results."""

import json
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

WORKERS: Final = 2
_LONGEST_STOP: Final = 3.0
_PATIENCE: Final = 90.0


@dataclass(slots=True)
class ChaosReport:
    """``server`` has the counts of the ledger, ``workers`` the counts of each worker.

    ``stops`` counts how often a server or a worker was stopped with SIGSTOP.
    """

    seed: int
    seconds: float
    server: dict[str, Any] = field(default_factory=dict)
    workers: list[dict[str, Any]] = field(default_factory=list)
    stops: Counter[str] = field(default_factory=Counter)

    @property
    def executed(self) -> int:
        """How many executions all workers started."""
        return sum(worker["executed"] for worker in self.workers)

    @property
    def problems(self) -> list[str]:
        """What must not happen, as sentences; empty when nothing did."""
        found = []
        if self.server["lost"]:
            found.append(f"{self.server['lost']} acknowledged requests have no reply")
        if self.server["runs"].get("wrong"):
            found.append(f"{self.server['runs']['wrong']} runs ended wrongly")
        for key in ("executed_twice", "invalid_transitions"):
            count = sum(worker[key] for worker in self.workers)
            if count:
                found.append(f"{key.replace('_', ' ')}: {count}")
        return found


def run_chaos(
    seconds: float, seed: int, on_fault: Callable[[str], None] | None = None
) -> ChaosReport:
    """Let faults happen for ``seconds``, then wait until all runs have ended.

    ``on_fault`` is called with a text for every stopped process. Raises RuntimeError when a process
    hangs or ends early. All processes have ended when it returns or raises.
    """
    report = ChaosReport(seed, seconds)
    server = _start("server", str(seconds), str(seed))
    processes = [server]
    try:
        origin = _line(server)["origin"]
        workers = [_start("worker", origin, f"chaos-{number}") for number in range(WORKERS)]
        processes += workers
        _stop_and_continue(server, workers, report, on_fault)
        report.server = _line(server)
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        report.workers = [_line(worker) for worker in workers]
        server.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(timeout=_PATIENCE)
    finally:
        # All are killed before one is waited for: the wait can be interrupted.
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()
    return report


def _start(module: str, *arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", f"{__package__}.{module}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    # The next line of JSON that a process prints.
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], _PATIENCE)
    if not readable:
        process.send_signal(signal.SIGUSR1)  # it writes to stderr what it waits for
        time.sleep(1.0)
        raise RuntimeError(f"{process.args!r} has printed nothing for {_PATIENCE:g} s")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended early, with code {process.wait()}")
    message: dict[str, Any] = json.loads(line)
    return message


def _stop_and_continue(
    server: "subprocess.Popen[str]",
    workers: list["subprocess.Popen[str]"],
    report: ChaosReport,
    on_fault: Callable[[str], None] | None,
) -> None:
    # SIGSTOP and SIGCONT, as a paused container or virtual machine experiences them.
    draw = random.Random(~report.seed)
    until = time.monotonic() + report.seconds
    while time.monotonic() < until:
        time.sleep(draw.random() * 4.0)
        name, process = draw.choice([("server", server), *(("worker", each) for each in workers)])
        stopped = draw.random() * _LONGEST_STOP
        report.stops[name] += 1
        if on_fault is not None:
            on_fault(f"stops a {name} for {stopped:.1f} s")
        process.send_signal(signal.SIGSTOP)
        time.sleep(stopped)
        process.send_signal(signal.SIGCONT)
