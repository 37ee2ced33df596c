"""Runs the doctor's checks in a test's own loop, beside the servers that it examines."""

from typing import Any

from inngest_connect.cli.doctor.checks import examine
from inngest_connect.cli.doctor.examination import Examination, from_environment
from inngest_connect.cli.doctor.findings import Mark, Result

PATIENCE = 30.0
IMPATIENCE = 0.05

KEY = "signkey-test-" + "ab" * 32
FALLBACK_KEY = "signkey-test-" + "cd" * 32


async def diagnose(*, impatient_after: int | None = None, **options: Any) -> list[Result]:
    """The results of all checks, with the environment as it is.

    After the check ``impatient_after`` nothing is waited for any more, so that the silence of a
    test does not last, while what has to work before may take its time.
    """
    examination = Examination(from_environment(), PATIENCE, **options)

    def told(result: Result) -> None:
        if result.number == impatient_after:
            examination.timeout = IMPATIENCE

    return await examine(examination, told)


def first_failure(results: list[Result]) -> Result:
    """The check that decides the exit code."""
    return next(result for result in results if result.mark is Mark.FAIL)


def said(result: Result) -> str:
    """All that people read of a result."""
    problems = [f"{one.text} -> {one.remedy}" for one in result.finding.problems]
    return "\n".join([result.finding.summary, *problems, *result.finding.details])
