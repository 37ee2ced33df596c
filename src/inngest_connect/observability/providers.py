"""The global OpenTelemetry providers, which an environment variable may name."""

import os
from collections.abc import Callable
from typing import TypeVar

from opentelemetry import metrics, trace

from ..core.wire.user_text import class_name, shown_error, shown_value
from ..errors import ConfigurationError

Provider = TypeVar("Provider")


def global_meter_provider() -> metrics.MeterProvider:
    """Raises ConfigurationError when OTEL_PYTHON_METER_PROVIDER cannot be loaded."""
    return _load(metrics.get_meter_provider, "OTEL_PYTHON_METER_PROVIDER")


def global_tracer_provider() -> trace.TracerProvider:
    """Raises ConfigurationError when OTEL_PYTHON_TRACER_PROVIDER cannot be loaded."""
    return _load(trace.get_tracer_provider, "OTEL_PYTHON_TRACER_PROVIDER")


def _load(get: Callable[[], Provider], variable: str) -> Provider:
    try:
        return get()
    except Exception as error:
        raise ConfigurationError(
            f"{variable} is {shown_value(os.environ.get(variable))}, which OpenTelemetry cannot "
            f"load ({class_name(error)}): install the package that has it, or unset the variable"
        ) from error


def unusable_provider(
    option: str, provider: metrics.MeterProvider | trace.TracerProvider, error: BaseException
) -> ConfigurationError:
    """The error for a provider that raised ``error``."""
    return ConfigurationError(
        f"{option} is of type {class_name(provider)}, which raised {shown_error(error)}; pass an "
        "OpenTelemetry provider that works, or leave it out for the global one"
    )
