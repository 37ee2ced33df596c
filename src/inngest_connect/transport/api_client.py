"""ApiClient: POST /v0/connect/start and /v0/connect/flush.

Keys leave this process only as the hash that the API compares. No redirect is followed.

A proxy, a firewall or a captive portal can answer in place of the API, with any status. Only two
things count as an answer of the API: a decodable success that names what was asked for, and a
refusal in the API's own error form (docs/protocol.md#refusals). Everything else is a failed
exchange, which proves nothing about a key or a reply. One exchange is limited in total time and in
size, whatever its encoding, and every failure is an ``ApiError``: an unexpected exception must not
end the worker.
"""

import asyncio
import http.cookiejar
import json
import ssl
import urllib.parse
import zlib
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from ..core.wire.user_text import shown_error
from ..errors import ConfigurationError
from ..observability.redaction import Redactor
from ..protocol import DECODE_ERRORS, FLUSH_PATH, START_PATH
from ..protocol import connect_pb2 as pb
from .environment import check_proxy_variables, proxy_for, tls_context
from .http_network import PROGRESS, transport
from .signing_key import SigningKey
from .tcp import DialProgress
from .urls import is_loopback, shown_url

_MAX_ANSWER_BYTES: Final = 1024 * 1024
_MAX_DETAIL: Final = 1000
_DEVELOPMENT_PORT: Final = 8288
_LONGEST_FIELDS: Final = {
    "connection_id": 256,
    "gateway_endpoint": 2048,
    "gateway_group": 256,
    "session_token": 8192,
    "sync_token": 8192,
}
"""Characters. A token of a header's length is masked in microseconds; one of 500 kB is not."""


@dataclass(eq=False)
class ApiError(Exception):
    """The API refused, or the exchange failed."""

    message: str
    status: int | None = None
    """The HTTP status, None without an answer."""
    retry_after: float | None = None
    """Seconds."""
    refusal: int | None = None
    """The status if the API itself refused, None if something in between answered."""
    offline: bool = field(default=False, kw_only=True)
    """Nothing outside this machine was reached."""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """What the API answers to a start: the gateway to dial, and the tokens for it."""

    connection_id: str
    gateway_endpoint: str
    gateway_group: str
    session_token: str = field(repr=False)
    sync_token: str = field(repr=False)


class ApiClient:
    """Belongs to one event loop, where any number of exchanges may run concurrently."""

    def __init__(
        self,
        api_origin: str,
        env: str | None,
        keys: tuple[SigningKey, ...],
        timeout: float,
        redactor: Redactor | None = None,
    ) -> None:
        """``timeout`` is seconds for one whole exchange.

        ``redactor`` learns the tokens of each answer, and masks secrets in what the API answers.
        Raises ConfigurationError for a proxy or certificate authorities that cannot be used.
        """
        self.api_origin = api_origin.rstrip("/")
        self._shown_origin = shown_url(self.api_origin)
        self._env = env
        self._keys = keys
        self._timeout = timeout
        self._redactor = redactor if redactor is not None else Redactor()
        self._tls_context: ssl.SSLContext | None = None
        encrypted = self.api_origin.startswith("https:")
        # Reading the certificate store takes tens of milliseconds; http:// never needs it.
        verify = self.tls_context() if encrypted else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # A jar that accepts nothing: a cookie that a peer sets must not change later requests.
        no_cookies = http.cookiejar.CookieJar(
            http.cookiejar.DefaultCookiePolicy(allowed_domains=[])
        )
        try:
            url = httpx.URL(self.api_origin)
            proxy = proxy_for(self.api_origin)
            self._http = httpx.AsyncClient(
                timeout=timeout,
                follow_redirects=False,
                cookies=no_cookies,
                transport=transport(verify, proxy),
                trust_env=False,
            )
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - of httpx and of what it imports
            # The variables may have changed since connect() checked them.
            check_proxy_variables()
            raise ConfigurationError(
                f"the HTTP client for {self._shown_origin} cannot be created: "
                f"{self._redactor.text(shown_error(error))}; check "
                "HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
            ) from None
        self._through = ""
        if proxy:
            address = urllib.parse.urlsplit(proxy).netloc.rpartition("@")[2]
            self._through = f" through the proxy {address}"
        # User information of the URL becomes the Authorization header, unless a key does. It is
        # removed from the URL, because httpx logs each URL whole, at INFO.
        self._url = str(url.copy_with(userinfo=b"")).rstrip("/")
        with_user = not keys and (url.username or url.password)
        self._auth = httpx.BasicAuth(url.username, url.password) if with_user else httpx.Auth()

    def tls_context(self) -> ssl.SSLContext:
        """The verifying context shared by HTTPS and wss."""
        if self._tls_context is None:
            self._tls_context = tls_context()
        return self._tls_context

    async def start(self, exclude_gateways: tuple[str, ...], key: int) -> StartAnswer:
        """Ask for a gateway. ``key`` is the index of the signing key. Raises ApiError."""
        body = pb.StartRequest(exclude_gateways=exclude_gateways).SerializeToString()
        content = await self._post(START_PATH, body, key)
        try:
            answer = pb.StartResponse.FromString(content)
        except DECODE_ERRORS:
            answer = pb.StartResponse()
        too_long = any(
            len(getattr(answer, name)) > limit for name, limit in _LONGEST_FIELDS.items()
        )
        if not answer.connection_id or not answer.gateway_endpoint or too_long:
            # The text of a captive portal can decode to a message without known fields, or with
            # fields that hold neither names nor tokens.
            raise ApiError(f"{self._shown_origin} did not answer with a StartResponse")
        self._redactor.learn(answer.session_token, answer.sync_token)
        return StartAnswer(
            answer.connection_id,
            answer.gateway_endpoint,
            answer.gateway_group,
            answer.session_token,
            answer.sync_token,
        )

    async def flush(self, request_id: str, payload: bytes, key: int) -> None:
        """Deliver one serialized SDKResponse. Raises ApiError.

        Delivered means a FlushResponse that names this request: a 200 alone can come from anything
        between here and the API, and believing it would lose the result silently.
        """
        content = await self._post(FLUSH_PATH, payload, key)
        try:
            confirmed = pb.FlushResponse.FromString(content).request_id
        except DECODE_ERRORS:
            confirmed = ""
        if confirmed != request_id:
            raise ApiError(
                f"{self._shown_origin} answered HTTP 200 without confirming this reply: something "
                "between here and the API answered, a proxy for example"
            )

    async def aclose(self) -> None:
        """Close the idle connections. May be called more than once."""
        await self._http.aclose()

    async def _post(self, path: str, body: bytes, key: int) -> bytes:
        """One exchange: the content of a 200. Raises ApiError for everything else.

        A cancellation passes through. Leaving ``stream`` early closes the connection instead of
        keeping it, so the rest of an answer is never read as the beginning of the next.
        """
        shown = self._shown_origin + path
        # Names in lower case, as the official worker sends them: some test servers compare them so.
        headers = {"content-type": "application/protobuf", "accept-encoding": "identity"}
        if self._env is not None:
            headers["x-inngest-env"] = self._env
        if self._keys:
            headers["authorization"] = self._keys[key].bearer()
        progress = DialProgress()
        PROGRESS.set(progress)
        # For the whole exchange: the limits of httpx are for each read and write, and an answer
        # that trickles never exceeds them.
        limit = asyncio.timeout(self._timeout)
        try:
            async with (
                limit,
                self._http.stream(
                    "POST", self._url + path, content=body, headers=headers, auth=self._auth
                ) as response,
            ):
                content = await _read(response, shown)
        except ApiError:
            raise
        except Exception as error:  # noqa: BLE001 - each library has its own exceptions
            if limit.expired():
                text = f"{shown} gave no complete answer within {self._timeout:g} s{self._through}"
                text += f", {progress.stage}" if progress.stage else ""
            elif progress.refused and not self._through and is_loopback(self._url):
                text = (
                    f"nothing listens at {self._shown_origin}: start a server there "
                    f"({_server_commands(self._url)}), or correct the address"
                )
            else:
                cause = self._redactor.text(str(error)[:_MAX_DETAIL]) or type(error).__name__
                text = f"{shown} could not be reached{self._through}: {cause}"
            raise ApiError(text, offline=progress.offline) from None
        status = response.status_code
        if status == 200:
            return content
        detail, by_the_api = _stated_error(status, content)
        text = f"{shown} answered HTTP {status}"
        text += f": {self._redactor.text(detail)}" if detail else ""
        if status in (401, 403) and not by_the_api:
            text += " (not in the API's own form: a firewall, a proxy or another server answered)"
        elif status in (401, 403):
            used = f"signing key {self._keys[key].hint()}" if self._keys else "no signing key"
            text += f" ({used}, environment {self._env or 'default'}): check INNGEST_SIGNING_KEY, "
            text += "INNGEST_SIGNING_KEY_FALLBACK and INNGEST_ENV, or run inngest-connect doctor"
        elif 300 <= status < 400:
            text += " (redirects are not followed): set api_base_url to the final address"
        raise ApiError(text, status, _retry_after(response), status if by_the_api else None)


def _server_commands(origin: str) -> str:
    port = urllib.parse.urlsplit(origin).port or 80
    option = "" if port == _DEVELOPMENT_PORT else f" --port {port}"
    return f"inngest-connect gateway{option}, or npx inngest-cli@latest dev{option}"


async def _read(response: httpx.Response, url: str) -> bytes:
    """The content, decoded here: httpx decompresses a chunk whole, however large it becomes."""
    received = bytearray()
    too_large = ApiError(f"{url} answered with more than {_MAX_ANSWER_BYTES} bytes")
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > _MAX_ANSWER_BYTES:
            raise too_large
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        return bytes(received)
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ApiError(f"{url} answered with the content encoding {encoding[:40]!r}")
    decompressor = zlib.decompressobj(zlib.MAX_WBITS | 32)
    content = decompressor.decompress(received, _MAX_ANSWER_BYTES + 1)
    if len(content) > _MAX_ANSWER_BYTES:
        raise too_large
    if not decompressor.eof:
        # The beginning of a message decodes too, without the fields that come last.
        raise ApiError(f"{url} answered with an incomplete {encoding} stream")
    return content


def _stated_error(status: int, content: bytes) -> tuple[str, bool]:
    """The text of an error answer, and whether the API itself sent it.

    The API sends JSON with ``error`` and, if any, the ``status`` of the answer; the development
    server also sends a plain 401. Proxies and middleware send text. Anything else is not shown: a
    StartResponse with another status holds tokens that nobody masks.
    """
    text = content[:300].decode(errors="replace").strip()
    if not all(letter.isprintable() or letter.isspace() for letter in text):
        text = ""
    try:
        parsed = json.loads(content)
    except (ValueError, RecursionError):
        by_the_api = status == 401 and content.strip() == b"Authentication failed"
        return "an HTML page" if text.startswith("<") else text, by_the_api
    if not isinstance(parsed, dict) or not isinstance(parsed.get("error"), str):
        return text, False
    stated = parsed.get("status", status)
    return parsed["error"][:_MAX_DETAIL], isinstance(stated, int) and stated == status


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, from either form of the header (RFC 9110 section 10.2.3); at most an hour."""
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return min(float(value), 3600.0)
    try:
        until = parsedate_to_datetime(value)
        now = parsedate_to_datetime(response.headers["Date"])
        return min(max((until - now).total_seconds(), 0.0), 3600.0)
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
