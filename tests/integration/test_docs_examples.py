"""The Python on the pages runs, as far as a block is a program or can be made one.

A block gets the names that its page takes for granted. One that runs a worker is a process against
a gateway, and ended by SIGTERM; any other is run here. Every block is in one of the tables.
"""

import ast
import asyncio
import contextlib
import inspect
import itertools
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import inngest
import pytest

from inngest_connect import connect
from inngest_connect.testing import EmbeddedGateway
from scripts import scenario_docs
from tests.pages import PAGES, ROOT, Block, blocks

pytestmark = pytest.mark.integration

BLOCKS = {str(block): block for block in itertools.chain.from_iterable(map(blocks, PAGES))}

A_CLIENT = """
import inngest

client = inngest.Inngest(app_id="shop")


@client.create_function(fn_id="greet", trigger=inngest.TriggerEvent(event="user/created"))
async def charge(ctx: inngest.Context) -> str:
    return f"Hello, {ctx.event.data['name']}"


@client.create_function(fn_id="resize", trigger=inngest.TriggerEvent(event="shop/uploaded"))
async def resize(ctx: inngest.Context) -> None: ...


functions = [charge, resize]
"""

AN_APP = f"{A_CLIENT}\nfrom inngest_connect import connect\n\napps = [(client, functions)]\n"

PROGRAMS = {
    "README.md 1": "",
    "journal.md 1": AN_APP,
    "processes.md 1": A_CLIENT,
    "status.md 1": A_CLIENT,
    "how-to/sentry.md 1": "",
    "how-to/script.md 1": AN_APP,
    "how-to/script.md 2": AN_APP,
}
"""Blocks that run a worker, and what comes before each. Every one has the function shop-greet."""

PARTS = {"README.md 2", *(f"logging.md {number}" for number in range(1, 6)),
         "metrics.md 1", "operations.md 1", "status.md 2",
         "how-to/script.md 3", "how-to/script.md 4", "how-to/asgi.md 1",
         "how-to/sentry.md 2"}  # fmt: skip
"""Blocks that are run here, or lifespans, which are entered."""

ELSEWHERE = {
    *(f"testing-your-functions.md {number}" for number in range(1, 5)),
    *(f"tutorial.md {number}" for number in range(1, 4)),
    *(f"how-to/django.md {number}" for number in range(1, 4)),
    "how-to/several-apps.md 1",
    "how-to/gunicorn.md 1",
    *(f"how-to/jupyter.md {number}" for number in range(1, 3)),
    *(f"how-to/frozen-time.md {number}" for number in range(1, 4)),
}
"""Files of a project of a user and the like: tests of their own run them, here and beside."""


def test_the_page_of_scenarios_has_the_tests_that_exist() -> None:
    page = scenario_docs.render(scenario_docs.marked_tests(ROOT / "tests"))
    is_current = scenario_docs.TARGET.read_text(encoding="utf-8") == page

    assert is_current, "docs/scenarios.md is stale: run `make docs`"


def test_every_block_is_known() -> None:
    assert PROGRAMS.keys() | PARTS | ELSEWHERE == BLOCKS.keys()


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_program_serves_and_ends(name: str, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    code = BLOCKS[name].text.replace(":8080", ":0").replace("/var/lib/shop", str(tmp_path))
    (tmp_path / "shop" / "worker.py").write_text(PROGRAMS[name] + code, encoding="utf-8")
    async with EmbeddedGateway() as gateway:
        variables = {**os.environ, "INNGEST_DEV": gateway.api_origin}
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "shop.worker"),
            cwd=tmp_path,
            env=variables,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), 60)
            result = await gateway.invoke("shop-greet", {"data": {"name": "Ada"}})
            program.send_signal(signal.SIGTERM)
            _, errors = await asyncio.wait_for(program.communicate(), 60)
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()

    assert result.output == "Hello, Ada"
    assert program.returncode == 0, errors.decode()


@contextlib.contextmanager
def process_as_before() -> Iterator[None]:
    """Pages show how to configure logging and signals; other tests must not notice."""
    import logging

    root = logging.getLogger()
    before = root.level, root.handlers[:], logging.getLogger("httpx").level
    handler = signal.getsignal(signal.SIGUSR1)
    try:
        yield
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        logging.getLogger("httpx").setLevel(before[2])
        signal.signal(signal.SIGUSR1, handler)


@pytest.mark.parametrize("name", sorted(PARTS))
async def test_a_part_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    block: Block = BLOCKS[name]
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("INNGEST_DEV", gateway.api_origin)
        client = gateway.client("shop")

        @client.create_function(fn_id="greet", trigger=inngest.TriggerEvent(event="x"))
        async def greet(ctx: inngest.Context) -> None: ...

        names = names_taken_for_granted(client, greet)
        code = compile(block.text, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        with process_as_before():
            running = eval(code, names)
            if inspect.isawaitable(running):
                await asyncio.wait_for(running, 30)
            if "lifespan" in names:
                async with names["lifespan"](None):
                    await asyncio.wait_for(gateway.wait_for_worker(), 30)


async def test_several_apps_are_served_by_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {}
    async with EmbeddedGateway() as gateway:
        monkeypatch.setenv("INNGEST_DEV", gateway.api_origin)
        exec(BLOCKS["how-to/several-apps.md 1"].text, names)
        async with names["worker"]:
            runs = [await gateway.invoke(slug) for slug in ("shop-order", "billing-charge")]

    assert [run.output for run in runs] == ["ordered", "charged"]


def names_taken_for_granted(client: inngest.Inngest, greet: Any) -> dict[str, Any]:
    import logging

    import structlog
    from starlette.applications import Starlette

    from inngest_connect.status import status_app

    apps = [(client, [greet])]
    return {
        "FastAPI": Starlette,  # the page names both
        "apps": apps,
        "client": client,
        "connect": connect,
        "contextlib": contextlib,
        "functions": [greet],
        "greet": greet,
        "logging": logging,
        "signal": signal,
        "status_app": status_app,
        "structlog": structlog,
        "worker": connect(apps),
    }
