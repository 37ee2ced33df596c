"""Hook: user code that is asked for a value, off the I/O thread and for a limited time.

A plain function is called on a daemon thread that exists for this call only, so one that never
returns delays neither a heartbeat nor the end of the process. What an async function returns is
awaited on the application's event loop.
"""

import asyncio
import concurrent.futures
import inspect
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

from ..core.wire.user_text import shown_error
from .waiters import until_done

HOOK_SECONDS: Final = 4.0
"""Less than what the core allows an attempt beyond the API's own limit (5 s), so that the attempt
fails with an error that names the hook."""


class HookFailed(Exception):
    """The hook raised, or did not return in time. The text names it."""


class Hook:
    """``name`` is the option that the user set; ``limit`` is in seconds.

    All calls are made on one event loop, which need not be the application's.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        application_loop: asyncio.AbstractEventLoop,
        limit: float = HOOK_SECONDS,
    ) -> None:
        self.name = name
        self._function = function
        self._loop = application_loop
        self._limit = limit
        self._answer: concurrent.futures.Future[Any] | None = None
        """Of the latest call, which may be abandoned and still run."""

    async def call(self, *arguments: Any) -> Any:
        """Return what the hook returns. Raises HookFailed, and nothing that the hook raises."""
        try:
            async with asyncio.timeout(self._limit):
                # One call at a time: a hook that never returns costs one thread, not one thread
                # for each attempt.
                if self._answer is not None:
                    await until_done(self._answer)
                answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
                self._answer = answer
                name = f"inngest-connect-{self.name}"
                thread = threading.Thread(
                    target=self._run, args=(answer, arguments), name=name, daemon=True
                )
                try:
                    thread.start()
                except RuntimeError as error:  # the process cannot start another thread
                    answer.set_exception(HookFailed(f"{self.name} was not called: {error}"))
                await until_done(answer)
        except TimeoutError:
            raise HookFailed(f"{self.name} did not return within {self._limit:g} s") from None
        return answer.result()

    def _run(self, answer: "concurrent.futures.Future[Any]", arguments: tuple[Any, ...]) -> None:
        """On the thread of this call. ``answer`` is completed whatever user code does."""
        try:
            value = self._function(*arguments)
            if inspect.isawaitable(value):
                self._await_on_the_loop(value, answer)
            else:
                answer.set_result(value)
        except BaseException as error:  # noqa: BLE001 - of the user; sys.exit() is a failure too
            answer.set_exception(self._raised(error))

    def _await_on_the_loop(
        self, value: Awaitable[Any], answer: "concurrent.futures.Future[Any]"
    ) -> None:
        async def wait() -> None:
            try:
                # The caller gave up by then; without a limit the task would stay on the loop.
                async with asyncio.timeout(self._limit):
                    result = await value
            except BaseException as error:
                answer.set_exception(self._raised(error))
                # A cancellation is of this task, or the hook's own; either way it ends here.
                if isinstance(error, asyncio.CancelledError):
                    raise
            else:
                answer.set_result(result)

        waiting = wait()
        try:
            asyncio.run_coroutine_threadsafe(waiting, self._loop)
        except RuntimeError:  # the application's event loop is closed
            waiting.close()
            if inspect.iscoroutine(value):
                value.close()
            raise

    def _raised(self, error: BaseException) -> HookFailed:
        return HookFailed(f"{self.name} raised {shown_error(error)}")
