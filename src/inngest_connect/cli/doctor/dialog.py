"""Dialog: a handshake with the worker's own core parts, over the session of an examination."""

import time

from ...core.commands import Send
from ...core.connections.generation import Credentials, Generation
from ...core.connections.inbound import Inbound, Malformed
from ...core.connections.message_handler import MessageHandler
from ...core.connections.phases import Phase
from ...core.inputs import Input, MessageReceived, SocketClosed, TextReceived
from ...core.outbox import Outbox
from ...core.settings import CoreSettings, WorkerIdentity
from ...transport.api_client import StartAnswer
from .session import Session

Ended = SocketClosed | str
"""How a dialog can end: the socket, or a time limit in words."""


class Dialog:
    """Begins when the socket is open. Times are monotonic seconds."""

    def __init__(
        self,
        session: Session,
        identity: WorkerIdentity,
        settings: CoreSettings,
        answer: StartAnswer,
        now: float,
    ) -> None:
        self._session = session
        self._outbox = Outbox()
        self._messages = MessageHandler(identity, settings)
        self.generation = Generation(1, 0, settings, self._outbox, now)
        credentials = Credentials(session_token=answer.session_token, sync_token=answer.sync_token)
        self.generation.named(answer.connection_id, answer.gateway_group, credentials, now)
        self.generation.enter(Phase.AWAITING_HELLO, now)

    async def step(self) -> Inbound | Ended | None:
        """Wait for one message, or for the time limit of the phase, and return what it means."""
        deadline = self.generation.next_deadline()
        wait = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        input = await self._session.next(wait)
        return self.tick() if input is None else self._read(input)

    async def next(self, timeout: float) -> Inbound | Ended | None:
        """Wait ``timeout`` seconds for one message; "silence" when none comes."""
        input = await self._session.next(timeout)
        return "silence" if input is None else self._read(input)

    def tick(self) -> str | None:
        """Send what is due. Returns what was waited for in vain."""
        expired = self.generation.tick(time.monotonic())
        self._write()
        return expired

    def _read(self, input: Input) -> Inbound | Ended | None:
        inbound: Inbound | Ended | None = None
        match input:
            case MessageReceived(_, data):
                inbound = self._messages.receive(self.generation, data, time.monotonic())
            case SocketClosed():
                inbound = input
            case TextReceived():
                inbound = Malformed("text_message")
        self._write()
        return inbound

    def _write(self) -> None:
        for command in self._outbox.take():
            if isinstance(command, Send):
                self._session.send(command.data)
