"""What ``module:attribute`` may name, and what is said when it names something else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inngest_connect.cli.target import TargetError, load_target
from inngest_connect.errors import ConfigurationError

pytestmark = pytest.mark.unit
HEAD = """
import inngest
from inngest_connect import ConnectApp, connect
client = inngest.Inngest(app_id="shop", is_production=False)
other = inngest.Inngest(app_id="other", is_production=False)
of = [app.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"))(lambda ctx: None)
      for app in (client, other)]
"""
FIRST = HEAD.count("\n") + 1
"""The line of the code that follows."""
HERE = f"worker_module.py, line {FIRST}: "


@pytest.fixture(autouse=True)
def fresh_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(directory: Path, code: str, name: str = "worker_module.py") -> None:
    path = directory / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)


@pytest.mark.parametrize(
    ("code", "attribute", "apps"),
    [
        ("apps = [(client, of[:1]), ConnectApp(other, of[1:])]", "apps", ["shop", "other"]),
        ("apps = ((client, of[:1]),)", "apps", ["shop"]),
        ("app = (client, of[:1])", "app", ["shop"]),
        ("app = [client, of[:1]]", "app", ["shop"]),
        ("apps = [[client, set(of[:1])]]", "apps", ["shop"]),
        ("app = ConnectApp(client, of[:1])", "app", ["shop"]),
        ("worker = connect([(client, of[:1])])", "worker", ["shop"]),
        ("def make(): return [(client, of[:1])]", "make", ["shop"]),
        ("def make(debug=False, *rest, **more): return client, of[:1]", "make", ["shop"]),
        ("def make(): return connect([(client, of[:1])])", "make", ["shop"]),
        ("class Shop:\n    apps = [(client, of[:1])]", "Shop.apps", ["shop"]),
        (
            "class Shop:\n    def make(self): return [(client, of[:1])]\nshop = Shop()",
            "shop.make",
            ["shop"],
        ),
    ],
)
def test_every_kind_of_worker_is_taken(
    directory: Path, code: str, attribute: str, apps: list[str]
) -> None:
    write(directory, HEAD + code)

    target = load_target(f"worker_module:{attribute}")

    assert list(target.worker.functions) == apps
    assert target.name == f"worker_module:{attribute}"


def test_a_connection_is_taken_as_it_is(directory: Path) -> None:
    write(directory, HEAD + "worker = connect([(client, of[:1])], instance_id='mine')")

    target = load_target("worker_module:worker")

    assert target.worker is sys.modules["worker_module"].worker


def test_the_only_worker_of_a_module_need_not_be_named(directory: Path) -> None:
    write(directory, HEAD + "apps = [(client, of[:1])]\nsame = apps", "shop_package/worker.py")

    assert load_target("shop_package.worker").name == "shop_package.worker:apps"


TWO = "one = [(client, of[:1])]\ntwo = [(other, of[1:])]"
WRONG: list[tuple[str, str, str, str]] = [
    (TWO, "worker_module", "has 2 workers", "Choose: worker_module:one, worker_module:two"),
    ("x = 5", "worker_module", "no worker at its top level", "A worker is a list of"),
    ("", "nothing_here:apps", "no module 'nothing_here'", "Modules here: worker_module"),
    ("", "worker_modul:apps", "no module 'worker_modul'", "Did you mean 'worker_module'?"),
    ("", "worker_module.sub:apps", "no module 'worker_module.sub'", "worker_module"),
    (
        "apps = [(client, of[:1])]",
        "worker_module:app",
        "no attribute 'app'",
        "Did you mean 'apps'?",
    ),
    ("apps = [(client, of[:1])]", "worker_module:zzz", "no attribute 'zzz'", "It has: apps"),
    ("apps = [(client, of[:1])]", "worker_module:client.zzz", "'worker_module:client' has no", ""),
    ("", "worker_module:client", "an Inngest client, 'shop', without functions", "A worker"),
    ("apps = []", "worker_module:apps", "is empty", "A worker is"),
    ("apps = [1, 'x']", "worker_module:apps", "a list of int, str", "A worker is"),
    ("", "worker_module:ConnectApp", "the class 'ConnectApp'", "A worker is"),
    ("", "worker_module:inngest", "the module 'inngest'", "A worker is"),
    ("def make(): return 5", "worker_module:make", "'worker_module:make()' is of type int", ""),
    ("def make(): return make", "worker_module:make", "make()' is of type function", "A worker"),
    ("def make(a, b=1, *, c): pass", "worker_module:make", "arguments: a, c", "defaults"),
    ("async def make(): pass", "worker_module:make", "is an async function", "a plain function"),
    (
        "def make():\n    return 1 / 0",
        "worker_module:make",
        "failed: ZeroDivisionError",
        f"line {FIRST + 1}",
    ),
    (
        "import no_such_library",
        "worker_module",
        "No module named 'no_such_library'",
        f"line {FIRST}",
    ),
    (
        "raise SystemExit(3)",
        "worker_module",
        "imported: SystemExit: 3",
        f"line {FIRST}: raise System",
    ),
    ("if x", "worker_module", "SyntaxError: expected ':'", HERE),
    ("", "worker_module.py:apps", "is a file path", "Write it as a module: worker_module:apps"),
    ("", "./shop/worker.py", "is a file path", "Write it as a module: shop.worker"),
    ("", "worker_module:", "is not a module and attribute", "package.module:attribute"),
    ("", "worker module", "is not a module and attribute", "package.module:attribute"),
]


@pytest.mark.parametrize(("code", "target", "found", "remedy"), WRONG)
def test_what_is_wrong_is_said_with_a_remedy(
    directory: Path, code: str, target: str, found: str, remedy: str
) -> None:
    write(directory, HEAD + code)

    with pytest.raises(TargetError) as raised:
        load_target(target)

    assert found in raised.value.finding
    assert remedy in raised.value.remedy
    assert len(str(raised.value).splitlines()) == 2


def test_one_function_without_its_client_is_recognised(directory: Path) -> None:
    code = "@client.create_function(fn_id='f', trigger=inngest.TriggerEvent(event='x'))\n"
    write(directory, HEAD + code + "async def f(ctx): ...\n")

    with pytest.raises(TargetError, match="one Inngest function, 'shop-f', without its client"):
        load_target("worker_module:f")


async def test_a_worker_that_was_started_is_refused(directory: Path) -> None:
    write(directory, HEAD + "worker = connect([(client, of[:1])])")
    target = load_target("worker_module")
    await target.worker.close()

    with pytest.raises(TargetError, match="already started"):
        load_target("worker_module")


def test_what_connect_finds_wrong_keeps_its_own_words(directory: Path) -> None:
    write(directory, HEAD + "apps = [(client, of[:1]), (client, of[:1])]")

    with pytest.raises(ConfigurationError, match="two apps have the id 'shop'"):
        load_target("worker_module:apps")


def test_a_key_in_the_line_of_an_error_is_masked(directory: Path) -> None:
    key = "signkey-test-0123456789abcdef"
    write(directory, f"raise ValueError('{key}')")

    with pytest.raises(TargetError) as raised:
        load_target("worker_module")

    assert key not in str(raised.value)
    assert "ValueError: ***" in str(raised.value)
