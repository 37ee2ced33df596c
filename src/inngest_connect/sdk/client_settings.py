"""ClientSettings: what an ``inngest.Inngest`` client says, and the variables that it comes from."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import inngest

from ..core.wire.user_text import is_a, shown_value
from ..errors import ConfigurationError
from ..transport.urls import check_plain, check_url, is_plain, shown_setting
from .adapter import DEFAULT_API_ORIGINS, client_version

API_ORIGIN_VARIABLE: Final = "INNGEST_CONNECT_API_ORIGIN"
"""Of this package: it is read with the options, and beats those of the SDK."""
API_VARIABLES: Final = ("INNGEST_API_BASE_URL", "INNGEST_BASE_URL", "INNGEST_DEV")
ENV_VARIABLES: Final = (
    "INNGEST_ENV", "RAILWAY_GIT_BRANCH", "RENDER_GIT_BRANCH", "VERCEL_GIT_BRANCH",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What the worker needs to know of a client."""

    app_id: str
    api_origin: str = field(repr=False)
    """It can have user information."""
    env: str | None
    is_production: bool
    app_version: str | None
    signing_key: str | None = field(repr=False)
    signing_key_fallback: str | None = field(repr=False)
    api_origin_is_default: bool = False
    """Whether neither the program nor a variable names another API, as far as the SDK read it."""

    def at(self, api_origin: str | None) -> "ClientSettings":
        """The same, with another API if one is given."""
        if api_origin is None:
            return self
        return dataclasses.replace(self, api_origin=api_origin, api_origin_is_default=False)


def client_settings(client: object) -> ClientSettings:
    """Raises ConfigurationError when ``client`` is not an ``inngest.Inngest``."""
    if not is_a(client, inngest.Inngest):
        raise ConfigurationError(f"the client is {shown_value(client)}; pass an inngest.Inngest")
    assert isinstance(client, inngest.Inngest)
    return ClientSettings(
        app_id=client.app_id,
        api_origin=client.api_origin.strip(),
        env=_stripped(client.env),
        is_production=client.is_production,
        app_version=client_version(client),
        signing_key=_stripped(client.signing_key),
        signing_key_fallback=_stripped(client.signing_key_fallback),
        api_origin_is_default=client.api_origin in DEFAULT_API_ORIGINS,
    )


def _stripped(value: str | None) -> str | None:
    """A variable that was read from a file often ends in a newline; an empty one is not set."""
    return (value or "").strip() or None


def api_variable(origin: str, variables: Mapping[str, str]) -> str | None:
    """The variable that ``origin`` comes from, None for the program or the default.

    The first variable that is set does not decide: the SDK ignores a value that is not a URL. It
    adds a scheme to one without.
    """
    origin = origin.rstrip("/")
    for name in (API_ORIGIN_VARIABLE, *API_VARIABLES):
        value = variables.get(name, "").strip().rstrip("/")
        if value and value in (origin, origin.partition("://")[2]):
            return name
    return None


def check_client(client: ClientSettings) -> None:
    """Raises ConfigurationError for an API address or an environment that cannot be used."""
    values = {name: os.environ.get(name, "").strip() for name in API_VARIABLES}
    for name, value in values.items():
        check_plain(name, value)  # the SDK removes line ends from the middle of a URL
    source = api_variable(client.api_origin, os.environ)
    example = "https://api.inngest.com"
    check_url(source or "api_base_url", client.api_origin, ("http", "https"), example)
    if client.env is not None and not is_plain(client.env):
        name = next(
            (v for v in ENV_VARIABLES if os.environ.get(v, "").strip() == client.env), "env"
        )
        raise ConfigurationError(
            f"{name} is {shown_value(client.env)}; the name of an environment has ASCII "
            "letters, digits and signs, and no spaces"
        )
    if source is not None or not client.api_origin_is_default:
        return
    # The SDK ignores a value that it cannot read, and would connect somewhere else.
    for name, value in values.items():
        if value and (name != "INNGEST_DEV" or not value.isalnum()):
            raise ConfigurationError(
                f"{name} is {shown_setting(value)}, which is not a URL that can be "
                f"used, so the SDK would connect to {client.api_origin}; set a URL such as "
                "'http://127.0.0.1:8288', or unset it"
            )
