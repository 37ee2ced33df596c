"""Which libraries are installed beside the worker that change what it runs on, or how it is seen.

One table: whoever reads a report of ``doctor`` has to know of these first. What the command line
itself brings is not in it.
"""

import contextlib
import importlib.metadata
import itertools
from typing import Final

_DISTRIBUTIONS: Final = {
    "event loops": ("uvloop", "winloop", "rloop", "trio", "nest-asyncio"),
    "patched threads or clocks": ("gevent", "eventlet", "freezegun", "time-machine"),
    "tracers": (
        "opentelemetry-instrumentation", "ddtrace", "newrelic", "elastic-apm",
        "logfire",
    ),
    "error reporters": ("sentry-sdk", "rollbar", "bugsnag", "honeybadger"),
    "logging": ("loguru", "logbook"),
    "web frameworks": (
        "Django", "Flask", "fastapi", "litestar", "Quart", "aiohttp", "sanic", "tornado",
    ),
    "servers": ("gunicorn", "hypercorn", "granian", "daphne", "uWSGI", "celery"),
    "pytest plugins": (
        "pytest-asyncio", "pytest-xdist", "pytest-django", "pytest-aiohttp", "pytest-trio",
    ),
}  # fmt: skip
"""By why they matter. Names as their projects write them."""


def neighbors() -> dict[str, str]:
    """The version of each that is installed."""
    found: dict[str, str | None] = {}
    for name in itertools.chain.from_iterable(_DISTRIBUTIONS.values()):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            metadata = importlib.metadata.distribution(name).metadata
            # None of a damaged installation. The backport, which old tracers import, warns of
            # metadata["Version"] there.
            found[name] = next(iter(metadata.get_all("Version") or ()), None)
    return {name: version or "of an unknown version" for name, version in found.items()}
