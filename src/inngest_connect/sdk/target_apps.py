"""Loads the apps that an import path names, in a process that runs their functions."""

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import ConfigurationError
from .adapter import SdkApp


def load_target(path: str) -> dict[str, SdkApp]:
    """Import ``module:attribute`` and return its apps, ready to run, by id.

    The attribute is a list of apps, one app, what ``connect()`` returned, or a function without
    arguments that returns one of these. Raises ConfigurationError for anything else, and whatever
    the import raises.
    """
    module_name, _, attribute = path.partition(":")
    try:
        value: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # of something that the module imports
        raise ConfigurationError(
            f"there is no module {error.name!r} on the import path, which children have from their "
            f"parent: start the program with `python -m {module_name}` from the directory that "
            f"contains {module_name.partition('.')[0]!r}, or set PYTHONPATH"
        ) from None
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise ConfigurationError(f"{module_name!r} has no attribute {attribute!r}")
        value = getattr(value, part)
    apps = _apps(value)
    if apps is None and inspect.isroutine(value):
        value = value()
        apps = _apps(value)
    if not apps:
        raise ConfigurationError(
            f"{path!r} is of type {type(value).__name__}; it has to be a list of "
            "(inngest.Inngest, [functions]) tuples, or a function that returns one"
        )
    return apps


def _apps(value: Any) -> dict[str, SdkApp] | None:
    served = getattr(value, "sdk_apps", None)
    if isinstance(served, Mapping):
        return dict(served)
    pairs = [_pair(value)]
    if pairs == [None] and isinstance(value, Sequence):
        pairs = [_pair(each) for each in value]
    apps = [SdkApp(*pair) for pair in pairs if pair is not None]
    return {app.identity.name: app for app in apps} if len(apps) == len(pairs) else None


def _pair(value: Any) -> tuple[Any, Sequence[Any]] | None:
    """Client and functions of a tuple or a ConnectApp."""
    if hasattr(value, "client") and hasattr(value, "functions"):
        value = (value.client, value.functions)
    if isinstance(value, tuple | list) and len(value) == 2 and isinstance(value[1], Iterable):
        # A tuple of two apps has the same shape, but no client.
        return (value[0], tuple(value[1])) if hasattr(value[0], "app_id") else None
    return None
