"""What was seen last in each situation: ``results.json``, from which a page is generated."""

import datetime
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.beside.situations import SITUATIONS

FILE: Final = "BESIDE_RESULTS"
"""The variable that names the file; without it nothing is written."""


def record(
    name: str, result: str, *, reason: str = "", versions: Mapping[str, str], seconds: float
) -> None:
    """Replace the entry of one situation, whichever process of the tests has seen it."""
    file = os.environ.get(FILE)
    if not file:
        return
    entry: dict[str, Any] = {"result": result, "versions": dict(versions)}
    if reason:
        entry["reason"] = reason
    entry["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    entry["seconds"] = round(seconds, 1)
    with Path(file).open("a+", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        entries = json.loads(stream.read() or "{}")
        entries[name] = entry
        kept = {known: entries[known] for known in SITUATIONS if known in entries}
        stream.truncate(0)
        stream.write(json.dumps(kept, indent=2) + "\n")
