"""What a child process accepts as apps."""

import sys
import types
from typing import Any

import inngest
import pytest

from inngest_connect import ConnectApp, connect
from inngest_connect.errors import ConfigurationError
from inngest_connect.sdk.target import load_target

pytestmark = pytest.mark.unit


def app(app_id: str) -> tuple[inngest.Inngest, list[inngest.Function[Any]]]:
    client = inngest.Inngest(app_id=app_id, is_production=False)

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
    async def fn(ctx: inngest.Context) -> None: ...

    return client, [fn]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = types.ModuleType("a_shop")
    monkeypatch.setitem(sys.modules, "a_shop", made)
    return made


A, B = app("a"), app("b")


class Shop:
    apps = (A,)


class Factory:
    def __call__(self) -> Any:
        return [A]


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ([A, B], {"a", "b"}),
        ((A, B), {"a", "b"}),
        (A, {"a"}),
        (ConnectApp(*A), {"a"}),
        ([ConnectApp(*A), B], {"a", "b"}),
        (lambda: [A, B], {"a", "b"}),
        (lambda: A, {"a"}),
        ([list(A), B], {"a", "b"}),
        (list(A), {"a"}),
        ([(A[0], set(A[1]))], {"a"}),
        ([(A[0], dict(enumerate(A[1])).values())], {"a"}),
        (lambda: (A[0], (each for each in A[1])), {"a"}),
        (connect([A, B]), {"a", "b"}),
        (lambda: connect([B]), {"b"}),
        (Factory(), {"a"}),
    ],
)
def test_apps_are_found_in_every_form_that_the_command_line_takes(
    module: Any, value: Any, ids: set[str]
) -> None:
    module.apps = value
    loaded = load_target("a_shop:apps")

    assert loaded.keys() == ids
    assert all(loaded[name].identity.name == name for name in ids)


def test_an_attribute_may_be_within_another(module: Any) -> None:
    module.Shop = Shop

    assert load_target("a_shop:Shop.apps").keys() == {"a"}


@pytest.mark.parametrize(
    "value", [None, 5, "text", [], [5], [A, 5], (5, []), A[0], lambda: 5, Shop]
)
def test_anything_else_is_refused(module: Any, value: Any) -> None:
    module.apps = value

    with pytest.raises(ConfigurationError, match="'a_shop:apps' is of type"):
        load_target("a_shop:apps")


def test_a_module_that_is_not_found_has_a_remedy() -> None:
    """``python a_store/worker.py`` puts the folder itself on the import path."""
    with pytest.raises(ConfigurationError, match=r"`python -m a_store\.worker`"):
        load_target("a_store.worker:apps")


def test_a_missing_attribute_is_named(module: Any) -> None:
    with pytest.raises(ConfigurationError, match="'a_shop' has no attribute 'apps'"):
        load_target("a_shop:apps")
