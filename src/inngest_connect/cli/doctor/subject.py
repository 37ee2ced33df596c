"""Whose connection is examined: a user's worker, or the doctor's own app."""

import dataclasses
import socket
import uuid
from dataclasses import dataclass
from typing import Final

import inngest

from ...core.settings import WorkerIdentity
from ...errors import ConfigurationError
from ...options import ConnectOptions, resolve_options
from ...sdk.adapter import SdkApp
from ...sdk.apps import load_apps
from ...sdk.client_settings import ClientSettings, client_settings
from ...sdk.identity import worker_identity
from ...transport.environment import check_network
from ..target import load_target

APP_ID: Final = "inngest-connect-doctor"


@dataclass(frozen=True, slots=True)
class Subject:
    """The worker that would connect."""

    client: ClientSettings
    identity: WorkerIdentity
    options: ConnectOptions
    target: str | None = None
    """The module and attribute it comes from; None for the doctor's own app."""


def from_environment() -> Subject:
    """The doctor's app. Raises ConfigurationError for what a variable has wrong."""
    check_network("https:")  # the SDK's client reads all of it, with errors that name no variable
    client, functions = _own_app()
    settings = client_settings(client)
    apps: tuple[SdkApp, ...] = ()
    if settings.signing_key or not settings.is_production:
        # Without a key the SDK makes no app, and the check of the key says so.
        settings, apps = load_apps([(client, functions)])
    options = resolve_options()
    return Subject(
        settings,
        _aside(
            worker_identity(
                apps,
                instance_id=options.instance_id,
                max_worker_concurrency=options.max_worker_concurrency,
                environment=settings.env,
            )
        ),
        options,
    )


def from_target(text: str) -> Subject:
    """The worker at ``module:attribute``. Raises ConfigurationError."""
    check_network("https:")
    try:
        target = load_target(text)
    except ConfigurationError:
        raise
    except Exception as error:
        # The SDK has errors of its own for what a client lacks, above all a signing key.
        raise ConfigurationError(
            f"{text} cannot be made: {type(error).__name__} {error}\n"
            "If a key is missing, set INNGEST_SIGNING_KEY, or INNGEST_DEV=1 for development"
        ) from error
    client, identity, options = target.worker.configuration
    return Subject(client, _aside(identity), options, target.name)


def _aside(identity: WorkerIdentity) -> WorkerIdentity:
    """Under an instance id of its own, so that no running worker's limit is touched."""
    return dataclasses.replace(
        identity,
        instance_id=f"doctor-{socket.gethostname()}-{uuid.uuid4().hex[:8]}",
        max_worker_concurrency=None,
    )


def _own_app() -> tuple[inngest.Inngest, list[inngest.Function[None]]]:
    try:
        client = inngest.Inngest(app_id=APP_ID)
    except Exception as error:
        # Whatever the SDK and its HTTP client find wrong with variables; a worker ends here too.
        raise ConfigurationError(
            f"the inngest client cannot be made in this environment: {error}\n{_remedy(error)}"
        ) from error

    @client.create_function(
        fn_id="never", trigger=inngest.TriggerEvent(event=f"{APP_ID}/never"), retries=0
    )
    async def never(ctx: inngest.Context) -> None:
        """Is registered with the handshake, and never called: the doctor takes no work."""

    return client, [never]


def _remedy(error: Exception) -> str:
    if isinstance(error, ImportError):
        return 'Install what a SOCKS proxy needs: pip install "httpx[socks]"'
    if isinstance(error, OSError):
        return "SSL_CERT_FILE has to name a readable PEM file, SSL_CERT_DIR a directory of them"
    if "proxy" in str(error).lower():
        return "Set HTTPS_PROXY, HTTP_PROXY and ALL_PROXY to http:// proxies, or unset them"
    return "Check INNGEST_API_BASE_URL, INNGEST_BASE_URL and INNGEST_DEV"
