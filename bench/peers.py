"""The workers that are compared, and their versions."""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .gateway import BenchGateway
from .process import GO_WORKER, JAVASCRIPT, WorkerProcess, worker_process

TITLES = {
    "ours": "inngest-connect, run()",
    "embedded": "inngest-connect, start()",
    "official": "official Python SDK",
    "go": "official Go SDK",
    "javascript": "official JavaScript SDK",
    "none": 'inngest-connect, isolation="none"',
    "bare": "bare loop",
}


@dataclass(slots=True)
class Peer:
    """A worker process with its own gateway; idle while others are measured."""

    name: str
    gateway: BenchGateway
    worker: WorkerProcess


@contextlib.asynccontextmanager
async def running(names: list[str]) -> AsyncIterator[list[Peer]]:
    """Start all of them, so that windows can alternate between them within seconds."""
    async with contextlib.AsyncExitStack() as stack:
        peers = []
        for name in names:
            gateway = await stack.enter_async_context(BenchGateway())
            worker = await stack.enter_async_context(worker_process(name, gateway.http.origin))
            await gateway.wait_for_worker()
            peers.append(Peer(name, gateway, worker))
        yield peers


def go_is_there() -> bool:
    """Whether ``BENCH_GO_WORKER`` names the program that ``bench/go`` is built into."""
    return GO_WORKER in os.environ


def javascript_is_there() -> bool:
    """Node 22 or newer, and the SDK installed in ``bench/javascript``."""
    version = node_version()
    if version is None or not (JAVASCRIPT / "node_modules" / "inngest").is_dir():
        return False
    return int(version.partition(".")[0]) >= 22


def node_version() -> str | None:
    node = shutil.which("node")
    if node is None:
        return None
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.strip().lstrip("v")


def machine() -> dict[str, Any]:
    """The machine and the versions that the figures belong to."""
    versions = {
        name: importlib.metadata.version(name)
        for name in ("inngest-connect", "inngest", "picows", "protobuf", "websockets")
    }
    if go_is_there():
        versions["inngestgo"] = _go_module("github.com/inngest/inngestgo")
    if javascript_is_there():
        package = JAVASCRIPT / "node_modules" / "inngest" / "package.json"
        versions["inngest (JavaScript)"] = json.loads(package.read_text())["version"]
        versions["node"] = node_version() or ""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
    }


def _go_module(name: str) -> str:
    """The version that the linker has recorded, if it was built as a dependency."""
    program = Path(os.environ[GO_WORKER]).read_bytes()
    found = re.search(rb"\t" + name.encode() + rb"\t(v[^\t\n]+)", program)
    return found[1].decode() if found else "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()
