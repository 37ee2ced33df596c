"""Write docs/scenarios.md from the markers of the tests. ``--check`` only says whether it is stale.

A test names the rows that it covers: ``@pytest.mark.scenario("18", "F")``. The tests are read, not
imported, which takes about a second.
"""

import ast
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
TARGET: Final = ROOT / "docs" / "scenarios.md"

ROWS: Final = {
    # What the suites of the server and of the official SDKs cover.
    "1": "handshake in order, and the content of each field",
    "2": "headers of the start request: key and environment",
    "3": "a refused key leads to the fallback key",
    "4": "a start that cannot succeed ends the first connection with an error",
    "5": "HTTP 429: too many connections",
    "6": "a gateway that opens the socket and sends nothing",
    "7": "a first message that is not GATEWAY_HELLO",
    "8": "apps that cannot share a connection, and options that cannot be used",
    "9": "`max_worker_concurrency` from option, environment and default",
    "10": "another address than the gateway's own",
    "11": "gateway addresses that are refused",
    "12": "a close frame with a code leads to a new connection",
    "13": "a connection that breaks without a close frame",
    "14": "a frame that violates RFC 6455",
    "15": "delays grow from attempt to attempt",
    "16": "the state stays CONNECTING until the first connection, however many attempts fail",
    "17": "cancelling during the first connection ends the worker",
    "18": "heartbeats at the interval",
    "19": "missed heartbeats: one is tolerated, two lead to a new connection",
    "20": "a heartbeat that cannot be sent does not stop the next",
    "21": "heartbeats go to the serving connection only",
    "22": "a blocked event loop of the application stops no heartbeat",
    "23": "functions with and without steps, from request to result",
    "24": "request, acknowledgement and reply in this order",
    "25": "sync functions run concurrently in a pool of threads",
    "26": "a function that runs longer than its lease",
    "27": "a request for an app that this worker does not have",
    "28": "the ids of request and job reach the function",
    "29": "leases are extended at the interval",
    "30": "an extension uses the id of the last answer",
    "31": "a refused extension",
    "32": "a late answer to an extension changes nothing",
    "33": "a lost lease does not hold up a shutdown",
    "34": "extensions survive a lost connection and move to the next one",
    "35": "extensions go on during a drain and a shutdown",
    "36": "a drain leads to another gateway; so does a second one",
    "37": "the old connection is closed when the new one is ready",
    "38": "a reply during a drain or without a socket",
    "39": "a drain during a shutdown",
    "40": "a connection made during a shutdown is paused, not ready",
    "41": "a shutdown finishes the work in flight",
    "42": "closing before the first connection",
    "43": "closing twice, and concurrently",
    "44": "SIGTERM and other signals",
    "45": "no acknowledgement on a connection that drains or closes",
    "46": "a request whose acknowledgement cannot be written is not executed",
    "47": "a reply without an acknowledgement is flushed over HTTP",
    "48": "an acknowledged reply is not flushed",
    "49": "a flush does not wait for the next connection, and never runs twice",
    "50": "the buffer of replies is full",
    "51": "WORKER_STATUS at the interval that the gateway asks for",
    "52": "a shutdown says what it waits for",
    "53": "every pair of state and event",
    "54": "the largest message that is accepted",
    "56": "a synchronization that fails, with the server's message",
    # What none of those suites covers.
    "A": "a flush that fails several times, then succeeds",
    "B": "the API is away for a long time",
    "C": "a worker that is killed with work in flight: the next worker finishes it",
    "E": "a connection that is open on one side only",
    "F": "a gateway that reads slowly, or not at all, while leases must be extended",
    "G": "a reply above the gateway's limit",
    "H": "the same request again, while it runs and after its reply",
    "I": "messages that overtake one another, acknowledgements that are lost or repeated",
    "J": "messages that cannot be read: unknown kinds and fields, cut ones, odd intervals",
    "K": "another interval on the next connection",
    "L": "the clock jumps, the machine sleeps",
    "M": "code that holds the interpreter lock",
    "N": "user code that exits, cancels, forks or never returns",
    "O": "more requests than may run",
    "P": "a synchronization that fails again and again",
    "Q": "a redirect, a refused upgrade, another subprotocol",
    "R": "names that do not resolve, addresses that do not answer",
    "S": "TLS: wrong host, unknown authority",
    "T": "a second signal; signals while waiting",
    "U": "a thousand workers do not come back in the same instant",
    "V": "memory, descriptors and tasks stay flat over executions and reconnects",
    "W": "a gateway that comes and goes",
    "X": "every close code leads to a new connection",
    "Y": "a refused extension while the reply is sent",
    "Z": "the end of the interpreter, and other event loops",
    "api-silence": "an API or a proxy that never answers, answers in part, or never reads",
    "api-pages": "a proxy's page in place of the API's answer",
    # Rules of security.
    "security-redirects": "no redirect is followed, with the key or with a session token",
    "security-endpoint": "the gateway's address is checked before it receives a token",
    "security-downgrade": "no unencrypted gateway of an encrypted API; TLS 1.2 or newer, verified",
    "security-proxy": "proxies come from the environment; ws:// is dialed directly",
    "security-keys": "keys and tokens reach no log, error, event, label or page",
    "security-sizes": "limits of size in both directions",
    "security-compression": "no compression on the socket; a compressed answer is limited",
    "security-protobuf": "messages nested too deep are malformed; no pure-Python decoder",
    "security-json": "a request's JSON that is nested too deep fails that request alone",
    "security-logs": "texts of a peer are short and printable before they are shown",
    "security-processes": "processes exchange frames of bytes, never pickles",
    "security-status": "the status server: loopback, GET only, no secrets, the Host header",
    "security-dependencies": "every import is a declared dependency",
}
"""Number or name, and what happens. Tests refer to the keys, so keys stay."""

NOT_APPLICABLE: Final = {
    "20 as a task": "heartbeats are a deadline of the core, not a task that can end",
    "49 for all replies": "one flush for each reply, at most eight at a time, whenever one is due",
    "55": "watched values that threads share: there are none here",
    "57": "validity of session tokens: the server's part",
    "58": "routing: the server's part",
    "59": "leases in the server's store: the server's part",
    "D": "a full disk, torn files: the worker writes no files",
    "windows": "the event loop of Windows: the worker is tested on Linux",
    "security-hosts": "a list of gateway hosts: the API that gets the key is trusted to name them",
    "security-disk": "user data at rest: the worker writes no files",
    "security-releases": "signed releases: not part of this repository",
}

Place = tuple[str, str]
"""File below ``tests`` and name of the test."""


def marked_tests(directory: Path) -> dict[str, list[Place]]:
    """Every row that a marker names, with its tests in the order of files and lines.

    Raises ValueError for a marker that is not a list of literal strings.
    """
    found: dict[str, list[Place]] = {}
    for path in sorted(directory.rglob("test_*.py")):
        source = path.read_text(encoding="utf-8")
        if "mark.scenario" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            place = path.relative_to(directory).as_posix(), node.name
            for decorator in node.decorator_list:
                if ast.unparse(decorator).startswith("pytest.mark.scenario"):
                    for row in _arguments(decorator, place):
                        found.setdefault(row, []).append(place)
    return found


def _arguments(decorator: ast.expr, place: Place) -> list[str]:
    arguments = decorator.args if isinstance(decorator, ast.Call) else []
    rows = [each.value for each in arguments if isinstance(each, ast.Constant)]
    if not rows or len(rows) != len(arguments) or not all(isinstance(r, str) for r in rows):
        raise ValueError(f"{place[0]}, {place[1]}: a scenario marker takes literal strings")
    return [str(row) for row in rows]


def render(found: dict[str, list[Place]]) -> str:
    """The whole page. Raises ValueError when a marker names an unknown row."""
    unknown = {row: places for row, places in found.items() if row not in ROWS}
    if unknown:
        raise ValueError(f"rows that scripts/scenario_docs.py does not have: {unknown}")
    missing = [row for row in ROWS if row not in found]
    return "\n".join(
        [
            "# Scenarios",
            "",
            "Generated by `make docs` from `scripts/scenario_docs.py` and the markers of tests.",
            "What can happen to a worker, and the tests that cover it. Numbers are what the suites",
            "of the server and of the official SDKs cover together, letters are what none of them",
            "covers, names are further rules, most of security. A test names its rows by a marker:",
            '`@pytest.mark.scenario("18")`.',
            "",
            f"{len(ROWS) - len(missing)} of {len(ROWS)} rows have a test.",
            "",
            "| row | scenario | tests |",
            "| --- | --- | --- |",
            *(f"| {row} | {text} | {_cell(found.get(row, []))} |" for row, text in ROWS.items()),
            "",
            "## Not applicable",
            "",
            "| row | why |",
            "| --- | --- |",
            *(f"| {row} | {why} |" for row, why in NOT_APPLICABLE.items()),
            "",
        ]
    )


def _cell(places: list[Place]) -> str:
    files: dict[str, list[str]] = {}
    for path, name in sorted(places):
        files.setdefault(path, []).append(f"`{name}`")
    if not files:
        return "**no test**"
    return "<br>".join(f"`tests/{path}`: {', '.join(names)}" for path, names in files.items())


def main() -> int:
    """Write the page, or with ``--check`` return 1 when it is stale."""
    page = render(marked_tests(ROOT / "tests"))
    if "--check" in sys.argv:
        return 0 if TARGET.exists() and TARGET.read_text(encoding="utf-8") == page else 1
    TARGET.write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
