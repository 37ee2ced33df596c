"""A worker of ``inngest-connect run`` in a process of its own, on a module in a directory."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import inngest_connect

SOURCE = str(Path(inngest_connect.__file__).parents[1])
MODULE = """
import asyncio, os, pathlib, inngest

client = inngest.Inngest(app_id="app", api_base_url=os.environ["API"], is_production=False)
here = pathlib.Path(__file__).parent

@client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="x"), retries=0)
async def fn(ctx: inngest.Context) -> str:
    return os.environ.get("ANSWER", "first answer")

@client.create_function(fn_id="held", trigger=inngest.TriggerEvent(event="y"), retries=0)
async def held(ctx: inngest.Context) -> str:
    "Runs until there is a file called release."
    print("held", flush=True)
    while not (here / "release").exists():
        await asyncio.sleep(0.01)
    return "finished"

apps = [(client, [fn, held])]
"""


def write_module(directory: Path, text: str = MODULE) -> Path:
    path = directory / "worker.py"
    path.write_text(text, encoding="utf-8")
    return path


def environment(api_origin: str, **variables: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("INNGEST_")}
    more = {"PYTHONPATH": SOURCE, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "API": api_origin}
    return {**kept, **more, **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "inngest_connect.cli", "run", *arguments]


@contextlib.contextmanager
def run_process(
    directory: Path, api_origin: str, *arguments: str, **variables: str
) -> Iterator["subprocess.Popen[str]"]:
    """Standard output and standard error come together, as in a terminal."""
    process = subprocess.Popen(
        command(*arguments),
        cwd=directory,
        env=environment(api_origin, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def run_to_its_end(
    directory: Path, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments),
        cwd=directory,
        env={**environment("http://127.0.0.1:1"), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def read_until(process: "subprocess.Popen[str]", text: str) -> list[str]:
    """The lines up to the first with ``text``."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            return lines
    raise AssertionError(f"the process ended without saying {text!r}: {lines}")
