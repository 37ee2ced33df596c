"""What counts as apps, whoever asks, and what several of them must agree on."""

from collections.abc import Iterator
from typing import Any

import inngest
import pytest

from inngest_connect.errors import ConfigurationError
from inngest_connect.sdk.apps import ConnectApp, apps_of, is_factory, load_apps

pytestmark = pytest.mark.unit
KEY = "signkey-test-" + "ab" * 32
OTHER_KEY = "signkey-test-" + "cd" * 32


def client(app_id: str = "a", **options: Any) -> inngest.Inngest:
    return inngest.Inngest(app_id=app_id, **{"is_production": False, **options})


def function(of: inngest.Inngest) -> inngest.Function[Any]:
    @of.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"))
    async def fn(ctx: inngest.Context) -> None: ...

    return fn


A, B = client("a"), client("b")


def test_an_app_and_a_list_of_apps_become_a_list() -> None:
    app = ConnectApp(A, [])
    pair: tuple[inngest.Inngest, list[Any]] = (B, [])

    assert apps_of(app) == [app]
    assert apps_of(pair) == [pair]
    assert apps_of([app, pair]) == [app, pair]
    assert apps_of((pair, pair)) == (pair, pair)


@pytest.mark.parametrize("value", [None, 5, "ab", b"ab", [], (), [5], A, {"a": A}, {A}])
def test_anything_else_is_not_apps(value: Any) -> None:
    assert apps_of(value) is None


def test_asking_reads_no_generator() -> None:
    read: list[str] = []

    def functions() -> Iterator[inngest.Function[Any]]:
        read.append("read")
        yield function(A)

    app = (A, functions())
    found = apps_of(app)

    assert (found, read) == ([app], [])
    _, (loaded,) = load_apps(found or [])
    assert loaded.identity.function_slugs == {"a-fn"}


def test_a_factory_is_anything_that_can_be_called_except_a_class_and_what_the_sdk_has() -> None:
    class Shop:
        def __call__(self) -> None: ...

    assert [is_factory(value) for value in (len, lambda: A, Shop())] == [True, True, True]
    assert [is_factory(value) for value in (Shop, A, function(A), [A])] == [False] * 4


@pytest.mark.parametrize(
    ("mine", "theirs", "what"),
    [
        ({"env": "one"}, {"env": "two"}, "environment: 'one' and 'two'"),
        (
            {"is_production": True, "signing_key": KEY},
            {"signing_key": KEY},
            r"mode \(is_production\): True and False",
        ),
        (
            {"api_base_url": "http://user:word@one.test"},
            {"api_base_url": "http://user:other@one.test"},
            r"API origin: 'http://\*\*\*@one.test' and 'http://\*\*\*@one.test'",
        ),
        ({"signing_key": KEY}, {"signing_key": OTHER_KEY}, "have different signing keys"),
    ],
)
def test_apps_that_one_connection_cannot_serve_are_refused(
    mine: dict[str, Any], theirs: dict[str, Any], what: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"apps 'a' and 'b' .*{what}") as raised:
        load_apps([(client("a", **mine), []), (client("b", **theirs), [])])

    assert "word" not in str(raised.value)
    assert KEY not in str(raised.value)


def test_production_without_a_key_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INNGEST_SIGNING_KEY", raising=False)

    with pytest.raises(ConfigurationError, match="'a' is in production mode and has no signing"):
        load_apps([(client("a", is_production=True), [])])


F = function(A)


@pytest.mark.parametrize(
    ("apps", "text"),
    [
        (A, "apps is an Inngest client, 'a', without functions; pass a list"),
        (F, "apps is one Inngest function, 'a-fn', without its client; pass a list"),
        ((A, [F]), "apps is one app; put it into a list"),
        (None, "apps is None; pass a list"),
        ([A], "apps[0] is an Inngest client, 'a', without functions; pass a"),
        ([(A, [F]), "x"], "apps[1] is 'x'; pass a"),
        ([(A, [F]), (B,)], "apps[1] is a tuple of inngest"),
        ([(A, F)], "apps[0] has one function, 'a-fn', in place of a list; write"),
        ([([F], A)], "apps[0] has no inngest.Inngest client in its first place"),
        ([ConnectApp(5, [F])], "first place, which is 5; pass"),  # type: ignore[arg-type]
        ([(A, 5)], "the functions of apps[0] are 5; pass a list"),
        ([(A, [F, len])], "app 'a': functions[1] is <built-in function len>, which is not an"),
        ([(A, [])], "app 'a' has no functions; pass those"),
        ([(A, [F, F])], "two functions have the id 'a-fn', and one would replace the other; give"),
    ],
)
def test_the_part_of_the_apps_that_is_wrong_is_named_with_the_remedy(apps: Any, text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_apps(apps)

    assert text in str(raised.value)
