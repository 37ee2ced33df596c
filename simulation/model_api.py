"""ModelApi: the two endpoints of the API, in virtual time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from inngest_connect.core import inputs

CLIENT_TIMEOUT: Final = 10.0


@dataclass(slots=True)
class ModelApi:
    """``fault`` is what it answers until ``fault_until``: a status, "hang" or "answer_lost".

    None means that its name has no address.
    """

    draw: random.Random
    issued: Callable[[str, str, str], None]
    """Called with each connection id and its tokens, for the gateways to check."""
    gateways: list[str] = field(default_factory=list)
    fault: Any = None
    fault_until: float = 0.0
    connections: int = 0

    def fail(self, fault: Any, until: float) -> None:
        """Answer both endpoints with a fault until that time."""
        self.fault, self.fault_until = fault, until

    def start(
        self, generation: int, excluded: tuple[str, ...], secret: str, now: float
    ) -> tuple[float, inputs.Input]:
        """Return after how many seconds the worker receives which input."""
        if now < self.fault_until:
            wait, status, text = self._failure()
            offline = self.fault is None
            return wait, inputs.StartFailed(generation, status, text, offline=offline)
        candidates = [g for g in self.gateways if g not in excluded] or self.gateways
        if not candidates:
            return 0.0, inputs.StartFailed(generation, 500, "no gateway found")
        self.connections += 1
        gateway = self.draw.choice(candidates)
        connection_id = f"01{self.connections:024d}"
        session, sync = (f"{secret}-{kind}-{self.connections}" for kind in ("session", "sync"))
        self.issued(connection_id, session, sync)
        return 0.0, inputs.StartSucceeded(
            generation, connection_id, f"ws://{gateway}", gateway, session, sync
        )

    def flush(self, request_id: str, now: float) -> tuple[bool, float, inputs.Input]:
        """Return whether the reply is stored, and after how many seconds what is received."""
        if now >= self.fault_until:
            return True, 0.0, inputs.FlushSucceeded(request_id)
        wait, status, text = self._failure()
        return self.fault == "answer_lost", wait, inputs.FlushFailed(request_id, status, text)

    def _failure(self) -> tuple[float, int | None, str]:
        if self.fault == "hang":
            return CLIENT_TIMEOUT, None, "timed out"
        if self.fault is None:
            return 0.0, None, "no address for this name"
        if self.fault == "answer_lost":
            return 0.0, None, "connection refused"
        return 0.0, int(self.fault), f"HTTP {self.fault}"
