"""Rules of security that hold for the whole package, whatever a module does."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from google.protobuf.message import DecodeError

from inngest_connect.protocol import connect_pb2 as pb

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))

MODULES_OF = {
    "aiohappyeyeballs": "aiohappyeyeballs", "httpx": "httpx", "inngest": "inngest",
    "opentelemetry-api": "opentelemetry", "opentelemetry-exporter-prometheus": "opentelemetry",
    "opentelemetry-sdk": "opentelemetry", "picows": "picows", "protobuf": "google",
    "python-dotenv": "dotenv", "rich": "rich", "starlette": "starlette", "structlog": "structlog",
    "typer": "typer", "uvicorn": "uvicorn", "uvloop": "uvloop", "watchfiles": "watchfiles",
}  # fmt: skip

INDIRECT = {
    "asgiref", "django",  # imported only in a program that uses Django
    "certifi", "httpcore",  # of httpx
    "prometheus_client",  # of opentelemetry-exporter-prometheus
    "pydantic_core",  # of inngest
    "python_socks",  # of picows
    "pytest", "pytest_asyncio",  # imported by the plugin only, which pytest loads
}  # fmt: skip


def imported_modules(path: Path) -> set[str]:
    """The first names of all absolute imports, wherever they are in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.scenario("security-processes")
def test_nothing_is_pickled() -> None:
    executable = {"pickle", "marshal", "shelve", "multiprocessing", "dill", "cloudpickle"}
    users = [str(path) for path in SOURCES if imported_modules(path) & executable]

    assert users == []


@pytest.mark.scenario("security-dependencies")
def test_every_import_is_a_declared_dependency_or_of_python_itself() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *extras["cli"], *extras["status"], *extras["uvloop"]]
    names = [re.split(r"[\[<>=!~;]", each)[0].strip() for each in requirements]
    declared = {MODULES_OF[name] for name in names if name != "inngest-connect"}
    ours = {"inngest_connect", "inngest_connect_pytest", "inngest_connect_ready"}
    imported = set().union(*(imported_modules(path) for path in SOURCES))

    assert imported - declared - ours - sys.stdlib_module_names <= INDIRECT


@pytest.mark.scenario("security-protobuf")
@pytest.mark.parametrize("depth", [102, 100_000])
def test_messages_that_are_nested_too_deep_are_not_decoded(depth: int) -> None:
    """The decoder gives up at a depth of 100 instead of exhausting the stack."""
    start_of_a_group = b"\x1b"

    with pytest.raises(DecodeError):
        pb.ConnectMessage.FromString(start_of_a_group * depth)


@pytest.mark.scenario("security-protobuf")
def test_malformed_messages_are_malformed_for_the_pure_python_decoder_as_well() -> None:
    """It raises other errors than the default one for text that is not UTF-8."""
    tests = "tests/unit/core/test_message_handler.py"
    pure_python = os.environ | {"PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests],
        cwd=ROOT, env=pure_python, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stdout
