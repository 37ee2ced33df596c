"""A module of the user that cannot be imported ends the command and the children with a reason."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import inngest_connect
from inngest_connect.cli.users_code import mistake_in_users_code
from inngest_connect.execution.processes.program import describe

pytestmark = pytest.mark.field
SOURCE = str(Path(inngest_connect.__file__).parents[1])

MODULES = {
    "exits": "import sys\nsys.exit(0)",
    "cannot_be_shown": "class E(Exception):\n    __str__ = lambda _: 1 / 0\nraise E",
    "exits_when_shown": "class E(Exception):\n    def __str__(self): raise SystemExit(0)\nraise E",
    "base": "class E(BaseException): pass\nraise E('no Exception')",
    "generator": "raise GeneratorExit",
    "no_class": "class E(Exception):\n    __class__ = property(lambda _: 1 / 0)\nraise E",
    "control": "raise ValueError('\\x1b[31mred\\r\\x9b')",
    "long": "raise ValueError('x' * 100_000)",
    "syntax": "def (",
    "nulls": "raise ValueError('\\x00')",
}
OF_PROCESSES = ("exits_when_shown", "base")
PARENT = """
import sys
import inngest
from inngest_connect import ConnectError, connect, process_executor

client = inngest.Inngest(app_id="app", is_production=False, api_base_url="http://127.0.0.1:1")

@client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="x"))
async def f(ctx): pass

try:
    connect([(client, [f])], executor=process_executor(f"{sys.argv[1]}:apps", 1)).run()
except ConnectError as error:
    print(error)
    sys.exit(2)
"""


def started(folder: Path, *command: str) -> "subprocess.Popen[str]":
    paths = os.pathsep.join((SOURCE, str(folder)))
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("name", MODULES)
def test_an_import_that_fails_is_described_with_its_place(name: str) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        exec(compile(MODULES[name], f"{name}.py", "exec"), {})

    mistake = mistake_in_users_code(raised.value)
    of_child = describe(raised.value)

    assert mistake.place.startswith(f"{name}.py, line ")
    assert f"({name}.py, line " in of_child or name == "syntax"
    assert mistake.error.isprintable()
    assert len(mistake.error) < 1100
    assert len(of_child) <= 2000


@pytest.mark.parametrize("name", OF_PROCESSES)
def test_the_command_and_the_parent_of_children_end_with_it(name: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.py").write_text(MODULES[name])
    (tmp_path / "parent.py").write_text(PARENT)
    command = started(tmp_path, "-m", "inngest_connect.cli", "run", f"{name}:apps")
    parent = started(tmp_path, "parent.py", name)

    told, _ = command.communicate(timeout=60)
    children, _ = parent.communicate(timeout=60)

    assert (command.returncode, parent.returncode) == (2, 2)
    for text in (told, children):
        assert f"{name}.py, line" in text
        assert "Traceback" not in text
        assert all(line.isprintable() for line in text.splitlines())
        assert len(text) < 10_000
