"""One worker with a journal that is killed again and again: ``python -m chaos.kills``.

A worker process is killed with SIGKILL at random moments, also while it starts, and started again
at once: it is forked from a process that has imported everything, so that thousands of kills take
minutes. What it had acknowledged has to be answered by a process after it: with the reply of its
function, or with an error that Inngest retries. Nothing but what was acknowledged in the last
moments before a kill may be left to its lease: the journal writes beside the acknowledgements.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import inngest

from inngest_connect.core.retry import ScheduleRetry
from inngest_connect.factory import connect
from inngest_connect.journal.file import open_to_read
from inngest_connect.journal.rows import read
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway, executor_request

APP: Final = "kills"
USERS: Final = 16
FUNCTIONS: Final = ("quick", "quick", "slow", "big")
LEASE: Final = 15.0
WINDOW: Final = 1.0
"""Seconds before a kill in which an acknowledgement may be too young for the journal: mostly some
milliseconds, and as long as a busy disk takes; what takes longer is reported as journal_slow."""
_BIG: Final = 300_000
_START_LIMIT: Final = 60.0


@dataclass(slots=True)
class KillsReport:
    """What became of every request. ``left_to_lease`` has how long before a kill each was acked."""

    seed: int
    kills: int = 0
    while_starting: int = 0
    seconds: float = 0.0
    requests: int = 0
    acknowledged: int = 0
    replies: Counter[str] = field(default_factory=Counter)
    left_to_lease: list[float] = field(default_factory=list)
    unanswered: int = 0
    twice: int = 0
    """Requests that one process has executed twice."""
    rows: int = -1
    """What the journal had at the end."""
    code: int | None = None
    """Of the last process, which was asked to end."""
    journal_errors: Counter[str] = field(default_factory=Counter)

    @property
    def problems(self) -> list[str]:
        """What must not happen, as sentences; empty when nothing did."""
        found = []
        late = [each for each in self.left_to_lease if each > WINDOW]
        if late:
            found.append(f"{len(late)} requests were left to their lease: {max(late):.3f} s old")
        if self.unanswered:
            found.append(f"{self.unanswered} acknowledged requests have no reply")
        if self.twice:
            found.append(f"{self.twice} requests were executed twice by one process")
        if self.rows:
            found.append(f"the journal has {self.rows} rows at the end")
        if self.code:
            found.append(f"the last process ended with {self.code}")
        if wrong := sum(n for name, n in self.replies.items() if name.startswith("wrong")):
            found.append(f"{wrong} replies were wrong")
        if self.journal_errors:
            found.append(f"the journal has reported {dict(self.journal_errors)}")
        return found


async def run_kills(kills: int, seed: int, *, commit: str = "beside") -> KillsReport:
    """Kill a worker so often, and wait until every request has ended."""
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {
            "lease": LEASE,
            "extend_lease_interval": "3s",
            "heartbeat_interval": "3s",
        }
        async with EmbeddedGateway(record=False, **settings) as gateway:
            return await _Kills(gateway, Path(folder), kills, seed, commit).run()


class _Kills:
    def __init__(
        self, gateway: EmbeddedGateway, folder: Path, kills: int, seed: int, commit: str
    ) -> None:
        self._gateway = gateway
        self._folder = folder
        self._draw = random.Random(seed)
        self._commit = commit
        self._wanted = kills
        self._interrupted = asyncio.Event()
        self._report = KillsReport(seed)
        self._killed_at: list[float] = []
        self._over = asyncio.Event()

    async def run(self) -> KillsReport:
        report, begun = self._report, time.monotonic()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupted.set)
        users = [asyncio.create_task(self._user(number)) for number in range(USERS)]
        async with _parent(self._gateway.api_origin, self._folder, self._commit) as parent:
            await parent.start()
            while report.kills < self._wanted and not self._interrupted.is_set():
                await self._wait_for_a_moment()
                self._killed_at.append(loop.time())
                await parent.end(signal.SIGKILL)
                await parent.start()
                report.kills += 1
                if report.kills % 50 == 0:
                    done = f"{report.kills} kills, {self._gateway.ledger.answered} replies"
                    sys.stderr.write(f"  {done}, {time.monotonic() - begun:.0f} s\n")
            report.seconds = time.monotonic() - begun
            async with asyncio.timeout(_START_LIMIT):
                await self._gateway.wait_for_worker()
            self._over.set()
            await asyncio.gather(*users)
            await self._gateway.wait_until_idle()
            report.code = await parent.end(signal.SIGTERM)
        self._count()
        return report

    async def _wait_for_a_moment(self) -> None:
        if self._draw.random() < 0.15:
            self._report.while_starting += 1
            await asyncio.sleep(self._draw.random())
            return
        async with asyncio.timeout(_START_LIMIT):
            await self._gateway.wait_for_worker()
        await asyncio.sleep(self._draw.expovariate(1 / 0.3))

    async def _user(self, number: int) -> None:
        draw, replies, sent = random.Random(number), self._report.replies, 0
        while not self._over.is_set():
            await self._gateway.wait_for_worker()
            name, sent = draw.choice(FUNCTIONS), sent + 1
            event = {"data": {"n": sent, "seconds": round(0.1 + draw.random() * 1.9, 2)}}
            run_id = f"{number}-{sent}"
            call = executor_request(APP, f"{APP}-{name}", {**event, "name": name}, run_id=run_id)
            try:
                response = await self._gateway.store.dispatch(call)
            except Exception as failure:  # noqa: BLE001 - the ledger has what it means
                replies[f"none: {failure}"] += 1
                continue
            replies[_kind(response, name, sent)] += 1

    def _count(self) -> None:
        report, records = self._report, self._gateway.ledger.records.values()
        report.requests = len(records)
        for record in records:
            if not record.acknowledged_by:
                continue
            report.acknowledged += 1
            acknowledged_at = record.acknowledged_at
            if record.outcome == "expired" and acknowledged_at is not None:
                # The gateway may have read it after the kill, and before another process was ready.
                ages = (at - acknowledged_at for at in self._killed_at)
                report.left_to_lease.append(next((a for a in ages if a >= -0.3), float("inf")))
            elif record.outcome != "answered":
                report.unanswered += 1
        for file in self._folder.glob("executed-*"):
            executions = Counter(file.read_text().split())
            report.twice += sum(1 for count in executions.values() if count > 1)
        for file in self._folder.glob("errors-*"):
            report.journal_errors.update(file.read_text().split())
        with contextlib.closing(open_to_read(self._folder / "journal")) as database:
            report.rows = len(read(database).rows)


class _Parent:
    """The process that workers are forked from, as this one sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._worker = 0

    async def start(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"start\n")
        self._worker = await self._number()

    async def end(self, number: signal.Signals) -> int:
        """Signal the worker, and wait for its exit code."""
        os.kill(self._worker, number)
        return await self._number()

    async def _number(self) -> int:
        assert self._process.stdout is not None
        async with asyncio.timeout(_START_LIMIT):
            return int(await self._process.stdout.readline())


@contextlib.asynccontextmanager
async def _parent(*arguments: object) -> AsyncIterator[_Parent]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "chaos.kills", "--parent", *map(str, arguments)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield _Parent(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def fork_workers(origin: str, folder: str, commit: str) -> None:
    """For each line of standard input, fork a worker, and print its pid and its exit code."""
    from inngest_connect import orchestrator  # noqa: F401 - what a start imports later
    from inngest_connect.observability import metrics, tracing  # noqa: F401

    for number, _ in enumerate(sys.stdin):
        pid = os.fork()
        if not pid:
            work(origin, folder, str(number), commit)
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()


def _kind(response: pb.SDKResponse, name: str, number: int) -> str:
    body = json.loads(response.body)
    if response.status == pb.SDKResponseStatus.DONE:
        expected = "x" * _BIG if name == "big" else number
        return "of the function" if body == expected else "wrong output"
    code = body.get("code") if isinstance(body, dict) else None
    return "worker_ended" if code == "worker_ended" else f"wrong: {body!r}"[:80]


def work(origin: str, folder: str, number: str, commit: Any) -> None:
    """The worker process: writes which runs it executes, and what its journal reports."""
    executed = os.open(f"{folder}/executed-{number}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    errors = os.open(f"{folder}/errors-{number}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    client = inngest.Inngest(
        app_id=APP, api_base_url=origin, event_api_base_url=origin, is_production=False
    )

    @client.create_function(fn_id="quick", trigger=inngest.TriggerEvent(event="quick"))
    async def quick(ctx: inngest.Context) -> Any:
        os.write(executed, f"{ctx.run_id}\n".encode())
        return ctx.event.data["n"]

    @client.create_function(fn_id="slow", trigger=inngest.TriggerEvent(event="slow"))
    async def slow(ctx: inngest.Context) -> Any:
        os.write(executed, f"{ctx.run_id}\n".encode())
        await asyncio.sleep(float(str(ctx.event.data["seconds"])))
        return ctx.event.data["n"]

    @client.create_function(fn_id="big", trigger=inngest.TriggerEvent(event="big"))
    async def big(ctx: inngest.Context) -> str:
        os.write(executed, f"{ctx.run_id}\n".encode())
        return "x" * _BIG

    def failed(event: Any) -> None:
        if event.kind.startswith("journal"):
            os.write(errors, f"{event.kind}\n".encode())

    connect(
        [(client, [quick, slow, big])],
        instance_id="kills",
        journal=f"{folder}/journal",
        journal_commit=commit,
        retry=ScheduleRetry((0.0, 0.1, 0.3, 1.0)),
        logger=False,
        on={"error": failed},
    ).run()


def _show(report: KillsReport) -> None:
    ages = sorted(report.left_to_lease)
    summary = {
        "seed": report.seed,
        "kills": report.kills,
        "while_starting": report.while_starting,
        "seconds": round(report.seconds, 1),
        "kills_per_minute": round(report.kills / report.seconds * 60, 1),
        "requests": report.requests,
        "acknowledged": report.acknowledged,
        "replies": dict(report.replies),
        "left_to_lease": len(ages),
        "acknowledged_before_the_kill_ms": [round(each * 1e3, 1) for each in ages],
        "executed_twice_by_one_process": report.twice,
        "rows_at_the_end": report.rows,
    }
    sys.stdout.write(json.dumps(summary) + "\n")
    for problem in report.problems:
        sys.stdout.write(f"PROBLEM {problem}\n")


def main() -> int:
    """Parse the command line and run it; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.kills",
        description="Kill a worker that has a journal, and check that every request is answered. "
        "Ctrl-C ends the kills, and reports.",
        epilog="The exit code is 1 when a request was lost or something is wrong.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=100, help="how often it is killed")
    parser.add_argument("--seed", type=int, default=1, help="when it is killed")
    parser.add_argument("--commit", choices=("beside", "required"), default="beside")
    parser.add_argument("--parent", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.parent:
        fork_workers(*given.parent)
        return 0
    report = asyncio.run(run_kills(given.kills, given.seed, commit=given.commit))
    _show(report)
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
