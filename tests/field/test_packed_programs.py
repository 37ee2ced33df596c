"""Programs that are packed into one file: children find what is in it, or the program says no."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import types
import zipapp
from pathlib import Path

import pytest

import inngest_connect
from inngest_connect import ConfigurationError, process_executor
from inngest_connect.testing import EmbeddedGateway

pytestmark = pytest.mark.field
LIMIT = 30.0
INTERPRETER = os.path.realpath(sys.executable)
"""Of the system, as it were: it has no packages."""

MAIN = """
import os, sys
sys.path[1:1] = os.environ["ADDED"].split(os.pathsep)  # packages with C code, as shiv has them
from inngest_connect import connect, process_executor
from shop import apps

connect(apps(), executor=process_executor(apps, 1)).run()
"""
SHOP = """
import os
import inngest

import inngest_connect


def apps():
    client = inngest.Inngest(app_id="app")

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="t"), retries=0)
    async def f(ctx):
        return os.getppid(), inngest_connect.__file__, __file__

    return [(client, [f])]
"""


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    package = Path(inngest_connect.__file__).parent
    leave_out = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package, source / package.name, ignore=leave_out)
    (source / "__main__.py").write_text(MAIN)
    (source / "shop.py").write_text(SHOP)
    zipapp.create_archive(source, tmp_path / "worker.pyz")
    shutil.rmtree(source)
    return tmp_path / "worker.pyz"


async def test_children_of_an_archive_import_from_it(archive: Path) -> None:
    added = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    async with EmbeddedGateway() as gateway:
        environment = {**os.environ, "INNGEST_DEV": gateway.api_origin, "PYTHONPATH": ""}
        environment["ADDED"] = os.pathsep.join(sorted(added))
        with (archive.parent / "log").open("w") as log:
            program = subprocess.Popen(  # noqa: ASYNC220
                [INTERPRETER, archive.name],
                cwd=archive.parent,
                env=environment,
                stderr=log,
                start_new_session=True,
            )
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), LIMIT)
            result = await asyncio.wait_for(gateway.invoke("app-f"), LIMIT)
            program.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(program.wait, LIMIT)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
            program.wait()

    parent, package, module = result.output
    assert parent == program.pid
    assert package == str(archive / "inngest_connect" / "__init__.py")
    assert module == str(archive / "shop.py")
    assert code == 0


def without_interpreter(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    match how:
        case "PyInstaller":
            monkeypatch.setattr(sys, "frozen", True, raising=False)
        case "Nuitka":
            compiled = types.SimpleNamespace(standalone=True)
            monkeypatch.setattr(sys.modules["__main__"], "__compiled__", compiled, raising=False)
        case "embedded":
            monkeypatch.setattr(sys, "executable", "")


@pytest.mark.parametrize("how", ["PyInstaller", "Nuitka", "embedded"])
def test_a_program_without_an_interpreter_starts_no_child_processes(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    without_interpreter(monkeypatch, how)

    with pytest.raises(ConfigurationError, match=r"this program is frozen.*start the program"):
        process_executor("user_functions:apps", 1)


def test_a_compiled_program_with_an_interpreter_may_start_child_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = types.SimpleNamespace(standalone=False)
    monkeypatch.setattr(sys.modules["__main__"], "__compiled__", compiled, raising=False)

    process_executor("user_functions:apps", 1)
