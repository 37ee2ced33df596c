"""A minute of chaos with real processes. ``make chaos SECONDS=3600`` runs more."""

import os
import signal
import subprocess

import pytest

from chaos import controller, run_chaos
from chaos.kills import run_kills

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(SECONDS + 600)]


@pytest.mark.scenario("C", "E")
def test_no_result_is_lost_in_a_minute_of_chaos() -> None:
    report = run_chaos(SECONDS, seed=1)

    assert report.problems == []
    assert report.server["runs"]["completed"] > SECONDS
    assert report.server["replied"] == report.server["requests"] - report.server["unroutable"]
    assert report.server["requests"] >= report.server["acknowledged"] > 0
    assert report.executed >= report.server["acknowledged"]
    assert sum(report.server["faults"].values()) > SECONDS / 5
    assert report.stops.total() > 0


def test_a_run_that_is_interrupted_twice_leaves_no_process_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes: list[subprocess.Popen[str]] = []
    start = controller._start

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def start_recorded(*arguments: str) -> "subprocess.Popen[str]":
        process = start(*arguments)
        processes.append(process)
        if len(processes) == 1:
            monkeypatch.setattr(process, "communicate", interrupt)
        return process

    monkeypatch.setattr(controller, "_start", start_recorded)
    with pytest.raises(KeyboardInterrupt):
        run_chaos(60, seed=1, on_fault=interrupt)

    codes = [process.wait(30) for process in processes]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert codes == [-signal.SIGKILL] * 3


async def test_a_worker_that_is_killed_again_and_again_leaves_nothing_to_its_lease() -> None:
    report = await run_kills(5, seed=1)

    assert report.problems == []
    assert report.kills == 5
    assert report.acknowledged >= report.replies["of the function"] > 0
    assert report.rows == 0
