"""ApiClient: POST /v0/connect/start and /v0/connect/flush (PROTOCOL.md section 1).

Keys leave this process only as the hash that the API compares. No redirect is followed, and no
more than a megabyte of an answer is read.
"""

import hashlib
import json
import re
import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
from google.protobuf.message import DecodeError

from ..errors import ConfigurationError
from ..observability.redaction import Redactor
from ..protocol import FLUSH_PATH, START_PATH
from ..protocol import connect_pb2 as pb
from .environment import tls_context

_MAX_ANSWER_BYTES: Final = 1024 * 1024
_KEY_PREFIX: Final = re.compile(r"^signkey-\w+-")


class SigningKey:
    """A signing key that cannot be printed, formatted or pickled by accident."""

    __slots__ = ("_digest", "_key")

    def __init__(self, key: str) -> None:
        """Raises ConfigurationError when the key's body is not hexadecimal."""
        self._key = key
        try:
            body = bytes.fromhex(_KEY_PREFIX.sub("", key))
        except ValueError:
            raise ConfigurationError(
                f"the signing key {self.hint()} is not of the form signkey-<env>-<hexadecimal "
                "digits>: copy it again from the Inngest dashboard"
            ) from None
        self._digest = hashlib.sha256(body).hexdigest()

    def bearer(self) -> str:
        """The value of the Authorization header."""
        return f"Bearer {self._digest}"

    def hint(self) -> str:
        """The key by its last four characters."""
        return f"***{self._key[-4:]}" if len(self._key) > 8 else "***"

    def secrets(self) -> tuple[str, str]:
        """What a log must never contain: the key and its hash."""
        return (self._key, self._digest)

    def __repr__(self) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a signing key is not pickled")


class ApiError(Exception):
    """The API refused, or could not be asked. ``status`` is None without an answer."""

    def __init__(
        self, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class StartAnswer:
    connection_id: str
    gateway_endpoint: str
    gateway_group: str
    session_token: str = field(repr=False)
    sync_token: str = field(repr=False)


class ApiClient:
    """Lives on one event loop; ``timeout`` is seconds for one call."""

    def __init__(
        self,
        api_origin: str,
        env: str | None,
        keys: tuple[SigningKey, ...],
        timeout: float,
        redactor: Redactor | None = None,
    ) -> None:
        """``redactor`` learns the tokens of each answer and cleans what the API says of itself."""
        self.api_origin = api_origin.rstrip("/")
        self._env = env
        self._keys = keys
        self._redactor = redactor if redactor is not None else Redactor()
        self._tls_context: ssl.SSLContext | None = None
        encrypted = self.api_origin.startswith("https:")
        # Reading the certificate store takes tens of milliseconds; http:// never needs it.
        verify = self.tls_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.AsyncClient(timeout=timeout, follow_redirects=False, verify=verify)

    def tls_context(self) -> ssl.SSLContext:
        """The verifying context shared by HTTPS and wss."""
        if self._tls_context is None:
            self._tls_context = tls_context()
        return self._tls_context

    async def start(self, exclude_gateways: tuple[str, ...], key: int) -> StartAnswer:
        """Ask for a gateway. Raises ApiError."""
        body = pb.StartRequest(exclude_gateways=exclude_gateways).SerializeToString()
        content = await self._post(START_PATH, body, key)
        try:
            answer = pb.StartResponse.FromString(content)
        except DecodeError:
            answer = pb.StartResponse()
        if not answer.connection_id or not answer.gateway_endpoint:
            # Text of a captive portal can decode to a message without fields that we know.
            raise ApiError(f"{self.api_origin} did not answer with a StartResponse") from None
        self._redactor.learn(answer.session_token, answer.sync_token)
        return StartAnswer(
            answer.connection_id,
            answer.gateway_endpoint,
            answer.gateway_group,
            answer.session_token,
            answer.sync_token,
        )

    async def flush(self, payload: bytes, key: int) -> None:
        """Deliver one serialized SDKResponse. Raises ApiError."""
        await self._post(FLUSH_PATH, payload, key)

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _post(self, path: str, body: bytes, key: int) -> bytes:
        url = self.api_origin + path
        try:
            async with self._http.stream(
                "POST", url, content=body, headers=self._headers(key)
            ) as response:
                content = await _read(response)
        except httpx.HTTPError as error:
            cause = str(error) or type(error).__name__
            raise ApiError(f"{url} could not be reached: {cause}") from None
        if response.status_code == 200:
            return content
        raise ApiError(
            self._refusal(url, response.status_code, content, key),
            response.status_code,
            _retry_after(response),
        )

    def _headers(self, key: int) -> dict[str, str]:
        headers = {"Content-Type": "application/protobuf"}
        if self._env is not None:
            headers["X-Inngest-Env"] = self._env
        if self._keys:
            headers["Authorization"] = self._keys[key].bearer()
        return headers

    def _refusal(self, url: str, status: int, content: bytes, key: int) -> str:
        detail = self._redactor.text(_error_text(content))
        text = f"{url} answered HTTP {status}" + (f": {detail}" if detail else "")
        if status in (401, 403):
            used = f"signing key {self._keys[key].hint()}" if self._keys else "no signing key"
            text += f" ({used}, environment {self._env or 'default'}): check INNGEST_SIGNING_KEY, "
            text += "INNGEST_SIGNING_KEY_FALLBACK and INNGEST_ENV"
        elif 300 <= status < 400:
            text += " (redirects are not followed): set api_base_url to the final address"
        return text


async def _read(response: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > _MAX_ANSWER_BYTES:
            raise ApiError(f"{response.url} answered with more than {_MAX_ANSWER_BYTES} bytes")
    return bytes(content)


def _error_text(content: bytes) -> str:
    """Errors are JSON from the API and plain text from a proxy or middleware."""
    text = content[:300].decode(errors="replace").strip()
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        return text if not text.startswith("<") else "an HTML page"
    if isinstance(parsed, dict) and isinstance(parsed.get("error"), str):
        return str(parsed["error"])
    return text


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, from either form of the header (RFC 9110 section 10.2.3); at most an hour."""
    value = response.headers.get("Retry-After")
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return min(float(value), 3600.0)
    try:
        until = parsedate_to_datetime(value)
        now = parsedate_to_datetime(response.headers["Date"])
        return min(max((until - now).total_seconds(), 0.0), 3600.0)
    except (ValueError, TypeError, KeyError):
        return None
