"""Check 1: every setting, its value, and where it comes from; and what contradicts itself."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...options import OPTIONS
from ...sdk.client_settings import ClientSettings
from ...sdk.identity import ALLOW_PURE_PYTHON_VARIABLE
from .examination import Endpoint, Examination
from .findings import Finding, Problem
from .proxies import PROXY_VARIABLES, shown
from .subject import Subject, from_environment

_API_VARIABLES: Final = ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_DEV")
_ENV_VARIABLES: Final = (
    "INNGEST_ENV", "RAILWAY_GIT_BRANCH", "RENDER_GIT_BRANCH", "VERCEL_GIT_BRANCH",
)  # fmt: skip
_SDK_VARIABLES: Final = frozenset(
    {
        *_API_VARIABLES, "INNGEST_ENV", "INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK",
        "INNGEST_EVENT_KEY", "INNGEST_EVENT_API_BASE_URL", "INNGEST_ENABLE_UNAUTHED_SYNC",
        "INNGEST_THREAD_POOL_MAX_WORKERS", "INNGEST_SERVE_ORIGIN", "INNGEST_SERVE_PATH",
        "INNGEST_STREAMING",
    }
)  # fmt: skip
_OPTION_VARIABLES: Final = {name: row.variable for name, row in OPTIONS.items() if row.variable}
_VERSION_VARIABLE: Final = "INNGEST_CONNECT_APP_VERSION"
"""Set empty, it has a meaning of its own."""
OWN_VARIABLES: Final = frozenset(
    {*_OPTION_VARIABLES.values(), ALLOW_PURE_PYTHON_VARIABLE, _VERSION_VARIABLE}
)
_NETWORK_VARIABLES: Final = (*PROXY_VARIABLES, "NO_PROXY", "no_proxy")
_CERTIFICATE_VARIABLES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_UNLISTED_OPTIONS: Final = frozenset(
    {"shutdown_signals", "on", "retry", "timing", "logger", "meter_provider", "tracer_provider"}
)
_UNLISTED_WHEN_UNSET: Final = frozenset({"rewrite_gateway_endpoint"})


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    value: str
    source: str
    """A variable's name, "option" or "default"."""


async def check_settings(examination: Examination) -> Finding:
    settings = resolved_settings(examination.subject, examination.variables)
    problems = [*_no_address(examination.subject), *contradictions(examination)]
    client = examination.subject.client
    return Finding(
        f"{_mode(client)} mode, API {client.api_origin}",
        tuple(problems),
        tuple(f"{one.name} = {one.value}  ({one.source})" for one in settings),
        {"settings": [dataclasses.asdict(one) for one in settings]},
    )


def resolved_settings(subject: Subject, variables: Mapping[str, str]) -> list[Setting]:
    """Secrets by their last four characters."""
    baseline = subject if subject.target is None else from_environment()
    mine, plain = subject.client, baseline.client
    found = [
        _setting("mode", _mode(mine), _mode(plain), _first_set(("INNGEST_DEV",), variables)),
        _setting("api_origin", mine.api_origin, plain.api_origin, _api_variable(plain, variables)),
        _setting("env", mine.env, plain.env, _first_set(_ENV_VARIABLES, variables)),
    ]
    for name in ("signing_key", "signing_key_fallback"):
        value, usual_value = getattr(mine, name), getattr(plain, name)
        variable = _first_set((f"INNGEST_{name.upper()}",), variables)
        one = _setting(name, value, usual_value, variable)
        found.append(dataclasses.replace(one, value=masked(value)))
    for app in subject.identity.apps:
        version = f", version {app.version}" if app.version else ""
        count = len(app.function_slugs)
        source = "the doctor's" if subject.target is None else subject.target
        found.append(Setting("app", f"{app.name} ({count} function(s){version})", source))
    found += _options(subject, baseline, variables)
    found += _network(variables)
    return found


def masked(secret: str | None) -> str:
    if not secret:
        return "none"
    return f"***{secret[-4:]}" if len(secret) > 8 else "***"


def _setting(name: str, value: Any, usual: Any, variable: str | None) -> Setting:
    source = "option" if value != usual else variable or "default"
    return Setting(name, "none" if value is None else str(value), source)


def _options(subject: Subject, baseline: Subject, variables: Mapping[str, str]) -> list[Setting]:
    found = []
    for each in dataclasses.fields(subject.options):
        name = each.name
        value, usual = getattr(subject.options, name), getattr(baseline.options, name)
        if name in _UNLISTED_OPTIONS or (value is None and name in _UNLISTED_WHEN_UNSET):
            continue
        variable = _first_set((_OPTION_VARIABLES.get(name, ""),), variables)
        shown_value = getattr(value, "__qualname__", "a function") if callable(value) else value
        found.append(
            dataclasses.replace(
                _setting(name, value, usual, variable),
                value="none" if value is None else str(shown_value),
            )
        )
    return found


def _network(variables: Mapping[str, str]) -> Iterable[Setting]:
    for name in _NETWORK_VARIABLES:
        if variables.get(name):
            yield Setting("proxy", shown(variables[name]), name)
    for name in _CERTIFICATE_VARIABLES:
        if variables.get(name):
            yield Setting("certificate authorities", variables[name], name)


def _first_set(names: Iterable[str], variables: Mapping[str, str]) -> str | None:
    return next((name for name in names if variables.get(name, "").strip()), None)


def _mode(client: ClientSettings) -> str:
    return "production" if client.is_production else "development"


def _api_variable(client: ClientSettings, variables: Mapping[str, str]) -> str | None:
    """The SDK ignores a value that is no URL, so the value is compared too."""
    origin = client.api_origin.rstrip("/")
    for name in _API_VARIABLES:
        value = variables.get(name, "").strip().rstrip("/")
        if value and value in (origin, origin.partition("://")[2]):
            return name
    return None


# --- contradictions --------------------------------------------------------------------------


def contradictions(examination: Examination) -> list[Problem]:
    """What is likely to be meant otherwise; none of it stops a worker."""
    variables, client = examination.variables, examination.subject.client
    known = _SDK_VARIABLES | OWN_VARIABLES | examination.known_variables
    found = [*_empty(variables, known), *_unknown(variables, known)]
    if client.signing_key and not client.is_production:
        found.append(
            _warning(
                "a signing key is set in development mode, in which none is sent",
                "For production unset INNGEST_DEV (or is_production=False in the code); for "
                "development unset INNGEST_SIGNING_KEY",
            )
        )
    if client.signing_key_fallback and client.signing_key_fallback == client.signing_key:
        found.append(
            _warning(
                "the fallback key is the same as the key",
                "Set INNGEST_SIGNING_KEY_FALLBACK to the other key while keys are rotated",
            )
        )
    if client.is_production and client.api_origin.startswith("http://"):
        found.append(
            _warning(
                f"the key's hash travels unencrypted to {client.api_origin}",
                "Use an https:// address for the API, unless it is on this machine",
            )
        )
    used = _api_variable(client, variables)
    for name in _API_VARIABLES:
        value = variables.get(name, "").strip()
        is_switch = name == "INNGEST_DEV" and "." not in value and ":" not in value
        if value and name != used and not is_switch:
            found.append(
                _warning(
                    f"{name} is {value!r}, but the API is {client.api_origin}",
                    f"Unset it, or unset what comes before it ({used or 'the code'})",
                )
            )
    return found


def _no_address(subject: Subject) -> Iterable[Problem]:
    try:
        Endpoint.of(subject.client.api_origin)
    except ValueError as error:
        yield Problem(
            f"the API's address {subject.client.api_origin!r} is unusable: {error}",
            "Correct INNGEST_API_BASE_URL, INNGEST_BASE_URL or INNGEST_DEV",
        )


def _empty(variables: Mapping[str, str], known: frozenset[str]) -> Iterable[Problem]:
    for name, value in sorted(variables.items()):
        if name in known and name != _VERSION_VARIABLE and not value.strip():
            yield _warning(f"{name} is set, but empty", f"Give it a value, or unset {name}")


def _unknown(variables: Mapping[str, str], known: frozenset[str]) -> Iterable[Problem]:
    for name in sorted(variables):
        if not name.startswith("INNGEST_") or name in known:
            continue
        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if meant:
            yield _warning(f"{name} is no variable that is read", f"Did you mean {meant[0]}?")
        elif name.startswith("INNGEST_CONNECT_"):
            yield _warning(
                f"{name} is no variable that is read",
                "Unset it; docs/configuration.md lists those that are",
            )


def _warning(text: str, remedy: str) -> Problem:
    return Problem(text, remedy, fatal=False)
