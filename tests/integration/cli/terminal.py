"""Terminal: as much of a terminal as the live view needs, to see what is left on its screen."""

import re
from typing import Final

_TOKEN: Final = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07]*\x07|[\r\n]|[^\x1b\r\n]")
_UNFINISHED: Final = re.compile(r"\x1b(?:\[[?0-9;]*)?$")


class Terminal:
    """``feed`` it what a program writes; each character is one column wide."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.scrolled: list[str] = []
        """Lines that have left the screen at its top."""
        self._rows = [""]
        self._row = self._column = 0
        self._rest = ""

    @property
    def screen(self) -> list[str]:
        """The lines on the screen, without the empty ones at its end."""
        return "\n".join(row.rstrip() for row in self._rows).rstrip("\n").split("\n")

    def feed(self, text: str) -> None:
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        self._rest = unfinished[0] if unfinished else ""
        for token in _TOKEN.finditer(text[: len(text) - len(self._rest)]):
            self._take(token[0], token[1] or "", token[2])

    def _take(self, token: str, number: str, command: str | None) -> None:
        match command, token:
            case None, "\r":
                self._column = 0
            case None, "\n":
                self._down()
            case None, _ if not token.startswith("\x1b"):
                self._put(token)
            case "A", _:
                self._row = max(self._row - int(number or 1), 0)
            case "K", _:
                assert number == "2", token
                self._rows[self._row] = ""
            case "J", _:
                assert number == "2", token
                self._rows = [""] * (self._row + 1)
            case "H", _:
                assert number == "", token
                self._row = self._column = 0
            case ("m" | "h" | "l", _) | (None, _):
                pass
            case _:
                raise AssertionError(f"the view wrote {token!r}, which is not understood here")

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            self._rows.append("")
        if len(self._rows) > self.height:
            self.scrolled.append(self._rows.pop(0))
            self._row -= 1

    def _put(self, character: str) -> None:
        if self._column == self.width:
            self._down()
            self._column = 0
        row = self._rows[self._row].ljust(self._column)
        self._rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
        self._column += 1

    def resize(self, width: int, height: int) -> None:
        """Wrap what is on the screen anew, as most terminals do."""
        wrapped = [
            row[start : start + width]
            for row in self._rows
            for start in range(0, max(len(row), 1), width)
        ]
        self.width, self.height = width, height
        self.scrolled += wrapped[:-height]
        self._rows = wrapped[-height:]
        self._row = len(self._rows) - 1
        self._column = min(self._column, width)
