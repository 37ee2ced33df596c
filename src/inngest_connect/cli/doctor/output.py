"""What is written: human-readable lines as the checks end, or one JSON document for programs."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.text import Text

from ...core.wire.remote_text import clean
from ...observability.redaction import Redactor, masked
from .findings import Mark, Result, exit_code
from .neighbors import neighbors

SCHEMA: Final = 1
_STYLES: Final = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red", Mark.SKIP: "dim"}
_INDENT: Final = " " * 26


def presentable(text: str, redactor: Redactor) -> str:
    """``text`` without secrets, with control characters escaped.

    Everything that is written passes here, so no check can leak what a peer or a variable contains.
    """
    return clean(redactor.text(text), sys.maxsize)


def print_introduction(console: Console, subject: str, handshake: bool) -> None:
    """What is examined, and what that changes on the server."""
    console.print(f"Examining {subject}.", soft_wrap=True, highlight=False, markup=False)
    text = "It stops before the handshake, which would register functions; --connect goes on."
    if handshake:
        text = (
            "The handshake registers these functions with Inngest, in place of those that the "
            "server knows of these apps. It takes no work."
        )
    console.print(text, soft_wrap=True, highlight=False, style="dim")


def print_result(console: Console, result: Result, redactor: Redactor) -> None:
    """One line, and below it what it found, its problems and their remedies."""
    finding, style = result.finding, _STYLES[result.mark]
    summary = presentable(finding.summary, redactor)
    line = Text()
    line.append(f"{result.mark.value:<4} ", style)
    line.append(
        f"{result.number:>2}  {result.name:<16}  {summary}",
        style if result.mark is Mark.SKIP else "",
    )
    if result.mark is not Mark.SKIP:
        seconds = result.seconds
        shown = f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
        line.append(f"  [{shown}]", "dim")
    console.print(line, soft_wrap=True)
    below = [Text(detail, "dim") for detail in finding.details]
    for problem in finding.problems:
        if problem.text != finding.summary:
            below.append(Text(f"{'wrong' if problem.fatal else 'note'}: {problem.text}", style))
        below.append(Text(f"remedy: {problem.remedy}"))
    for text in below:
        shown = presentable(text.plain, redactor)
        console.print(Text(_INDENT + shown, text.style), soft_wrap=True)


def print_neighbors(console: Console) -> None:
    """One line about what is installed beside the worker; none when that is nothing."""
    if found := ", ".join(f"{name} {version}" for name, version in neighbors().items()):
        text = f"In this environment: {found}."
        console.print(text, soft_wrap=True, highlight=False, markup=False)


def print_verdict(
    console: Console, results: Sequence[Result], handshake: bool, redactor: Redactor
) -> None:
    """Whether a worker can work, and else why not and what to do. Comes before the checks."""
    code = exit_code(results)
    if code:
        first = next(result for result in results if result.mark is Mark.FAIL)
        text = f"A worker cannot work from here: {first.name} failed (exit code {code})."
    else:
        warnings = [result.mark for result in results].count(Mark.WARN)
        text = "A worker can connect from here"
        if not handshake:
            text = "A worker can open a connection from here; the handshake was not tried"
        text += f"; {warnings} check(s) with a warning." if warnings else "."
    console.print(text, style="bold red" if code else "green", highlight=False, soft_wrap=True)
    if code:
        for problem in (one for one in first.finding.problems if one.fatal):
            for line in (problem.text, f"remedy: {problem.remedy}"):
                shown = presentable(line, redactor)
                console.print(Text(f"  {shown}"), soft_wrap=True)
    console.print()


def as_json(target: str | None, results: Sequence[Result], redactor: Redactor) -> str:
    """The document that ``--json`` prints; docs/operations.md describes it."""
    code = exit_code(results)
    document = {
        "schema": SCHEMA,
        "target": target,
        "ok": code == 0,
        "exit_code": code,
        "environment": neighbors(),
        "checks": [
            {
                "number": result.number,
                "name": result.name,
                "mark": result.mark.value,
                "summary": result.finding.summary,
                "seconds": round(result.seconds, 6),
                "problems": [dataclasses.asdict(one) for one in result.finding.problems],
                "details": result.finding.details,
                "data": result.finding.data,
            }
            for result in results
        ],
    }
    return json.dumps(masked("", document, lambda text: presentable(text, redactor)), indent=2)
