"""``inngest-connect journal``: what a journal has, without payloads."""

import contextlib
import json
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..core.wire.remote_text import clean
from ..errors import ConfigurationError
from ..journal.file import open_to_read
from ..journal.rows import Content, Row, lease_end, read
from .failures import write_failure


def show_journal(path: Path, *, as_json: bool) -> int:
    """Print the journal at ``path`` and return the exit code."""
    try:
        with contextlib.closing(open_to_read(path)) as database:
            content = read(database)
    except ConfigurationError as error:
        return write_failure(error, with_traceback=False)
    except (sqlite3.Error, OSError) as error:
        damaged = ConfigurationError(f"the journal {str(path)!r} cannot be read: {error}")
        return write_failure(damaged, with_traceback=False)
    if content.unreadable:
        text = f"{content.unreadable} of its batches cannot be read: their bytes have changed"
        sys.stderr.write(f"inngest-connect: {text}\n")
    now = time.time()
    lines = [_line(row, now) for row in content.rows.values()]
    if as_json:
        for line in lines:
            sys.stdout.write(json.dumps(line) + "\n")
        return 0
    _print_table(content, lines)
    return 0


def _line(row: Row, now: float) -> dict[str, Any]:
    request, ends = row.request, lease_end(row.request.lease_id)
    return {
        "request_id": clean(request.request_id),
        "run_id": clean(request.run_id),
        "function": clean(request.function_slug),
        "left": "request" if row.reply is None else "reply",
        "reply_bytes": None if row.reply is None else len(row.reply),
        "age": round(now - row.acknowledged_at, 3),
        "first_lease_ends_in": None if ends is None else round(ends - now, 3),
    }


def _print_table(content: Content, lines: list[dict[str, Any]]) -> None:
    console = Console(highlight=False)
    console.print(f"last opened by {content.holder or 'nobody yet'}", markup=False, soft_wrap=True)
    if not lines:
        console.print("nothing is unfinished")
        return
    table = Table("request", "run", "function", "left", "age", box=None, pad_edge=False)
    for line in lines:
        size = line["reply_bytes"]
        left = "no reply yet" if size is None else f"a reply of {size} bytes"
        names = (line["request_id"], line["run_id"], line["function"])
        table.add_row(*map(escape, names), left, f"{line['age']:.1f} s")
    console.print(table)
