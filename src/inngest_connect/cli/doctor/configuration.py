"""Checks 1 and 2: each setting and where it comes from, what contradicts itself, and the keys."""

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...errors import ConfigurationError
from ...options import OPTIONS
from ...sdk.app_version import VARIABLE as APP_VERSION_VARIABLE
from ...sdk.client_settings import API_VARIABLES, ENV_VARIABLES, ClientSettings, api_variable
from ...sdk.fast_path import FAST_PATH_VARIABLE, sdk_path
from ...sdk.identity import ALLOW_PURE_PYTHON_VARIABLE
from ...transport.environment import CA_VARIABLES, PROXY_VARIABLES
from ...transport.signing_key import SigningKey, key_hint
from ...transport.urls import shown_url
from .examination import Examination, Subject, from_environment
from .findings import Finding, Problem, failed

KEY_VARIABLES: Final = ("INNGEST_SIGNING_KEY", "INNGEST_SIGNING_KEY_FALLBACK")
KNOWN_VARIABLES: Final = frozenset(
    {
        *(row.variable for row in OPTIONS.values() if row.variable),
        *API_VARIABLES, *KEY_VARIABLES, APP_VERSION_VARIABLE, ALLOW_PURE_PYTHON_VARIABLE,
        FAST_PATH_VARIABLE,
        "INNGEST_ENV", "INNGEST_EVENT_KEY", "INNGEST_EVENT_API_BASE_URL",
        "INNGEST_ENABLE_UNAUTHED_SYNC", "INNGEST_THREAD_POOL_MAX_WORKERS", "INNGEST_SERVE_ORIGIN",
        "INNGEST_SERVE_PATH", "INNGEST_STREAMING",
    }
)  # fmt: skip
"""Of the SDK and of this package; the commands have more."""
_NOT_LISTED: Final = frozenset(
    {
        "api_origin",
        "shutdown_signals",
        "on",
        "retry",
        "timing",
        "logger",
        "meter_provider",
        "tracer_provider",
    }
)
_FORM: Final = re.compile(r"signkey-\w+-[0-9a-fA-F]+")


@dataclass(frozen=True, slots=True)
class Setting:
    """``source`` is a variable's name, "option" or "default"."""

    name: str
    value: str
    source: str


async def check_settings(examination: Examination) -> Finding:
    """Lists all settings. A wrong one is the ConfigurationError that ``subject`` raises."""
    client = examination.subject.client
    secrets = (client.signing_key, client.signing_key_fallback)
    examination.redactor.learn(*(key for key in secrets if key))
    settings = resolved_settings(examination.subject, examination.variables)
    return Finding(
        f"{_mode(client)} mode, API {client.api_origin}",
        tuple(contradictions(examination)),
        tuple(f"{one.name} = {one.value}  ({one.source})" for one in settings),
        {"settings": [dataclasses.asdict(one) for one in settings]},
    )


def resolved_settings(subject: Subject, variables: Mapping[str, str]) -> list[Setting]:
    """Secrets by their last four characters.

    A value that differs from that of a program without options was set by the program.
    """
    baseline = subject if subject.target is None else from_environment()
    mine, usual = subject.client, baseline.client
    found: list[Setting] = []

    def add(name: str, value: Any, usual: Any, variable: str | None, shown: str = "") -> None:
        source = "option" if value != usual else variable or "default"
        found.append(Setting(name, "none" if value is None else shown or str(value), source))

    def first_set(*names: str) -> str | None:
        return next((name for name in names if variables.get(name, "").strip()), None)

    add("mode", _mode(mine), _mode(usual), first_set("INNGEST_DEV"))
    origin = api_variable(usual.api_origin, variables)
    add("api_origin", mine.api_origin, usual.api_origin, origin)
    add("env", mine.env, usual.env, first_set(*ENV_VARIABLES))
    for name, variable in zip(("signing_key", "signing_key_fallback"), KEY_VARIABLES, strict=True):
        key = getattr(mine, name)
        add(name, key, getattr(usual, name), first_set(variable), key_hint(key) if key else "")
    for app in subject.identity.apps:
        version = f", version {app.version}" if app.version else ""
        shown = f"{app.name} ({len(app.function_slugs)} function(s){version})"
        found.append(Setting("app", shown, subject.target or "the doctor's"))
    found.append(Setting("sdk_path", sdk_path(), first_set(FAST_PATH_VARIABLE) or "default"))
    for name, row in OPTIONS.items():
        value = getattr(subject.options, name)
        if name in _NOT_LISTED or (value is None and name == "rewrite_gateway_endpoint"):
            continue
        shown = getattr(value, "__qualname__", "a function") if callable(value) else ""
        add(name, value, getattr(baseline.options, name), first_set(row.variable or ""), shown)
    for name in (*PROXY_VARIABLES, "NO_PROXY", "no_proxy"):
        if variables.get(name):
            found.append(Setting("proxy", shown_url(variables[name]), name))
    for name in CA_VARIABLES:
        if variables.get(name):
            found.append(Setting("certificate authorities", variables[name], name))
    return found


def _mode(client: ClientSettings) -> str:
    return "production" if client.is_production else "development"


def contradictions(examination: Examination) -> Iterable[Problem]:
    """What is likely to be meant otherwise; none of it stops a worker."""
    variables, client = examination.variables, examination.subject.client
    known = KNOWN_VARIABLES | examination.known_variables
    for name, value in sorted(variables.items()):
        # An empty version switches its detection off.
        if name in known and name != APP_VERSION_VARIABLE and not value.strip():
            yield _warning(f"{name} is set, but empty", f"Give it a value, or unset {name}")
        if name in known or not name.startswith("INNGEST_"):
            continue
        meant = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if meant:
            yield _warning(f"{name} is not a variable that is read", f"Did you mean {meant[0]}?")
        elif name.startswith("INNGEST_CONNECT_"):
            yield _warning(
                f"{name} is not a variable that is read",
                "Unset it; docs/configuration.md lists those that are",
            )
    if client.signing_key and not client.is_production:
        yield _warning(
            "a signing key is set in development mode, in which none is sent",
            "For production unset INNGEST_DEV (or is_production=False in the code); for "
            "development unset INNGEST_SIGNING_KEY",
        )
    if client.signing_key_fallback and client.signing_key_fallback == client.signing_key:
        yield _warning(
            "the fallback key is the same as the key",
            "Set INNGEST_SIGNING_KEY_FALLBACK to the other key while keys are rotated",
        )
    if client.is_production and client.api_origin.startswith("http://"):
        yield _warning(
            f"the key's hash travels unencrypted to {client.api_origin}",
            "Use an https:// address for the API, unless it is on this machine",
        )
    used = api_variable(client.api_origin, variables)
    for name in API_VARIABLES:
        value = variables.get(name, "").strip()
        is_switch = name == "INNGEST_DEV" and "." not in value and ":" not in value
        if value and name != used and not is_switch:
            yield _warning(
                f"{name} is {value!r}, but the API is {client.api_origin}",
                f"Unset it, or unset what comes before it ({used or 'the code'})",
            )


def _warning(text: str, remedy: str) -> Problem:
    return Problem(text, remedy, fatal=False)


async def check_keys(examination: Examination) -> Finding:
    """Puts the keys that a worker would use into ``examination.keys``."""
    client = examination.subject.client
    if not client.is_production:
        return Finding("development mode: no key is sent")
    if not client.signing_key:
        return failed(
            "there is no signing key, in production mode",
            "Set INNGEST_SIGNING_KEY to the key of the environment, or INNGEST_DEV=1 for a "
            "development server",
        )
    problems: list[Problem] = []
    keys: list[SigningKey] = []
    given = (client.signing_key, client.signing_key_fallback)
    for name, value in zip(KEY_VARIABLES, given, strict=True):
        if not value:
            continue
        usable = True
        try:
            keys.append(SigningKey(value, name))
        except ConfigurationError:
            usable = False
        if not usable or not _FORM.fullmatch(value):
            remedy = (
                "Copy it again from the Inngest dashboard; it is signkey-<env>-<hexadecimal digits>"
            )
            problems.append(Problem(f"{name} {_mistake(value)}", remedy, fatal=not usable))
    if "-branch-" in client.signing_key and client.env is None:
        problems.append(
            _warning(
                "the key is for branch environments, but no environment is named",
                "Set INNGEST_ENV to the branch environment's name",
            )
        )
    hints = [key.hint() for key in keys]
    summary = problems[0].text if problems else " and fallback ".join(f"key {h}" for h in hints)
    finding = Finding(summary, tuple(problems), data={"keys": hints})
    if not any(problem.fatal for problem in problems):
        examination.keys = tuple(keys)
        for key in keys:
            examination.redactor.learn(*key.secrets())
    return finding


def _mistake(key: str) -> str:
    """What is wrong with its form, without repeating any of it."""
    if key.strip("\"'") != key:
        return "has quotation marks around it"
    if not key.startswith("signkey-"):
        looks = ": it looks like an event key" if "-" not in key else ""
        return f"does not begin with 'signkey-'{looks}"
    if re.match(r"signkey-\w+-", key) is None:
        return "has no environment between 'signkey-' and its digits"
    return "has something other than pairs of hexadecimal digits after its environment"
