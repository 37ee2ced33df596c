"""OneLoop: the event loop that a part of the test kit was started on, and has to be used on."""

import asyncio

from ..aio.running_loop import running_loop
from ..errors import LocalMistake


class OneLoop:
    """Raises instead of waiting for a loop that stands still while the test runs on another one."""

    def __init__(self, what: str, instead: str) -> None:
        """``what`` is started on a loop; ``instead`` is what works on any."""
        self._what = what
        self._instead = instead
        self._loop: asyncio.AbstractEventLoop | None = None

    def begin(self) -> None:
        """The running loop is the one from now on. Raises LocalMistake outside of asyncio."""
        self._loop = running_loop()

    def check(self) -> None:
        """Raises LocalMistake on another loop."""
        here, loop = running_loop(), self._loop
        if loop is None or loop is here:
            return
        raise LocalMistake(
            f"{self._what} was started on the event loop {loop!r}, and is used on {here!r}: the "
            "first one does not serve it meanwhile. With pytest-asyncio give the fixture and the "
            'test the same loop: loop_scope="session" in pytest_asyncio.fixture() and in '
            "pytest.mark.asyncio(), or the options asyncio_default_fixture_loop_scope and "
            f"asyncio_default_test_loop_scope. Or use {self._instead}"
        )
