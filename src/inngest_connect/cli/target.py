"""Finds the worker that ``inngest-connect run module:attr`` names, and says what is wrong with it.

Everything wrong raises TargetError: a first line with what was found, a second with the remedy.
"""

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from ..connection import WebSocketWorkerConnection
from ..errors import ConfigurationError
from ..execution import django_project
from ..factory import connect
from ..sdk.apps import ConnectApp, apps_of, described, is_factory
from ..sdk.target import NotFound, attribute_of, import_module
from .users_code import mistake_in_users_code

_FORM: Final = "Write it as package.module:attribute, for example shop.worker:apps"
_KINDS: Final = (
    "A worker is a list of (inngest.Inngest, [functions]) tuples, one such tuple or ConnectApp, "
    "a connect() result, or a function without arguments that returns one of these."
)
_MOST_NAMES: Final = 8


class TargetError(ConfigurationError):
    """``finding`` is what was found and ``remedy`` what to do; the text has both, on two lines."""

    def __init__(self, finding: str, remedy: str) -> None:
        self.finding = finding
        self.remedy = remedy
        super().__init__(f"{finding}\n{remedy}")


@dataclass(frozen=True, slots=True)
class Target:
    """``name`` is where the worker is, ``module:attribute``. The worker is not started."""

    name: str
    worker: WebSocketWorkerConnection


def load_target(text: str) -> Target:
    """Import the module, find the attribute, and create a worker from it.

    The current directory is put on ``sys.path``. Raises TargetError, and ConfigurationError for
    what ``connect()`` finds wrong with the apps.
    """
    module_name, _, attribute = text.partition(":")
    if module_name.endswith(".py") or "/" in module_name or os.sep in module_name:
        path = module_name.removesuffix(".py").strip("./")
        dotted = ".".join(part for part in path.replace(os.sep, "/").split("/") if part)
        meant = f"{dotted}:{attribute}" if attribute else dotted
        raise TargetError(f"{text!r} is a file path", f"Write it as a module: {meant}")
    parts = [*module_name.split("."), *(attribute.split(".") if attribute else ())]
    if text.endswith(":") or not all(part.isidentifier() for part in parts):
        raise TargetError(f"{text!r} is not a module and attribute", _FORM)
    directory = Path.cwd()
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    django_project.set_up()
    try:
        module = import_module(module_name)
    except NotFound as error:
        raise TargetError(
            f"{error}, in {directory} or installed",
            _did_you_mean(error.name, _modules(directory), "Modules here"),
        ) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise _broken(f"module {module_name!r} cannot be imported", error) from error
    if not attribute:
        found = _candidates(module)
        if not found:
            raise TargetError(f"module {module_name!r} has no worker at its top level", _KINDS)
        if len(found) > 1:
            names = ", ".join(f"{module_name}:{name}" for name in found[:_MOST_NAMES])
            raise TargetError(
                f"module {module_name!r} has {len(found)} workers", f"Choose: {names}"
            )
        attribute = found[0]
    try:
        value = attribute_of(module, module_name, attribute)
    except NotFound as error:
        known = _public(error.owner)
        if error.owner is module and not difflib.get_close_matches(error.name, known, n=1):
            known = _candidates(module)
        raise TargetError(str(error), _did_you_mean(error.name, known, "It has")) from error
    name = f"{module_name}:{attribute}"
    return Target(name, _worker(value, name))


def _broken(finding: str, error: BaseException) -> TargetError:
    mistake = mistake_in_users_code(error)
    return TargetError(f"{finding}: {mistake.error}", mistake.place)


def _modules(directory: Path) -> list[str]:
    files = [path.stem for path in directory.glob("*.py") if path.stem.isidentifier()]
    packages = [path.parent.name for path in directory.glob("*/__init__.py")]
    return sorted({*files, *packages} - {"__init__", "conftest", "setup"})


def _did_you_mean(name: str, candidates: Sequence[str], introduction: str) -> str:
    close = difflib.get_close_matches(name, candidates, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    if not candidates:
        return _FORM
    more = f" and {len(candidates) - _MOST_NAMES} more" if len(candidates) > _MOST_NAMES else ""
    return f"{introduction}: {', '.join(candidates[:_MOST_NAMES])}{more}"


def _public(value: object) -> list[str]:
    return [name for name in getattr(value, "__dict__", ()) if not name.startswith("_")]


def _candidates(module: ModuleType) -> list[str]:
    """Names of the module that are workers or apps. Nothing is called to find out."""
    found: dict[int, str] = {}
    for name in _public(module):
        value = vars(module)[name]
        plain = isinstance(value, list | tuple | ConnectApp)  # other sequences may run code
        if isinstance(value, WebSocketWorkerConnection) or (plain and apps_of(value)):
            found.setdefault(id(value), name)
    return sorted(found.values())


def _worker(value: object, name: str) -> WebSocketWorkerConnection:
    if is_factory(value):
        value, name = _call(value, name), f"{name}()"
    if isinstance(value, WebSocketWorkerConnection):
        if value.was_started:
            raise TargetError(
                f"{name!r} is a worker that was already started",
                "Leave the start to this command: assign connect(...) and do not run it",
            )
        return value
    apps = apps_of(value)
    if apps is None:
        raise TargetError(f"{name!r} is {described(value)}", _KINDS)
    return connect(apps)


def _call(function: Callable[[], Any], name: str) -> object:
    if inspect.iscoroutinefunction(function):
        raise TargetError(
            f"{name!r} is an async function",
            "Make it a plain function; what has to be awaited belongs into your Inngest functions",
        )
    try:
        required = [
            each.name
            for each in inspect.signature(function).parameters.values()
            if each.default is each.empty
            and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
    except ValueError:  # some builtins have no signature
        required = []
    if required:
        raise TargetError(
            f"{name!r} is a function that takes arguments: {', '.join(required)}",
            "It is called without any; give them defaults",
        )
    try:
        return function()
    except (ConfigurationError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _broken(f"{name}() failed", error) from error
