"""What is written: one line a check for people, or one JSON document for programs.

Every text passes ``Censor`` on its way out, so that no check can let a secret or a control
character of somebody else's through.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from ...transport.urls import without_user_information
from .findings import Mark, Problem, Result, exit_code

SCHEMA: Final = 1
_STYLES: Final = {Mark.OK: "green", Mark.WARN: "yellow", Mark.FAIL: "bold red", Mark.SKIP: "dim"}
_INDENT: Final = " " * 26


class Censor:
    """Masks secrets and credentials in URLs, and escapes what is not printable."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact

    def text(self, text: str) -> str:
        masked = without_user_information(self._redact(text))
        if masked.isprintable():
            return masked
        escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in masked)
        return "".join(escaped)

    def value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def print_introduction(console: Console, subject: str, handshake: bool) -> None:
    console.print(f"Examining {subject}.", soft_wrap=True, highlight=False, markup=False)
    text = "It stops before the handshake, which would register functions; --connect goes on."
    if handshake:
        text = (
            "The handshake registers these functions with Inngest, in place of those that the "
            "server knows of these apps. It takes no work."
        )
    console.print(text, soft_wrap=True, highlight=False, style="dim")


def print_result(console: Console, result: Result, censor: Censor) -> None:
    """One line, and below it what it found, its problems and their remedies."""
    finding, style = result.finding, _STYLES[result.mark]
    line = Text()
    line.append(f"{result.mark.value:<4} ", style)
    line.append(
        f"{result.number:>2}  {result.name:<16}  {censor.text(finding.summary)}",
        style if result.mark is Mark.SKIP else "",
    )
    if result.mark is not Mark.SKIP:
        line.append(f"  [{_duration(result.seconds)}]", "dim")
    console.print(line, soft_wrap=True)
    for detail in finding.details:
        console.print(Text(_INDENT + censor.text(detail), "dim"), soft_wrap=True)
    for problem in finding.problems:
        _print_problem(console, problem, finding.summary, censor, style)


def _print_problem(
    console: Console, problem: Problem, summary: str, censor: Censor, style: str
) -> None:
    if problem.text != summary:
        word = "wrong" if problem.fatal else "note"
        console.print(Text(f"{_INDENT}{word}: {censor.text(problem.text)}", style), soft_wrap=True)
    console.print(Text(f"{_INDENT}remedy: {censor.text(problem.remedy)}"), soft_wrap=True)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def print_verdict(console: Console, results: Sequence[Result], handshake: bool) -> None:
    marks = [result.mark for result in results]
    warnings = marks.count(Mark.WARN)
    code = exit_code(results)
    if code:
        first = next(result for result in results if result.mark is Mark.FAIL)
        text = f"A worker cannot work from here: {first.name} failed (exit code {code})."
    else:
        text = "A worker can connect from here"
        if not handshake:
            text = "A worker can open a connection from here; the handshake was not tried"
        text += f"; {warnings} check(s) with a warning." if warnings else "."
    console.print(text, style="bold red" if code else "green", highlight=False)


def as_json(target: str | None, results: Sequence[Result], censor: Censor) -> str:
    """The document that ``--json`` prints; docs/operations.md describes it."""
    code = exit_code(results)
    document = {
        "schema": SCHEMA,
        "target": target,
        "ok": code == 0,
        "exit_code": code,
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
    return json.dumps(censor.value(document), indent=2)
