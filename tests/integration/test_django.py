"""The command and the functions of the page on Django, in a project with a database."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from inngest_connect.testing import EmbeddedGateway
from tests.pages import ROOT, blocks

pytestmark = pytest.mark.integration

SETTINGS = """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}}
INSTALLED_APPS = ["django.contrib.contenttypes", "shop"]
SECRET_KEY = "only for this test"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for code in (block.text for block in blocks(ROOT / "docs" / "how-to" / "django.md")):
        file = tmp_path / code.partition("\n")[0].removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code, encoding="utf-8")
    (tmp_path / "settings.py").write_text(SETTINGS)
    return tmp_path


async def manage(
    project: Path, gateway: EmbeddedGateway, *arguments: str
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "django", *arguments),
        cwd=project,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "settings",
            "INNGEST_DEV": gateway.api_origin,
            "PYTHONPATH": str(project),
        },
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_the_command_serves_functions_that_use_the_database(project: Path) -> None:
    async with EmbeddedGateway() as gateway:
        migrating = await manage(project, gateway, "migrate")
        _, errors = await asyncio.wait_for(migrating.communicate(), 60)
        assert migrating.returncode == 0, errors.decode()
        worker = await manage(project, gateway, "worker")
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), 60)
            result = await gateway.invoke("shop-count")
            worker.send_signal(signal.SIGTERM)
            _, errors = await asyncio.wait_for(worker.communicate(), 60)
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()

    assert result.output == 1, result.error  # the type "content type" itself
    assert worker.returncode == 0, errors.decode()


async def test_the_tests_of_the_page_pass(project: Path) -> None:
    async with EmbeddedGateway() as gateway:
        testing = await manage(project, gateway, "test", "shop", "--noinput")
        _, errors = await asyncio.wait_for(testing.communicate(), 120)

    assert testing.returncode == 0, errors.decode()
    assert "Ran 1 test" in errors.decode()
