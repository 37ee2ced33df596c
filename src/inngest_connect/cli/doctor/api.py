"""Check 7: POST /v0/connect/start, with each key, and what its status means."""

from typing import Final

from ...core.wire.remote_text import clean
from ...transport.api_client import ApiClient, ApiError
from .examination import Examination
from .findings import Finding, Problem, failed

_KEY: Final = (
    "Take the signing key of this environment from the Inngest dashboard; for a branch environment "
    "set INNGEST_ENV too"
)
_STATUS: Final = {
    400: "Report this as a bug of inngest-connect, with its version",
    401: _KEY,
    403: _KEY,
    404: "Nothing answers for Connect there: check INNGEST_API_BASE_URL and INNGEST_BASE_URL; an "
    "old self-hosted server has to be updated",
    405: "Something else than Inngest answers there: check INNGEST_API_BASE_URL",
    407: "The proxy wants credentials: put them into HTTPS_PROXY",
    429: "The plan's connections are used up, or calls come too fast: run fewer workers, close "
    "those that were forgotten, or take a larger plan",
}
_REDIRECT: Final = (
    "Set INNGEST_API_BASE_URL to the final address; a login page of a network (captive portal) "
    "redirects too"
)
_SERVER: Final = (
    "Inngest, or a proxy before it, is in trouble: try again, and look at Inngest's status page; "
    "a self-hosted server says 'no gateway found' while its gateway is down"
)
_OTHER_PAGE: Final = (
    "Something else answers at this address: a captive portal, a proxy's page, or a web site. "
    "Check INNGEST_API_BASE_URL"
)
_IN_BETWEEN: Final = (
    "A firewall, a proxy or another server answered instead of the API: let it pass "
    "POST /v0/connect/start, or check INNGEST_API_BASE_URL"
)
_UNREACHABLE: Final = (
    "The connection was made before, so the answer is lost on the way: try again; a proxy or "
    "firewall may cut the request"
)


async def check_start(examination: Examination) -> Finding:
    """Puts the API's answer, and the key it accepted, into ``examination``."""
    client = examination.subject.client
    examination.api = api = ApiClient(
        client.api_origin, client.env, examination.keys, examination.timeout
    )
    refusals: dict[int, ApiError] = {}
    for key in range(max(len(examination.keys), 1)):
        try:
            answer = await api.start((), key)
        except ApiError as error:
            refusals[key] = error
            if error.refusal not in (401, 403):
                break
        else:
            if examination.answer is None:
                examination.answer, examination.key = answer, key
    if examination.answer is None:
        last = list(refusals.values())[-1]
        # Masked before it is cut: half a secret would not be recognised.
        return _refused(last, clean(examination.redactor().text(str(last))))
    group = clean(examination.answer.gateway_group)
    which = f", key {examination.keys[examination.key].hint()}" if examination.keys else ""
    return Finding(
        f"200, gateway group {group or 'without a name'}{which}",
        tuple(_key_problem(examination, key) for key in refusals),
        data={"status": 200, "gateway_group": group},
    )


def _key_problem(examination: Examination, key: int) -> Problem:
    hint = examination.keys[key].hint()
    if key == 0:
        return Problem(
            f"the key {hint} was refused, the fallback was accepted",
            "Put the fallback's value into INNGEST_SIGNING_KEY: workers run on it already",
            fatal=False,
        )
    return Problem(
        f"the fallback key {hint} was refused",
        "Set INNGEST_SIGNING_KEY_FALLBACK to a key that is valid, or unset it",
        fatal=False,
    )


def _refused(error: ApiError, text: str) -> Finding:
    status = error.status
    if status is None:
        remedy = _OTHER_PAGE if "did not answer with" in text else _UNREACHABLE
    elif 300 <= status < 400:
        remedy = _REDIRECT
    elif status >= 500:
        remedy = _SERVER
    elif error.refusal is None and status in (400, 401, 403, 429):
        remedy = _IN_BETWEEN
    else:
        remedy = _STATUS.get(status, "Look the status up at whoever runs this address")
    if status is not None and error.retry_after is not None:
        remedy += f"; the server asks to wait {error.retry_after:g} s"
    return failed(text, remedy, status=status)
