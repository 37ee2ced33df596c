"""What is examined, and what the checks have found out so far."""

import dataclasses
import os
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import inngest

from ...core.settings import WorkerIdentity
from ...errors import ConfigurationError, ConnectError
from ...observability.redaction import Redactor
from ...options import ConnectOptions, resolve_options
from ...sdk.adapter import SdkApp
from ...sdk.apps import load_apps
from ...sdk.client_settings import ClientSettings, api_variable, check_client, client_settings
from ...sdk.identity import worker_identity
from ...transport.api_client import StartAnswer
from ...transport.environment import check_network
from ...transport.signing_key import SigningKey
from ..target import load_target
from .conversation import Conversation

APP_ID: Final = "inngest-connect-doctor"


@dataclass(frozen=True, slots=True)
class Subject:
    """The worker that would connect."""

    client: ClientSettings
    identity: WorkerIdentity
    options: ConnectOptions
    target: str | None = None
    """The module and attribute it comes from; None for the doctor's own app."""

    def __post_init__(self) -> None:
        """With its own instance id, so that the limit of a running worker is unaffected."""
        own = f"doctor-{socket.gethostname()}-{uuid.uuid4().hex[:8]}"
        identity = dataclasses.replace(self.identity, instance_id=own, max_worker_concurrency=None)
        object.__setattr__(self, "identity", identity)


def from_target(text: str) -> Subject:
    """The worker at ``module:attribute``. Raises ConfigurationError."""
    check_network("https:")
    target = load_target(text)
    client, identity, options = target.worker.configuration
    return Subject(client, identity, options, target.name)


def from_environment() -> Subject:
    """The doctor's own app. Raises ConfigurationError for a wrong variable."""
    check_network("https:")  # the SDK's client reads these too, and its errors name no variable
    try:
        client = inngest.Inngest(app_id=APP_ID)
    except Exception as error:
        raise ConfigurationError(
            f"the inngest client cannot be created in this environment: {error}\n"
            "Check INNGEST_API_BASE_URL, INNGEST_BASE_URL and INNGEST_DEV"
        ) from error

    @client.create_function(
        fn_id="never", trigger=inngest.TriggerEvent(event=f"{APP_ID}/never"), retries=0
    )
    async def never(ctx: inngest.Context) -> None:
        """Is registered by the handshake, and never called: the doctor takes no work."""

    options = resolve_options()
    settings = client_settings(client).at(options.api_origin)
    check_client(settings)
    apps: tuple[SdkApp, ...] = ()
    if settings.signing_key or not settings.is_production:
        # Without a key there are no apps, and the check of the key fails.
        settings, apps = load_apps([(client, [never])], options.api_origin)
    identity = worker_identity(
        apps,
        instance_id=options.instance_id,
        max_worker_concurrency=options.max_worker_concurrency,
        environment=settings.env,
    )
    return Subject(settings, identity, options)


@dataclass(slots=True)
class Examination:
    """Filled by the checks. ``timeout`` is seconds for one piece of network I/O."""

    found: Subject | ConnectError
    """The error is the finding of the first check, without which no other one is run."""
    timeout: float
    handshake: bool = True
    variables: Mapping[str, str] = field(default_factory=lambda: os.environ)
    known_variables: frozenset[str] = frozenset()
    redactor: Redactor = field(default_factory=Redactor)
    """Masks every secret that is known by now."""
    keys: tuple[SigningKey, ...] = ()
    answer: StartAnswer | None = None
    gateway_url: str = ""
    conversation: Conversation | None = None

    @property
    def api_setting(self) -> str:
        """What names the API that is called: a variable, or what the program passes."""
        client = self.subject.client
        name = api_variable(client.api_origin, self.variables)
        if name is not None:
            return name
        if not client.api_origin_is_default:
            return "api_base_url (or api_origin) in the code"
        is_development = self.variables.get("INNGEST_DEV", "").strip() and not client.is_production
        return "INNGEST_DEV" if is_development else "INNGEST_API_BASE_URL"

    @property
    def subject(self) -> Subject:
        """Raises the ConnectError with which it could not be created."""
        if isinstance(self.found, ConnectError):
            raise self.found
        return self.found
