"""What is examined, and what the checks have learned so far."""

import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field

from ...observability.redaction import Redactor
from ...transport.api_client import ApiClient, StartAnswer
from ...transport.signing_key import SigningKey
from .dialog import Dialog
from .session import Session
from .subject import Subject


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host to connect to. ``proxy`` is the URL of the proxy that carries the connection."""

    host: str
    port: int
    encrypted: bool
    proxy: str | None = None

    @staticmethod
    def of(url: str, proxy: str | None = None) -> "Endpoint":
        """Raises ValueError when ``url`` has no host or an impossible port."""
        parts = urllib.parse.urlsplit(url)
        encrypted = parts.scheme in ("https", "wss")
        if not parts.hostname:
            raise ValueError(f"{url!r} has no host")
        return Endpoint(parts.hostname, parts.port or (443 if encrypted else 80), encrypted, proxy)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(slots=True)
class Examination:
    """Filled by the checks. ``timeout`` is seconds for one piece of network I/O."""

    subject: Subject
    timeout: float
    handshake: bool = True
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
    known_variables: frozenset[str] = frozenset()
    keys: tuple[SigningKey, ...] = ()
    key: int = 0
    """Which of the keys the API accepted."""
    api: ApiClient | None = None
    answer: StartAnswer | None = None
    gateway_url: str = ""
    session: Session | None = None
    dialog: Dialog | None = None

    def redactor(self) -> Redactor:
        """Masks every secret that is known by now."""
        client = self.subject.client
        secrets = [client.signing_key or "", client.signing_key_fallback or ""]
        for key in self.keys:
            secrets += key.secrets()
        if self.answer is not None:
            secrets += (self.answer.session_token, self.answer.sync_token)
        return Redactor(secrets)

    async def aclose(self) -> None:
        if self.session is not None:
            await self.session.aclose()
        if self.api is not None:
            await self.api.aclose()
