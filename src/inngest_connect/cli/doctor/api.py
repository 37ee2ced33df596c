"""Check 7: POST /v0/connect/start, with each key, and what its status means."""

from typing import Final

from ...core.wire.remote_text import clean
from ...transport.api_client import ApiClient, ApiError
from .examination import Examination
from .findings import Finding, Problem, failed
from .network import DEV_GATEWAY_PORT, DEV_SERVER_PORT, api_endpoint

_KEY: Final = (
    "Take the signing key of this environment from the Inngest dashboard; for a branch environment "
    "set INNGEST_ENV too"
)
_STATUS: Final = {
    400: "Report this as a bug of inngest-connect, with its version",
    401: _KEY,
    403: _KEY,
    404: "The server there does not know Connect: check {setting}; "
    "an old self-hosted server has to be updated",
    405: "Another server than Inngest answers there: check {setting}",
    407: "The proxy requires credentials: put them into HTTPS_PROXY",
    429: "The plan's connections are used up, or calls come too fast: run fewer workers, close "
    "those that were forgotten, or take a larger plan",
}
_REDIRECT: Final = (
    "Set {setting} to the final address; a login page of a network (captive portal) redirects too"
)
_SERVER: Final = (
    "Inngest, or a proxy before it, fails: try again, and look at Inngest's status page; a "
    "self-hosted server answers 'no gateway found' while its gateway is down"
)
_OTHER_PAGE: Final = (
    "Another server answers at this address: a captive portal, a proxy's page, or a web site. "
    "Check {setting}"
)
_IN_BETWEEN: Final = (
    "A firewall, a proxy or another server answered instead of the API: let it pass "
    "POST /v0/connect/start, or check {setting}"
)
_UNREACHABLE: Final = (
    "A connection was possible before, so the answer was lost on the way: try again; a proxy or "
    "firewall may cut the request"
)


async def check_start(examination: Examination) -> Finding:
    """Puts the API's answer to the first key that it accepts into ``examination``."""
    client, keys = examination.subject.client, examination.keys
    api = ApiClient(client.api_origin, client.env, keys, examination.timeout, examination.redactor)
    refusals: dict[int, ApiError] = {}
    accepted = 0
    try:
        for key in range(max(len(keys), 1)):
            try:
                answer = await api.start((), key)
            except ApiError as error:
                refusals[key] = error
                if error.refusal not in (401, 403):
                    break
            else:
                if examination.answer is None:
                    examination.answer, accepted = answer, key
    finally:
        await api.aclose()
    if examination.answer is None:
        return _refused(list(refusals.values())[-1], examination)
    problems = []
    for key in refusals:
        hint = keys[key].hint()
        text, remedy = (
            f"the key {hint} was refused, the fallback was accepted",
            "Put the fallback's value into INNGEST_SIGNING_KEY: workers run on it already",
        )
        if key:
            text, remedy = (
                f"the fallback key {hint} was refused",
                "Set INNGEST_SIGNING_KEY_FALLBACK to a key that is valid, or unset it",
            )
        problems.append(Problem(text, remedy, fatal=False))
    group = clean(examination.answer.gateway_group)
    which = f", key {keys[accepted].hint()}" if keys else ""
    return Finding(
        f"200, gateway group {group or 'without a name'}{which}",
        tuple(problems),
        data={"status": 200, "gateway_group": group},
    )


def _refused(error: ApiError, examination: Examination) -> Finding:
    status, text, setting = error.status, clean(str(error)), examination.api_setting
    endpoint = api_endpoint(examination)
    if endpoint.port == DEV_GATEWAY_PORT:
        return failed(
            f"{endpoint} is not the API: {DEV_GATEWAY_PORT} is the port of the gateway, and the "
            f"API listens on {DEV_SERVER_PORT} ({text})",
            f"Correct {setting}: use port {DEV_SERVER_PORT}",
            status=status,
        )
    if status is None:
        remedy = _OTHER_PAGE if "did not answer with" in text else _UNREACHABLE
    elif 300 <= status < 400:
        remedy = _REDIRECT
    elif status >= 500:
        remedy = _SERVER
    elif error.refusal is None and status in (400, 401, 403, 429):
        remedy = _IN_BETWEEN
    else:
        remedy = _STATUS.get(status, "Ask the operator of this address what the status means")
    if status is not None and error.retry_after is not None:
        remedy += f"; the server asks to wait {error.retry_after:g} s"
    return failed(text, remedy.format(setting=setting), status=status)
