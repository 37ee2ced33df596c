"""Plays the round of one situation and records what was seen."""

import shlex
import subprocess
import time
from pathlib import Path

import pytest

from tests.beside.environments import CannotInstall, programs_of, versions
from tests.beside.program import DoesNotWork
from tests.beside.results import record
from tests.beside.rounds import play
from tests.beside.situations import ENVIRONMENTS, SITUATIONS, Situation


async def check(name: str, folder: Path) -> None:
    """Fails when what must hold does not; skips, with the reason, what cannot be had here."""
    situation = SITUATIONS[name]
    if not _can_be_had(situation):
        record(name, "not run", reason=situation.unavailable, versions={}, seconds=0)
        pytest.skip(situation.unavailable)
    try:
        programs = programs_of(ENVIRONMENTS[situation.environment])
    except CannotInstall as error:
        packages = ", ".join(ENVIRONMENTS[situation.environment].packages)
        record(name, "not run", reason=f"cannot install {packages}", versions={}, seconds=0)
        pytest.skip(f"cannot install {packages}: {error}")
    seen = versions(programs, situation.packages)
    begun = time.monotonic()
    try:
        await play(situation, programs, folder)
    except DoesNotWork as error:
        seconds = time.monotonic() - begun
        record(name, "does not work", reason=str(error), versions=seen, seconds=seconds)
        raise
    record(name, situation.holds, versions=seen, seconds=time.monotonic() - begun)


def _can_be_had(situation: Situation) -> bool:
    probe = shlex.split(situation.probe or "true")
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0
