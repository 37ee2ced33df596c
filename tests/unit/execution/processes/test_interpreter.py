"""How the memory and the exit code of a process are described."""

import pytest

from inngest_connect.execution.processes.interpreter import describe_exit, resident_bytes

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-11, "was killed by SIGSEGV"),
        (-9, "was killed by SIGKILL, perhaps for want of memory"),
        (-63, "was killed by signal 63"),
        (None, "could not be started"),
    ],
)
def test_the_end_of_a_process_is_described_in_words(code: int | None, text: str) -> None:
    assert describe_exit(code) == text


def test_the_memory_of_a_process_that_has_ended_is_zero() -> None:
    assert resident_bytes(2**30) == 0
