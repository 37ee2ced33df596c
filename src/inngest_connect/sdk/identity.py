"""What WORKER_CONNECT says of this worker: its apps, its SDK and its machine."""

import dataclasses
import os
import platform
import time
from collections.abc import Sequence

from google.protobuf.internal import api_implementation

from ..core.settings import WorkerIdentity
from ..errors import ConfigurationError
from .adapter import FRAMEWORK, SDK_LANGUAGE, SDK_VERSION, SdkApp, capabilities
from .app_version import detected_app_version

ALLOW_PURE_PYTHON_VARIABLE = "INNGEST_CONNECT_ALLOW_PURE_PYTHON_PROTOBUF"


def worker_identity(
    apps: Sequence[SdkApp],
    *,
    instance_id: str,
    max_worker_concurrency: int | None,
    environment: str | None,
) -> WorkerIdentity:
    """Raises ConfigurationError when protobuf runs without its C implementation."""
    check_protobuf_implementation(api_implementation.Type())
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # not on this platform
        memory = 0
    return WorkerIdentity(
        instance_id=instance_id,
        # A version changes what the server synchronizes, so one of the client is not replaced.
        apps=tuple(
            dataclasses.replace(
                app.identity, version=app.identity.version or detected_app_version()
            )
            for app in apps
        ),
        capabilities=capabilities(),
        sdk_language=SDK_LANGUAGE,
        sdk_version=SDK_VERSION,
        framework=FRAMEWORK,
        environment=environment,
        cpu_cores=os.cpu_count() or 0,
        memory_bytes=memory,
        operating_system=platform.system().lower(),
        started_at=time.time(),
        max_worker_concurrency=max_worker_concurrency,
    )


def check_protobuf_implementation(implementation: str) -> None:
    """The pure-Python decoder has no recursion limit on data from the network, and is slow."""
    if implementation == "python" and os.environ.get(ALLOW_PURE_PYTHON_VARIABLE) != "1":
        raise ConfigurationError(
            "protobuf runs on its pure-Python implementation, which is not safe for data from the "
            "network: install a protobuf wheel for this platform, unset "
            "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION, or accept it with "
            f"{ALLOW_PURE_PYTHON_VARIABLE}=1"
        )
