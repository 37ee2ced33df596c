"""Marks of tests in which simulated processes are killed: these await and close nothing."""

import pytest

KILLS_PROCESSES = (
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings(
        "ignore:coroutine:RuntimeWarning",
        "ignore:unclosed event loop:ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
)
