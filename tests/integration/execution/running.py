"""An executor on the running loop, and what it posts."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from inngest_connect.core.events import ErrorOccurred, Event
from inngest_connect.core.inputs import ExecutionFinished
from inngest_connect.core.wire.messages import ExecutionResult
from inngest_connect.execution.executor import ExecutorFactory, ExecutorPorts
from inngest_connect.sdk.adapter import SdkApp
from inngest_connect.testing import executor_request
from tests.integration.execution import process_apps

TARGET = f"{process_apps.__name__}:apps"
_LIMIT = 20.0


class Running:
    """``call`` submits a request, ``ended`` waits for its end."""

    def __init__(
        self, factory: ExecutorFactory, functions: dict[str, frozenset[str]] | None = None
    ) -> None:
        app = SdkApp(process_apps.client, process_apps.functions)
        self.events: asyncio.Queue[ErrorOccurred] = asyncio.Queue()
        self.results: dict[str, list[ExecutionResult | None]] = {}
        self._changed = asyncio.Condition()
        self._notices: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self.executor = factory(
            ExecutorPorts(
                loop=asyncio.get_running_loop(),
                run_request=app.run,
                can_cancel=lambda request: app.is_async(request.function_slug),
                post=self._post,
                observe=self._observe,
                functions=(
                    {process_apps.APP: app.identity.function_slugs}
                    if functions is None
                    else functions
                ),
            )
        )

    def _observe(self, event: Event) -> None:
        assert isinstance(event, ErrorOccurred)
        self.events.put_nowait(event)

    def _post(self, happened: object) -> None:
        if isinstance(happened, ExecutionFinished):
            self._finished(happened)

    def _finished(self, finished: ExecutionFinished) -> None:
        self.results.setdefault(finished.request_id, []).append(finished.result)
        notice = asyncio.ensure_future(self._notify())
        self._notices.add(notice)
        notice.add_done_callback(self._notices.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def submit(self, function: str, **data: Any) -> str:
        """Without a flush. Returns the request id."""
        request_id = f"request-{next(self._numbers)}"
        slug = f"{process_apps.APP}-{function}"
        event = {"name": "test", "data": data, "id": "", "ts": 0}
        self.executor.submit(executor_request(process_apps.APP, slug, event, request_id=request_id))
        return request_id

    def call(self, function: str, **data: Any) -> str:
        request_id = self.submit(function, **data)
        self.executor.flush()
        return request_id

    async def ended(self, request_id: str) -> ExecutionResult | None:
        """The one result of a request."""
        async with asyncio.timeout(_LIMIT), self._changed:
            await self._changed.wait_for(lambda: request_id in self.results)
        (result,) = self.results[request_id]
        return result

    async def result(self, function: str, **data: Any) -> ExecutionResult:
        result = await self.ended(self.call(function, **data))
        assert result is not None
        return result

    async def event(self) -> ErrorOccurred:
        return await asyncio.wait_for(self.events.get(), _LIMIT)

    async def end(self) -> None:
        await self.executor.stop()
        await self.executor.wait_stopped(1.0)
        await asyncio.gather(*self._notices)


@contextlib.asynccontextmanager
async def running(factory: ExecutorFactory, **options: Any) -> AsyncIterator[Running]:
    """Started, and stopped at the end."""
    made = Running(factory, **options)
    try:
        await made.executor.start()
        yield made
    finally:
        await made.end()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens in another process."""
    async with asyncio.timeout(_LIMIT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def dead(pid: int) -> bool:
    """Whether a process has ended; as a zombie it has, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
