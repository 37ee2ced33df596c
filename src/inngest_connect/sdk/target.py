"""A target, ``module:attribute``: where the command line and child processes find their apps."""

import importlib
from types import ModuleType
from typing import Any

from ..errors import ConfigurationError
from .adapter import SdkApp
from .apps import apps_of, is_factory, sdk_app


class NotFound(ConfigurationError):
    """``name`` does not exist: a module, or an attribute of ``owner``."""

    def __init__(self, text: str, name: str, owner: object = None) -> None:
        self.name = name
        self.owner = owner
        super().__init__(text)


def import_module(name: str) -> ModuleType:
    """Raises NotFound, and whatever the module raises while it is imported."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the module exists, and imports one that does not
        raise NotFound(f"there is no module {error.name!r}", error.name) from error


def attribute_of(module: ModuleType, module_name: str, path: str) -> Any:
    """The attribute at the dotted ``path``. Raises NotFound."""
    value: Any = module
    where, separator = module_name, ":"
    for name in path.split("."):
        try:
            value = getattr(value, name)
        except AttributeError as error:
            raise NotFound(f"{where!r} has no attribute {name!r}", name, value) from error
        where, separator = f"{where}{separator}{name}", "."
    return value


def load_attribute(target: str) -> Any:
    """In a child process: what ``target`` names. Raises ConfigurationError when there is none."""
    module_name, _, path = target.partition(":")
    try:
        module = import_module(module_name)
    except NotFound as error:
        raise ConfigurationError(
            f"{error} on the import path, which children have from their parent: start the program "
            f"with `python -m {module_name}` from the directory that contains "
            f"{module_name.partition('.')[0]!r}, or set PYTHONPATH"
        ) from None
    return attribute_of(module, module_name, path)


def load_target(target: str) -> dict[str, SdkApp]:
    """In a child process: the apps of ``target`` by id, ready to run requests.

    The attribute is an app, a list of apps, what ``connect()`` returned, or a function without
    arguments that returns one of these. Raises ConfigurationError for anything else, and whatever
    the import and the function raise.
    """
    value = load_attribute(target)
    if is_factory(value):
        value = value()
    # A connection has its apps ready; its class is in a layer above this one.
    connected = getattr(value, "sdk_apps", None)
    if isinstance(connected, dict):
        return connected
    apps = apps_of(value)
    if apps is None:
        raise ConfigurationError(
            f"{target!r} is of type {type(value).__name__}; it has to be a list of "
            "(inngest.Inngest, [functions]) tuples, or a function that returns one"
        )
    return {app.identity.name: app for app in map(sdk_app, apps)}
