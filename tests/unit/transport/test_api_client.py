"""ApiClient against a real HTTP server that answers in every way."""

import pytest

from inngest_connect.observability.redaction import Redactor
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import MockHTTPServer
from inngest_connect.transport.api_client import ApiClient, ApiError
from inngest_connect.transport.signing_key import SigningKey

pytestmark = pytest.mark.unit
KEY = "signkey-test-" + "ab" * 32
BODY = pb.SDKResponse(request_id="r", system_trace_ctx=b"null").SerializeToString()


async def refused(api: MockHTTPServer, **options: object) -> ApiError:
    keys = (SigningKey(KEY),) if options.pop("key", None) else ()
    client = ApiClient(f"{api.origin}/", "staging", keys, 5.0)
    try:
        with pytest.raises(ApiError) as caught:
            await client.start((), 0)
    finally:
        await client.aclose()
    return caught.value


@pytest.mark.scenario("2")
async def test_a_start_names_the_gateway_and_sends_what_the_server_expects() -> None:
    async with MockHTTPServer(signing_keys=[KEY]) as api:
        api.add_gateway("g1", "ws://one")
        client = ApiClient(api.origin, "branch", (SigningKey(KEY),), 5.0)
        answer = await client.start(("g0", "g9"), 0)
        await client.flush("r", BODY, 0)
        await client.aclose()
        start, flush = api.get_request_history()

    assert (answer.gateway_group, answer.gateway_endpoint) == ("g1", "ws://one")
    assert answer.sync_token == SigningKey(KEY).bearer().removeprefix("Bearer ")
    assert answer.session_token not in repr(answer)
    assert list(start.start_request().exclude_gateways) == ["g0", "g9"]
    for call, path in ((start, START_PATH), (flush, FLUSH_PATH)):
        assert call.path == path
        assert call.headers["x-inngest-env"] == "branch"
        assert call.headers["authorization"] == SigningKey(KEY).bearer()
        assert call.headers["content-type"] == "application/protobuf"
        assert call.headers["accept-encoding"] == "identity"


async def test_both_tokens_of_an_answer_are_known_to_the_redactor() -> None:
    redactor = Redactor()
    async with MockHTTPServer(signing_keys=[KEY]) as api:
        api.add_gateway("g1", "ws://one")
        client = ApiClient(api.origin, "branch", (SigningKey(KEY),), 5.0, redactor)
        answer = await client.start((), 0)
        await client.aclose()

    assert redactor.text(f"{answer.session_token} {answer.sync_token}") == "*** ***"


async def test_a_refusal_has_status_reason_and_remedy() -> None:
    async with MockHTTPServer() as api:
        api.simulate_auth_failure(times=1)
        with_key = await refused(api, key=True)
        api.simulate_auth_failure(times=1, status=403)
        without = await refused(api)
        api.simulate_rate_limiting(times=1, retry_after=7)
        limited = await refused(api)
        api.simulate_server_error(times=1, status=502)
        broken = await refused(api)
        api.simulate_redirect("http://elsewhere", times=1)
        moved = await refused(api)

    assert (with_key.status, without.status) == (401, 403)
    assert (with_key.refusal, without.refusal, limited.refusal) == (401, 403, 429)
    assert (broken.refusal, moved.refusal) == (None, None)
    assert "***abab" in str(with_key)
    assert KEY not in str(with_key)
    assert "staging" in str(with_key)
    assert "no signing key" in str(without)
    assert (limited.status, limited.retry_after) == (429, 7.0)
    assert (broken.status, "internal error" in str(broken)) == (502, True)
    assert moved.status == 302


async def test_no_answer_is_an_error_that_names_the_address() -> None:
    client = ApiClient("http://127.0.0.1:1", None, (), 5.0)
    with pytest.raises(ApiError, match=r"nothing listens at http://127\.0\.0\.1:1: ") as caught:
        await client.flush("r", BODY, 0)
    await client.aclose()

    assert caught.value.status is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("5", 5.0),
        ("999999", 3600.0),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("-5", None),
    ],
)
async def test_retry_after_is_understood_in_both_forms(header: str, seconds: float | None) -> None:
    """RFC 9110 section 10.2.3."""
    async with MockHTTPServer() as api:
        api.simulate_rate_limiting(times=1)
        api._faults[START_PATH][0].headers["Retry-After"] = header
        error = await refused(api)

    assert error.retry_after == seconds


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"<html>proxy page", "an HTML page"),
        (b"plain words", "plain words"),
        (b'["a list"]', "a list"),
        (b'{"error": "why"}', "why"),
        (b"[" * 100_000, "[["),
        (b"", "HTTP 500"),
    ],
)
async def test_the_text_of_an_error_is_shown_in_whatever_form_it_comes(
    content: bytes, shown: str
) -> None:
    async with MockHTTPServer() as api:
        api.simulate_server_error(times=1)
        api._faults[START_PATH][0].body = content
        api._faults[START_PATH][0].headers["content-length"] = str(len(content))
        error = await refused(api)

    assert shown in str(error)
    assert len(str(error)) < 1000


async def test_garbage_and_an_endless_answer_are_refused() -> None:
    async with MockHTTPServer() as api:
        api.simulate_server_error(times=1, status=200)
        garbage = await refused(api)
        api.simulate_server_error(times=1, status=200)
        api._faults[START_PATH][0].body = b"x" * 2_000_000
        api._faults[START_PATH][0].headers["content-length"] = "2000000"
        endless = await refused(api)

    assert "StartResponse" in str(garbage)
    assert "more than 1048576 bytes" in str(endless)


async def test_https_is_verified() -> None:
    """Security: downgrade. A server without TLS does not answer an https origin."""
    async with MockHTTPServer() as api:
        client = ApiClient(api.origin.replace("http:", "https:"), None, (), 5.0)
        with pytest.raises(ApiError, match="could not be reached"):
            await client.start((), 0)
        await client.aclose()
