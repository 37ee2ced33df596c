"""What the error says that ends a worker because of something that must not happen."""

import pytest

from inngest_connect.orchestrator import _crashed

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "cause",
    [
        MemoryError(),
        ExceptionGroup("tasks", [ValueError("x"), MemoryError()]),
        ExceptionGroup("tasks", [ExceptionGroup("more", [MemoryError()])]),
    ],
    ids=["alone", "in a group", "in a group of groups"],
)
def test_a_process_without_memory_is_not_called_a_bug(cause: Exception) -> None:
    error = _crashed(cause)

    assert "no memory left" in str(error)
    assert "bug" not in str(error)
    assert error.__cause__ is cause


@pytest.mark.parametrize("cause", [KeyError("x"), ExceptionGroup("tasks", [KeyError("x")])])
def test_anything_else_is_to_be_reported(cause: Exception) -> None:
    error = _crashed(cause)

    assert f"the worker's I/O loop failed: {type(cause).__name__}" in str(error)
    assert "This is a bug in inngest-connect" in str(error)
    assert error.__cause__ is cause
