"""Redaction by key, by known value and by form, for our records and for those of others."""

import ast
import logging
from pathlib import Path
from typing import Any

import pytest

import inngest_connect
from inngest_connect.core import events as seen
from inngest_connect.core.wire.remote_text import clean
from inngest_connect.observability.package_logger import package_logger, silent_logger
from inngest_connect.observability.redaction import RECENT, Redactor
from tests.unit.observability.log_capture import Capture

pytestmark = pytest.mark.unit
CANARY = "canary-5e1f"
KEY = f"signkey-prod-{'ab' * 16}"


class Opaque:
    def __repr__(self) -> str:
        return f"Opaque({CANARY})"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)


@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": f"Bearer {CANARY}"},
        {"session_token": CANARY},
        {"nested": {"signing_key": "by key only"}},
        {"nested": {"deeper": [{"sync_token": CANARY}]}},
        {"nested": {CANARY: 1}},
        {"detail": "refused Bearer unknown-but-secret, sorry"},
        {"detail": "the key signkey-prod-5e1f is wrong"},
        {"detail": f"known {CANARY} by value"},
        {"detail": f"known {CANARY.upper()} in capitals"},
        {"error": ValueError(f"oops {CANARY}")},
        {"error": Opaque()},
        {"objects": (Opaque(), {Opaque()})},
        {"payload": CANARY.encode()},
    ],
)
def test_no_secret_reaches_a_field(fields: dict[str, Any]) -> None:
    shown = str(Redactor([CANARY]).fields(fields))

    for secret in ("canary", "CANARY", "unknown-but-secret", "5e1f", "by key only"):
        assert secret not in shown
    assert "***" in shown


def test_bytes_and_objects_that_cannot_be_printed_show_only_what_they_are() -> None:
    shown = Redactor().fields({"data": b"secret", "object": Unprintable()})

    assert shown == {
        "data": "<6 bytes>",
        "object": "<Unprintable that cannot be printed: RuntimeError>",
    }


def test_a_structure_without_end_is_cut() -> None:
    endless: dict[str, Any] = {"secret": CANARY}
    endless["again"] = endless

    assert CANARY not in str(Redactor([CANARY]).fields({"a": endless}))


def test_a_key_is_known_without_its_prefix_and_a_token_as_part_of_an_address() -> None:
    redactor = Redactor([KEY])
    redactor.learn("to/ken+with=signs")

    assert redactor.text(f"got {'ab' * 16}") == "got ***"
    assert redactor.text("?t=to%2Fken%2Bwith%3Dsigns") == "?t=***"


def test_a_secret_at_the_end_of_a_shortened_text_is_masked_too() -> None:
    shortened = clean("x" * 192 + CANARY)

    assert Redactor([CANARY]).text(shortened) == "x" * 192 + "***..."


def test_tokens_of_recent_connections_are_known_and_old_ones_forgotten() -> None:
    redactor = Redactor([CANARY])

    for number in range(RECENT + 1):
        redactor.learn(f"{number:05}" * 2)

    assert redactor.text(f"{CANARY} 0000000000") == "*** 0000000000"
    assert redactor.text(f"0000100001 {RECENT:05}{RECENT:05}") == "*** ***"


def test_short_texts_are_not_taken_for_secrets() -> None:
    assert Redactor(["abc", ""]).text("abc abc") == "abc abc"


def test_an_event_is_masked_where_it_holds_foreign_text() -> None:
    redactor = Redactor([CANARY])
    clean_one = seen.Disconnected("c", "g", 1000, "fine", True)

    assert redactor.event(clean_one) is clean_one
    assert redactor.event(seen.Reconnecting(1, 2.0, f"no {CANARY}")) == seen.Reconnecting(
        1, 2.0, "no ***"
    )


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (seen.Disconnected("c", "g", 1000, CANARY, True), "reason"),
        (seen.ErrorOccurred("kind", CANARY), "message"),
        (seen.Reconnecting(1, 2.0, CANARY), "cause"),
        (seen.WebSocketClosed("c", 1000, CANARY), "reason"),
        (seen.WebSocketFailed("c", CANARY), "message"),
        (seen.ErrorOccurred("kind", "text", request_id=CANARY), "request_id"),
        (seen.ErrorOccurred("kind", "text", run_id=CANARY), "run_id"),
        (seen.Connected(CANARY, "g", 0.1, None), "connection_id"),
        (seen.Connected("c", CANARY, 0.1, None), "gateway_group"),
        (seen.RequestReceived("r", "run", CANARY, "fn", "c"), "app_name"),
        (seen.RequestReceived("r", "run", "app", CANARY, "c"), "function_slug"),
        (seen.LeaseLost(CANARY, "run", "fn"), "request_id"),
        (seen.FunctionFailed("r", "run", "fn", CANARY, "e"), "error_type"),
        (seen.FunctionFailed("r", "run", "fn", "E", CANARY), "error"),
        (seen.FunctionFailed("r", "run", "fn", "E", "e", step=CANARY), "step"),
        (seen.FunctionFailed("r", "run", "fn", "E", "e", stack=CANARY), "stack"),
        (seen.RequestCompleted("r", "run", "fn", "ERROR", 0.1, 0.0, CANARY), "error"),
    ],
)
def test_every_text_and_id_of_an_event_is_masked(event: seen.Event, field: str) -> None:
    assert getattr(Redactor([CANARY]).event(event), field) == "***"


@pytest.fixture
def other() -> logging.Logger:
    """A logger of this package that is used past ConnectLogger."""
    logger = package_logger("test_redaction")
    logger.setLevel(1)
    return logger


@pytest.fixture
def log(other: logging.Logger) -> Any:
    capture = Capture()
    other.addHandler(capture)
    yield capture
    other.removeHandler(capture)


def test_what_is_printed_past_the_logger_is_masked_as_well(
    other: logging.Logger, log: Capture
) -> None:
    worker_one, worker_two = Redactor([CANARY]), Redactor(["other-7a2b"])

    other.info("hello %s and %s", CANARY, "other-7a2b", extra={"session_token": "t", "x": CANARY})
    other.info("wrong format %d", CANARY)
    try:
        raise ValueError(CANARY)
    except ValueError:
        other.exception("failed", stack_info=True)
    other.info("the stack shows this line", stack_info=True, extra={"a": "canary-5e1f"})

    shown = log.everything()
    assert "canary" not in shown
    assert "7a2b" not in shown
    assert log.records[0].getMessage() == "hello *** and ***"
    assert log.fields(0)["session_token"] == "***"
    assert "ValueError: ***" in log.printed.getvalue()
    assert worker_one is not worker_two


def test_the_library_of_the_socket_speaks_only_to_handlers_of_its_own() -> None:
    known = Redactor([CANARY])
    adapter, capture = silent_logger("test_silent"), Capture()
    adapter.logger.addHandler(capture)

    adapter.error("raw %s", CANARY.encode())

    assert not adapter.logger.propagate
    assert capture.records[0].getMessage() == "raw b'***'"
    assert known is not None


def test_no_module_makes_a_logger_past_the_redaction() -> None:
    source = Path(inngest_connect.__file__).parent
    calls = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("getLogger", "get_logger")
    }

    # The second one sets up the root logger of a process that is ours, and writes nothing; the
    # third passes on the records of libraries, as those made them; the fourth replaces uvicorn's.
    assert calls == {
        "observability/package_logger.py",
        "cli/logs.py",
        "observability/library_logs.py",
        "status/client_log.py",
    }


def test_an_id_that_was_harmless_is_masked_once_it_is_known_to_be_a_secret() -> None:
    redactor = Redactor(["another-secret"])
    before = redactor.id(CANARY)

    redactor.learn(CANARY)

    assert (before, redactor.id(CANARY)) == (CANARY, "***")


@pytest.mark.parametrize("before", range(20))
def test_an_id_with_fifteen_characters_of_a_secret_is_masked_wherever_they_are(before: int) -> None:
    secret = "0123456789abcdefghijklmnopqrstuv"

    shown = Redactor([secret]).id("x" * before + secret[3:18])

    assert shown == "x" * before + "***"


@pytest.mark.parametrize("length", range(8, 15))
@pytest.mark.parametrize("before", range(10))
def test_an_id_that_ends_with_a_short_secret_is_masked(before: int, length: int) -> None:
    secret = "0123456789abcdefghijklmnopqrstuv"[:length]

    shown = Redactor([secret]).id("x" * before + secret)

    assert shown == "x" * before + "***"


def test_ids_that_were_looked_at_are_remembered_within_a_limit() -> None:
    redactor = Redactor([CANARY])
    for number in range(10_000):
        redactor.id(f"request-{number}")

    assert len(redactor._harmless) <= 4096
