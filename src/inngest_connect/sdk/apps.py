"""What users pass as apps: one app, a list of apps, or a function that returns either.

An app is an Inngest client with its functions: a ``ConnectApp`` or a pair. ``connect()``, the
command line and child processes all recognize apps here.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import inngest

from ..core.wire.user_text import is_a, shown_value
from ..errors import ConfigurationError
from ..transport.urls import shown_setting
from .adapter import SdkApp
from .client_settings import ClientSettings, check_client, client_settings


@dataclass(frozen=True)
class ConnectApp:
    """One app: an Inngest client and the functions that belong to it."""

    client: inngest.Inngest
    functions: Iterable[inngest.Function[Any]]


Apps = Sequence[ConnectApp | tuple[inngest.Inngest, Iterable[inngest.Function[Any]]]]


def apps_of(value: object) -> Apps | None:
    """``value`` as a list of apps; None when it is neither an app nor a list of apps.

    Only the shape is looked at: ``load_apps`` and ``sdk_app`` check the rest. Reads no generator.
    """
    if _is_app(value):
        return [value]
    return value if _is_sequence(value) and len(value) and all(map(_is_app, value)) else None


def clients_of(apps: Apps) -> list[inngest.Inngest]:
    """The clients of what has the shape of apps."""
    return [app.client if isinstance(app, ConnectApp) else app[0] for app in apps_of(apps) or ()]


def is_factory(value: object) -> TypeGuard[Callable[[], object]]:
    """Whether ``value`` can be called for apps. A class would not return any."""
    return callable(value) and not is_a(value, type, inngest.Function, inngest.Inngest)


def sdk_app(app: Any) -> SdkApp:
    """The app, ready to run requests. Raises ConfigurationError."""
    return SdkApp(*_pair(app))


def load_apps(
    apps: Apps, api_origin: str | None = None
) -> tuple[ClientSettings, tuple[SdkApp, ...]]:
    """Validate ``apps`` and return what they share, and each of them ready to run.

    ``api_origin`` replaces the clients' own. Raises ConfigurationError for no apps, a wrong shape,
    a duplicate app id, functions that belong to no app, clients that differ in what one connection
    can have only once, or production mode without a signing key.
    """
    if not _is_sequence(apps) or not len(apps):
        raise ConfigurationError(
            f"apps is {shown_value(apps)}; pass a list of (inngest.Inngest, [functions]) tuples"
        )
    pairs = [_pair(app) for app in apps]
    settings = [client_settings(client).at(api_origin) for client, _ in pairs]
    first, seen = settings[0], set()
    for other in settings:
        if other.app_id in seen:
            raise ConfigurationError(
                f"two apps have the id {other.app_id!r}; put their functions into one app"
            )
        seen.add(other.app_id)
        # One connection has one environment, mode, API and key.
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
    check_client(first)
    if first.is_production and not first.signing_key:
        raise ConfigurationError(
            f"app {first.app_id!r} is in production mode and has no signing key: set "
            "INNGEST_SIGNING_KEY, or INNGEST_DEV=1 for a development server"
        )
    return first, tuple(SdkApp(client, functions) for client, functions in pairs)


def _is_sequence(value: object) -> TypeGuard[Sequence[Any]]:
    return is_a(value, Sequence) and not is_a(value, str, bytes)


def _is_app(value: object) -> TypeGuard[ConnectApp]:
    if is_a(value, ConnectApp):
        return True
    # A pair of two apps has no client.
    return _is_pair(value) and is_a(value[0], inngest.Inngest)


def _is_pair(value: object) -> TypeGuard[Sequence[Any]]:
    return is_a(value, tuple, list) and len(value) == 2  # type: ignore[arg-type]


def _pair(app: Any) -> tuple[inngest.Inngest, Sequence[inngest.Function[Any]]]:
    pair = (app.client, app.functions) if is_a(app, ConnectApp) else app
    if not _is_pair(pair) or is_a(pair[1], str, bytes) or not is_a(pair[1], Iterable):
        raise ConfigurationError(
            f"an app is {shown_value(app)}; pass a (inngest.Inngest, [functions]) tuple or a "
            "ConnectApp"
        )
    return pair[0], tuple(pair[1])  # a generator is read once
