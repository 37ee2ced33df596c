"""A headless Chromium, spoken to over its DevTools protocol: no driver, no library.

The page polls without end, so nothing may wait for the network to be idle; a test waits for a
condition in the page instead.
"""

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import picows

CHROMIUM: Final = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)
PATIENCE: Final = 30.0

_FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0",
)  # fmt: skip


class _Answers(picows.WSListener):
    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.events: list[dict[str, Any]] = []
        self._parts = b""

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        self._parts += frame.get_payload_as_bytes()
        if not frame.fin:
            return
        message, self._parts = json.loads(self._parts), b""
        if message.get("id") in self.waiting:
            self.waiting.pop(message["id"]).set_result(message)
        else:
            self.events.append(message)


class Browser:
    """``async with Browser() as browser: await browser.open(url)``. One page."""

    def __init__(self) -> None:
        self._answers = _Answers()
        self._last_id = 0

    async def __aenter__(self) -> "Browser":
        assert CHROMIUM is not None
        self._profile = Path(tempfile.mkdtemp(prefix="chromium-"))
        browser = await asyncio.to_thread(self._launch, CHROMIUM)
        self._transport, _ = await picows.ws_connect(lambda: self._answers, browser)
        targets = await self.call("Target.getTargets")
        page = next(t for t in targets["targetInfos"] if t["type"] == "page")
        attached = await self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        await self.page("Log.enable")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._transport.disconnect()
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        assert self._process.stderr is not None
        self._process.stderr.close()
        shutil.rmtree(self._profile, ignore_errors=True)

    def _launch(self, chromium: str) -> str:
        """Start the browser and return the address that it prints."""
        self._process = subprocess.Popen(
            [chromium, *_FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if b"DevTools listening on " in line:
                return line.decode().split()[-1]
        raise AssertionError(f"{chromium} ended with code {self._process.wait()}")

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """One command of the protocol. Raises AssertionError with the browser's answer."""
        self._last_id += 1
        message = {"id": self._last_id, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        answer = self._answers.waiting[self._last_id] = asyncio.get_running_loop().create_future()
        self._transport.send(picows.WSMsgType.TEXT, json.dumps(message).encode())
        async with asyncio.timeout(PATIENCE):
            result = await answer
        assert "result" in result, result
        return result["result"]

    async def page(self, method: str, **parameters: Any) -> Any:
        return await self.call(method, self._session, **parameters)

    async def open(self, url: str) -> None:
        await self.page("Page.navigate", url=url)
        await self.until('document.readyState === "complete"')

    async def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page."""
        result = await self.page(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        await self.evaluate(
            "new Promise(done => { const look = () => "
            f"({condition}) ? done() : setTimeout(look, 20); look(); }})"
        )

    def messages(self) -> list[str]:
        """What the browser logged: policy violations, missing files, exceptions."""
        return [
            f"{entry['source']}: {entry['text']}"
            for event in self._answers.events
            if event.get("method") == "Log.entryAdded"
            and (entry := event["params"]["entry"])["level"] in ("warning", "error")
        ]
