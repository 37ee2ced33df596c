"""Executions of a Django project: their connections, and its setup wherever functions run."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.integration
LIMIT = 60.0
WAYS = ["loop", "none", "children"]

SETTINGS = """
import os

DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": "db.sqlite3",
    "CONN_MAX_AGE": int(os.environ.get("AGE", "0")),
}}
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
SECRET_KEY = "only for this test"
"""
FUNCTIONS = """
import asyncio
import threading

import inngest
from asgiref.sync import sync_to_async
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.backends.signals import connection_created

client = inngest.Inngest(app_id="shop")
trigger = inngest.TriggerEvent(event="x")
opened = []
both = []
connection_created.connect(lambda connection, **_: opened.append(connection), weak=False)


@client.create_function(fn_id="in_thread", trigger=trigger, retries=0)
def in_thread(ctx):
    was_open = connection.connection is not None
    ContentType.objects.count()
    return was_open


@client.create_function(fn_id="in_task", trigger=trigger, retries=0)
async def in_task(ctx):
    await ContentType.objects.acount()
    if not both:
        both.append(asyncio.Barrier(2))
    await asyncio.wait_for(both[0].wait(), 30)
    rows = [each.pk async for each in ContentType.objects.aiterator()]
    return len(rows), await sync_to_async(threading.get_ident)()


@client.create_function(fn_id="age", trigger=trigger, retries=0)
async def age(ctx):
    # As if CONN_MAX_AGE had passed.
    for each in opened:
        each.close_at = 0


@client.create_function(fn_id="open", trigger=trigger, retries=0)
async def is_open(ctx):
    return len(opened), sum(each.connection is not None for each in opened)


apps = [(client, [in_thread, in_task, age, is_open])]
"""
COMMAND = """
import os

from django.core.management.base import BaseCommand
from inngest_connect import connect, process_executor
from shop.functions import apps


class Command(BaseCommand):
    def handle(self, **_):
        way, options = os.environ["WAY"], {}
        if way == "none":
            options["isolation"] = "none"
        elif way == "children":
            options["executor"] = process_executor("shop.functions:apps", 1)
        connect(apps, **options).run()
"""


@pytest.fixture
async def project(tmp_path: Path) -> Path:
    commands = tmp_path / "shop" / "management" / "commands"
    commands.mkdir(parents=True)
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "shop" / "functions.py").write_text(FUNCTIONS)
    (commands / "worker.py").write_text(COMMAND)
    async with program(tmp_path, ["-m", "django", "migrate"]) as migrating:
        _, errors = await asyncio.wait_for(migrating.communicate(), LIMIT)
    assert migrating.returncode == 0, errors.decode()
    return tmp_path


@contextlib.asynccontextmanager
async def program(
    project: Path, arguments: list[str], **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=project,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "settings",
            "PYTHONPATH": str(project),
            **environment,
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


@contextlib.asynccontextmanager
async def worker(project: Path, way: str, **environment: str) -> AsyncIterator[EmbeddedGateway]:
    environment["INNGEST_THREAD_POOL_MAX_WORKERS"] = "1"
    async with EmbeddedGateway() as gateway:
        environment |= {"INNGEST_DEV": gateway.api_origin, "WAY": way}
        async with program(project, ["-m", "django", "worker"], **environment) as running:
            await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)
            yield gateway
            running.send_signal(signal.SIGTERM)
            _, errors = await asyncio.wait_for(running.communicate(), LIMIT)
    assert running.returncode == 0, errors.decode()


async def call(gateway: EmbeddedGateway, function: str) -> Any:
    result = await asyncio.wait_for(gateway.invoke(f"shop-{function}"), LIMIT)
    assert result.error is None, result.error
    return result.output


@pytest.mark.parametrize("way", WAYS)
async def test_a_thread_keeps_a_connection_as_long_as_the_settings_say(
    project: Path, way: str
) -> None:
    async with worker(project, way, AGE="0") as gateway:
        without_age = [await call(gateway, "in_thread") for _ in range(2)]
        left = await call(gateway, "open")
    async with worker(project, way, AGE="3600") as gateway:
        kept = [await call(gateway, "in_thread") for _ in range(2)]
        await call(gateway, "age")
        kept.append(await call(gateway, "in_thread"))

    assert without_age == [False, False]
    assert left == [2, 0]
    assert kept == [False, True, False]


@pytest.mark.parametrize("way", WAYS)
async def test_async_functions_that_overlap_have_a_connection_each_until_they_end(
    project: Path, way: str
) -> None:
    async with worker(project, way, AGE="3600") as gateway:
        two = await asyncio.gather(*(call(gateway, "in_task") for _ in range(2)))
        async with asyncio.timeout(LIMIT):
            while (left := await call(gateway, "open"))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    assert [rows for rows, _ in two] == [1, 1]
    assert len({thread for _, thread in two}) == 2
    assert left == [2, 0]


@pytest.mark.parametrize("processes", ["1", "2"])
async def test_the_command_line_sets_the_project_up_before_functions_are_imported(
    project: Path, processes: str
) -> None:
    arguments = ["-m", "inngest_connect", "run", "shop.functions:apps", "--processes", processes]
    async with (
        EmbeddedGateway() as gateway,
        program(project, arguments, INNGEST_DEV=gateway.api_origin) as running,
    ):
        ready = asyncio.create_task(gateway.wait_for_worker())
        ended = asyncio.create_task(running.wait())
        await asyncio.wait([ready, ended], timeout=LIMIT, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        assert ready.done()
        was_open = await call(gateway, "in_thread")
        running.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(running.communicate(), LIMIT)

    assert was_open is False
    assert running.returncode == 0, errors.decode()


CHILDREN = """
import inngest
from inngest_connect import connect, process_executor

client = inngest.Inngest(app_id="shop")


@client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"))
async def f(ctx): ...


apps = [(client, [f])]

if __name__ == "__main__":
    connect(apps, executor=process_executor("plain:apps", 1)).run()
"""


@pytest.mark.parametrize(
    "arguments", [["-m", "plain"], ["-m", "inngest_connect", "run", "plain:apps"]]
)
async def test_settings_that_cannot_be_imported_are_an_error_before_the_first_connection(
    tmp_path: Path, arguments: list[str]
) -> None:
    (tmp_path / "plain.py").write_text(CHILDREN)
    async with (
        EmbeddedGateway() as gateway,
        program(
            tmp_path, arguments, INNGEST_DEV=gateway.api_origin, DJANGO_SETTINGS_MODULE="nowhere"
        ) as running,
    ):
        _, errors = await asyncio.wait_for(running.communicate(), LIMIT)
        connected = gateway.store.ready_connections()

    assert running.returncode not in (0, None)
    assert "DJANGO_SETTINGS_MODULE is 'nowhere', and django.setup() raised" in errors.decode()
    assert "No module named 'nowhere'" in errors.decode()
    assert not connected
