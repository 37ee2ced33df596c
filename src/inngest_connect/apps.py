"""ConnectApp: an Inngest client with its functions, and what several of them must agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import ConfigurationError
from .execution.sdk_adapter import ClientSettings, SdkApp, client_settings

if TYPE_CHECKING:
    import inngest


@dataclass(frozen=True)
class ConnectApp:
    """One app: an Inngest client and the functions that belong to it."""

    client: "inngest.Inngest"
    functions: "Sequence[inngest.Function[Any]]"


Apps = Sequence["ConnectApp | tuple[inngest.Inngest, Sequence[inngest.Function[Any]]]"]


def load_apps(apps: Apps) -> tuple[ClientSettings, tuple[SdkApp, ...]]:
    """Validate ``apps`` and return what they share, and each of them ready to run.

    Raises ConfigurationError for no apps, a wrong shape, a duplicate app id, functions that belong
    to no app, clients that differ in what one connection can have only once, or production mode
    without a signing key.
    """
    if isinstance(apps, str | bytes) or not isinstance(apps, Sequence) or not apps:
        raise ConfigurationError(
            f"apps is {apps!r}; pass a list of (inngest.Inngest, [functions]) tuples"
        )
    pairs = [_pair(app) for app in apps]
    settings = [client_settings(client) for client, _ in pairs]
    _check_agreement(settings)
    if settings[0].is_production and not settings[0].signing_key:
        raise ConfigurationError(
            f"app {settings[0].app_id!r} is in production mode and has no signing key: set "
            "INNGEST_SIGNING_KEY, or INNGEST_DEV=1 for a development server"
        )
    return settings[0], tuple(SdkApp(client, functions) for client, functions in pairs)


def _pair(app: Any) -> "tuple[inngest.Inngest, Sequence[inngest.Function[Any]]]":
    if isinstance(app, ConnectApp):
        return app.client, app.functions
    if not isinstance(app, tuple) or len(app) != 2 or not isinstance(app[1], Sequence):
        raise ConfigurationError(
            f"an app is {app!r}; pass a (inngest.Inngest, [functions]) tuple or a ConnectApp"
        )
    return app[0], app[1]


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
                raise ConfigurationError(
                    f"apps {first.app_id!r} and {other.app_id!r} differ in their {what}: "
                    f"{mine!r} and {theirs!r}. Use one connect() call for each"
                )
        if first.signing_key != other.signing_key:
            raise ConfigurationError(
                f"apps {first.app_id!r} and {other.app_id!r} have different signing keys. "
                "Use one connect() call for each"
            )
