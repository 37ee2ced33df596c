"""What users pass as apps: one app, a list of apps, or a function that returns either.

An app is an Inngest client with its functions: a ``ConnectApp`` or a pair. ``connect()``, the
command line and child processes all recognize apps here.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import inngest

from ..core.wire.user_text import class_name, guarded, is_a, shown_value
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


def described(value: Any) -> str:
    """What a wrong value is, in words that follow "is"."""
    if is_a(value, inngest.Function):
        return f"one Inngest function, {value.id!r}, without its client"
    if is_a(value, inngest.Inngest):
        return f"an Inngest client, {value.app_id!r}, without functions"
    if is_a(value, list, tuple):
        kinds = sorted({_kind(each) for each in value})
        return f"a {class_name(value)} of {', '.join(kinds)}" if kinds else "empty"
    if inspect.ismodule(value) or is_a(value, type):
        return f"the {'module' if inspect.ismodule(value) else 'class'} {value.__name__!r}"
    return f"of type {_kind(value)}"


def _kind(value: object) -> str:
    kind = type(value)
    return guarded(lambda: f"{kind.__module__}.{kind.__qualname__}", class_name(value)).replace(
        "builtins.", ""
    )


def sdk_app(app: Any) -> SdkApp:
    """The app, ready to run requests. Raises ConfigurationError."""
    return SdkApp(*_pair(app, "the app"))


def load_apps(
    apps: Apps, api_origin: str | None = None
) -> tuple[ClientSettings, tuple[SdkApp, ...]]:
    """Validate ``apps`` and return what they share, and each of them ready to run.

    ``api_origin`` replaces the clients' own. Raises ConfigurationError for no apps, a wrong shape,
    a duplicate app id, functions that belong to no app, clients that differ in what one connection
    can have only once, or production mode without a signing key.
    """
    if _is_app(apps):
        raise ConfigurationError("apps is one app; put it into a list: [(client, functions)]")
    if not _is_sequence(apps) or not len(apps):
        what = described(apps) if _has_words(apps) else shown_value(apps)
        raise ConfigurationError(
            f"apps is {what}; pass a list of (inngest.Inngest, [functions]) tuples"
        )
    pairs = [_pair(app, f"apps[{position}]") for position, app in enumerate(apps)]
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


def _has_words(value: object) -> bool:
    """Whether ``described`` says more than the value itself."""
    return is_a(value, inngest.Function, inngest.Inngest, type) or callable(value)


def _pair(app: Any, where: str) -> tuple[inngest.Inngest, Sequence[inngest.Function[Any]]]:
    pair = (app.client, app.functions) if is_a(app, ConnectApp) else app
    if not _is_pair(pair):
        words = is_a(app, list, tuple) or _has_words(app)
        raise ConfigurationError(
            f"{where} is {described(app) if words else shown_value(app)}; "
            "pass a (inngest.Inngest, [functions]) tuple or a ConnectApp"
        )
    client, functions = pair
    if not is_a(client, inngest.Inngest):
        what = described(client) if _has_words(client) else shown_value(client)
        raise ConfigurationError(
            f"{where} has no inngest.Inngest client in its first place, which is {what}; "
            "pass a (inngest.Inngest, [functions]) tuple"
        )
    if is_a(functions, inngest.Function):
        raise ConfigurationError(
            f"{where} has one function, {functions.id!r}, in place of a list; write "
            "(client, [function])"
        )
    if is_a(functions, str, bytes) or not is_a(functions, Iterable):
        raise ConfigurationError(
            f"the functions of {where} are {shown_value(functions)}; pass a list of Inngest "
            "functions"
        )
    return client, tuple(functions)  # a generator is read once
