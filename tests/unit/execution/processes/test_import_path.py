"""What can be named for another process to import, and what is said of the rest."""

import functools
import importlib.machinery
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.execution.processes.import_path import import_path

pytestmark = pytest.mark.unit


def apps() -> list[Any]:
    return []


class Shop:
    @staticmethod
    def apps() -> list[Any]:
        return []

    def method(self) -> list[Any]:
        return []


@pytest.mark.parametrize("text", ["shop:apps", "shop.worker:apps", "shop:Shop.apps", "_s1:a_1"])
def test_a_path_is_kept(text: str) -> None:
    assert import_path(text) == text


def test_a_function_of_a_module_becomes_its_path() -> None:
    assert import_path(apps) == f"{__name__}:apps"
    assert import_path(Shop.apps) == f"{__name__}:Shop.apps"


@pytest.mark.parametrize("text", ["", "shop", "shop:", ":apps", "a b:c", "shop:a:b", "shop:1"])
def test_what_is_no_path_is_named_with_the_form(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write it as package") as caught:
        import_path(text)

    assert repr(text) in str(caught.value)


def closure() -> Callable[[], list[Any]]:
    def inner() -> list[Any]:
        return []

    return inner


@functools.wraps(apps)
def replaced() -> list[Any]:
    return []


@pytest.mark.parametrize(
    ("target", "finding"),
    [
        (lambda: [5], "in this process only"),
        (closure(), "in this process only"),
        (functools.partial(apps), "functools.partial"),
        (5, "target is 5"),
        (replaced, "is something else"),
    ],
)
def test_what_another_process_cannot_import_is_refused_with_the_remedy(
    target: Any, finding: str
) -> None:
    with pytest.raises(ConfigurationError, match='name the apps as "module:attribute"') as caught:
        import_path(target)

    assert finding in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "file", "name"),
    [
        (importlib.machinery.ModuleSpec("shop.worker", None), "/x/shop/worker.py", "shop.worker"),
        (None, "/x/worker.py", "worker"),
        (None, None, "module"),
    ],
)
def test_a_function_of_the_program_itself_is_named_as_it_is_imported(
    spec: Any, file: str | None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    main.__spec__ = spec
    main.__file__ = file
    monkeypatch.setitem(sys.modules, "__main__", main)

    def defined_there() -> None: ...

    defined_there.__module__ = "__main__"
    defined_there.__qualname__ = "apps"
    with pytest.raises(ConfigurationError, match=f'pass "{name}:apps"'):
        import_path(defined_there)
    with pytest.raises(ConfigurationError, match=f'pass "{name}:apps"'):
        import_path("__main__:apps")


@pytest.mark.parametrize("hook", [lambda: None, closure(), replaced])
def test_another_option_is_named_with_its_own_remedy(hook: Callable[[], Any]) -> None:
    with pytest.raises(ConfigurationError, match="pass a function of a module") as caught:
        import_path(hook, "execution_context")

    assert str(caught.value).startswith("execution_context ")
