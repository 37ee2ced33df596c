"""ConnectApp: an Inngest client with its functions, and what several of them must agree on."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..core.wire.user_text import is_a, shown_value
from ..errors import ConfigurationError
from ..transport.urls import check_plain, check_url, is_plain, shown_setting
from .adapter import ClientSettings, SdkApp, client_settings

if TYPE_CHECKING:
    import inngest


@dataclass(frozen=True)
class ConnectApp:
    """One app: an Inngest client and the functions that belong to it."""

    client: "inngest.Inngest"
    functions: "Iterable[inngest.Function[Any]]"


Apps = Sequence["ConnectApp | tuple[inngest.Inngest, Iterable[inngest.Function[Any]]]"]


def load_apps(apps: Apps) -> tuple[ClientSettings, tuple[SdkApp, ...]]:
    """Validate ``apps`` and return what they share, and each of them ready to run.

    Raises ConfigurationError for no apps, a wrong shape, a duplicate app id, functions that belong
    to no app, clients that differ in what one connection can have only once, or production mode
    without a signing key.
    """
    if is_a(apps, str, bytes) or not is_a(apps, Sequence) or not len(apps):
        raise ConfigurationError(
            f"apps is {shown_value(apps)}; pass a list of (inngest.Inngest, [functions]) tuples"
        )
    pairs = [_pair(app) for app in apps]
    settings = [client_settings(client) for client, _ in pairs]
    _check_agreement(settings)
    check_client(settings[0])
    if settings[0].is_production and not settings[0].signing_key:
        raise ConfigurationError(
            f"app {settings[0].app_id!r} is in production mode and has no signing key: set "
            "INNGEST_SIGNING_KEY, or INNGEST_DEV=1 for a development server"
        )
    return settings[0], tuple(SdkApp(client, functions) for client, functions in pairs)


def _pair(app: Any) -> "tuple[inngest.Inngest, Sequence[inngest.Function[Any]]]":
    pair = (app.client, app.functions) if is_a(app, ConnectApp) else app
    is_pair = is_a(pair, tuple, list) and len(pair) == 2
    if not is_pair or is_a(pair[1], str, bytes) or not is_a(pair[1], Iterable):
        raise ConfigurationError(
            f"an app is {shown_value(app)}; pass a (inngest.Inngest, [functions]) tuple or a "
            "ConnectApp"
        )
    return pair[0], tuple(pair[1])  # a generator is read once


_API_VARIABLES: Final = ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_DEV")
_ENV_VARIABLES: Final = (
    "INNGEST_ENV", "RAILWAY_GIT_BRANCH", "RENDER_GIT_BRANCH", "VERCEL_GIT_BRANCH",
)  # fmt: skip


def check_client(client: ClientSettings, variables: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigurationError for an API address or an environment that cannot be used."""
    origin = client.api_origin
    for name in _API_VARIABLES:
        # The SDK removes line ends from the middle of a URL.
        check_plain(name, variables.get(name, "").strip())
    source = next((v for v in _API_VARIABLES if _names(variables.get(v, ""), origin)), None)
    check_url(source or "api_base_url", origin, ("http", "https"), "https://api.inngest.com")
    if client.env is not None and not is_plain(client.env):
        name = next(
            (v for v in _ENV_VARIABLES if variables.get(v, "").strip() == client.env), "env"
        )
        raise ConfigurationError(
            f"{name} is {shown_value(client.env)}; the name of an environment has ASCII "
            "letters, digits and signs, and no spaces"
        )
    if source is not None or not client.api_origin_is_default:
        return
    # The SDK ignores a value that it cannot read, and would connect somewhere else.
    for name in _API_VARIABLES:
        value = variables.get(name, "").strip()
        if value and (name != "INNGEST_DEV" or not value.isalnum()):
            raise ConfigurationError(
                f"{name} is {shown_setting(value)}, which is not a URL that can be "
                f"used, so the SDK would connect to {origin}; set a URL such as "
                "'http://127.0.0.1:8288', or unset it"
            )


def _names(value: str, origin: str) -> bool:
    """Whether ``origin`` comes from this value of a variable; the SDK adds a scheme to it."""
    value = value.strip()
    return bool(value) and value.rstrip("/") in (
        origin.rstrip("/"),
        origin.rstrip("/").partition("://")[2],
    )


def _check_agreement(settings: Sequence[ClientSettings]) -> None:
    """One connection has one environment, mode, API and key."""
    first = settings[0]
    seen = set()
    for other in settings:
        if other.app_id in seen:
            raise ConfigurationError(
                f"two apps have the id {other.app_id!r}; put their functions into one app"
            )
        seen.add(other.app_id)
        for what, mine, theirs in (
            ("environment", first.env, other.env),
            ("mode (is_production)", first.is_production, other.is_production),
            ("API origin", first.api_origin, other.api_origin),
        ):
            if mine != theirs:
                both = f"{shown_setting(mine)} and {shown_setting(theirs)}"
                raise ConfigurationError(
                    f"apps {first.app_id!r} and {other.app_id!r} differ in their {what}: {both}. "
                    "Use one connect() call for each"
                )
        if first.signing_key != other.signing_key:
            raise ConfigurationError(
                f"apps {first.app_id!r} and {other.app_id!r} have different signing keys. "
                "Use one connect() call for each"
            )
