"""The simulation is repeatable, shrinks and explains failures, and finds them."""

import os
import subprocess
import sys
from collections.abc import Callable
from unittest import mock

import pytest

from inngest_connect.core.worker_core import WorkerCore
from simulation import (
    Entry,
    InvariantViolated,
    Report,
    Simulation,
    Timeline,
    explain,
    failure_of,
    make_schedule,
    run_seeds,
    shrink,
    simulation,
)
from simulation import __main__ as command
from tests.simulation.seeded_bugs import SEEDED_BUGS

pytestmark = pytest.mark.unit


def timeline_of(seed: int) -> str:
    timeline = Timeline()
    Simulation(make_schedule(seed), note=timeline).run()
    return timeline.text()


def test_some_schedules_hold_all_invariants() -> None:
    """Thousands are in tests/simulation, which is not traced for coverage."""
    progress: list[int] = []

    report = run_seeds(0, 120, jobs=1, on_progress=lambda so_far: progress.append(so_far.schedules))

    assert report.failures == []
    assert report.schedules == 120
    assert progress == [50, 100, 120]
    assert report.per_second_and_job > 0


def test_a_seed_has_the_same_timeline_every_time() -> None:
    assert timeline_of(7) == timeline_of(7)
    assert timeline_of(7) != timeline_of(8)
    assert make_schedule(7) == make_schedule(7)


def test_a_timeline_leaves_out_heartbeats_and_ticks() -> None:
    text = timeline_of(7)

    assert "HEARTBEAT" not in text
    assert "Tick" not in text
    assert "WORKER_CONNECT" in text
    assert "hush" not in text


def test_a_failing_schedule_is_shrunk_to_what_matters() -> None:
    schedule = make_schedule(3)
    needed = {schedule.entries[2], schedule.entries[-1]}

    def fails(smaller: object) -> bool:
        return needed <= set(smaller.entries)  # type: ignore[attr-defined]

    assert set(shrink(schedule, fails).entries) == needed


def test_a_failing_seed_is_explained_by_its_shortest_timeline() -> None:
    with SEEDED_BUGS["the_old_socket_is_closed_early"]():
        report = run_seeds(0, 50, jobs=1, most_failures=1)
        seed = next(seed for seed, text in report.failures if "although it is sound" in text)
        explanation = explain(seed)
        text = explanation.text

    assert not explanation.holds
    assert text.startswith(f"seed {seed}, 1 entries after shrinking")
    assert text.splitlines()[1].split()[1] in ("drain", "die_young")
    assert text.splitlines()[-1].startswith("VIOLATED InvariantViolated")


def test_an_exception_of_the_core_is_a_failure_too() -> None:
    def broken(*_: object) -> object:
        raise ZeroDivisionError("oops")

    with pytest.raises(ZeroDivisionError):
        Simulation(make_schedule(1), make_core=broken)  # type: ignore[arg-type]
    with SEEDED_BUGS["a_transition_is_missing"]():
        assert any(failure_of(make_schedule(seed)) for seed in range(20))


def test_what_never_ends_is_a_violation() -> None:
    with (
        mock.patch.object(WorkerCore, "next_deadline", return_value=0.0),
        mock.patch.object(simulation, "_MOST_STEPS", 5_000),
        pytest.raises(InvariantViolated, match="no end"),
    ):
        Simulation(make_schedule(9)).run()


def test_an_entry_is_shown_with_its_amount_and_detail() -> None:
    assert str(Entry(1.0, "api", 7.0, 503)) == "api 7 503"
    assert str(Entry(1.0, "reset")) == "reset"


def test_the_command_runs_many_seeds() -> None:
    many = subprocess.run(
        [sys.executable, "-m", "simulation", "--seeds", "100", "--jobs", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert many.returncode == 0, many.stderr
    assert "100 schedules" in many.stdout
    assert "0 failed" in many.stdout


def test_the_command_replays_one_seed_the_same_way_in_every_process() -> None:
    one, other = (
        subprocess.run(
            [sys.executable, "-m", "simulation", "--seed", "21"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=False,
        )
        for hash_seed in ("1", "2")
    )

    assert one.returncode == 0, one.stderr
    assert one.stdout.endswith("all invariants hold\n")
    assert one.stdout == other.stdout


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("--seeds", "0", "0 is not positive"),
        ("--jobs", "-2", "-2 is negative"),
        ("--seed", "x", "invalid"),
    ],
)
def test_a_wrong_option_of_the_command_is_refused(
    option: str,
    value: str,
    problem: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulation", option, value])

    with pytest.raises(SystemExit) as ended:
        command.main()

    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_an_interrupted_command_shows_what_it_has_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, on_progress: Callable[[Report], None], **__: object) -> None:
        on_progress(Report(schedules=50, failures=[(7, "oops")]))
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_seeds", interrupted)

    code = command.simulate(0, 100, 1)

    out = capsys.readouterr().out
    assert code == 130
    assert "50 schedules" in out
    assert "interrupted" in out
    assert "seed 7: oops" in out
