"""ConnectLogger: levels, fields, context, targets."""

import asyncio
import io
import json
import logging
from typing import Any, cast

import pytest
import structlog

from inngest_connect.core import events as seen
from inngest_connect.errors import ConfigurationError
from inngest_connect.observability.announcer import Announcer
from inngest_connect.observability.logger import MOST_REQUESTS, ConnectLogger
from inngest_connect.observability.records import Record
from inngest_connect.observability.redaction import Redactor
from inngest_connect.state_machine import ConnectionState as S
from tests.unit.observability.log_capture import Capture, captured

pytestmark = pytest.mark.unit


@pytest.fixture
def target_and_log() -> tuple[logging.Logger, Capture]:
    return captured()


@pytest.fixture
def target(target_and_log: tuple[logging.Logger, Capture]) -> logging.Logger:
    return target_and_log[0]


@pytest.fixture
def log(target_and_log: tuple[logging.Logger, Capture]) -> Capture:
    return target_and_log[1]


def observe(logger: ConnectLogger, *events: seen.Event) -> None:
    for event in events:
        logger.observe(event)


def test_the_four_levels_carry_their_fields_and_context(
    target: logging.Logger, log: Capture
) -> None:
    logger = ConnectLogger(target, context={"instance_id": "i"})

    logger.write(Record("debug", "a", {"number": 1}))
    logger.write(Record("info", "b", {}))
    several = {"text": "two words", "empty": "", "ratio": 0.123456, "word": "w"}
    logger.write(Record("warning", "c", several))
    logger.write(Record("error", "d", {}))

    assert log.sequence == [("DEBUG", "a"), ("INFO", "b"), ("WARNING", "c"), ("ERROR", "d")]
    assert all(vars(record)["instance_id"] == "i" for record in log.records)
    assert log.fields(0)["number"] == 1
    assert log.records[2].getMessage() == (
        "c text='two words' empty='' ratio=0.1235 word=w help=operations.md#kinds-of-error"
    )


def test_a_field_with_the_name_of_an_attribute_of_records_is_kept_beside_it(
    target: logging.Logger, log: Capture
) -> None:
    fields = {"name": "n", "message": "m", "levelname": "l"}
    ConnectLogger(target).write(Record("info", "a", fields))

    fields = log.fields()
    assert (fields["name_"], fields["message_"], fields["levelname_"]) == ("n", "m", "l")
    assert log.records[0].name == "test"


def test_silence_is_silence(caplog: pytest.LogCaptureFixture) -> None:
    logger = ConnectLogger(False)

    logger.write(Record("error", "a", {}))
    logger.observe(seen.ErrorOccurred("x", "y"))
    logger.close()

    assert not caplog.records


@pytest.mark.parametrize("wrong", [True, "inngest_connect", 10, object()])
def test_what_is_not_a_logger_is_refused_by_name(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match=r"logger is .*; pass a logging\.Logger"):
        ConnectLogger(wrong)


def test_the_default_is_the_loggers_of_the_standard_tree_with_nothing_installed() -> None:
    ConnectLogger()

    default = logging.getLogger("inngest_connect")
    assert default.propagate
    assert all(isinstance(handler, logging.NullHandler) for handler in default.handlers)


def test_a_structlog_logger_of_the_users_is_used_as_it_is() -> None:
    with structlog.testing.capture_logs() as entries:
        logger = ConnectLogger(structlog.get_logger(), context={"instance_id": "i"})
        logger.write(Record("warning", "hello", {"number": 1}))
        logger.observe(seen.LeaseLost("r", "run", "fn"))

    assert entries == [
        {
            "event": "hello",
            "number": 1,
            "instance_id": "i",
            "log_level": "warning",
            "help": "operations.md#kinds-of-error",
        },
        {
            "event": "lease_lost",
            "request_id": "r",
            "run_id": "run",
            "function_slug": "fn",
            "instance_id": "i",
            "log_level": "warning",
            "help": "operations.md#lease-lost",
        },
    ]


def test_asking_a_structlog_logger_for_its_level_logs_nothing() -> None:
    entries: list[Any] = []

    def keep(_: object, name: str, event: Any) -> Any:
        entries.append((name, event["event"]))
        raise structlog.DropEvent

    generic = structlog.wrap_logger(
        logging.Logger("under"), processors=[keep], wrapper_class=structlog.BoundLogger
    )

    ConnectLogger(generic).observe(seen.ReplyAcknowledged("r", "socket"))

    assert entries == [("debug", "reply_acknowledged")]


def test_structlogs_formatter_gets_event_and_fields_from_a_standard_record() -> None:
    target, stream = logging.Logger("test"), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=[structlog.stdlib.ExtraAdder()],
        )
    )
    target.addHandler(handler)

    ConnectLogger(target).write(Record("info", "connected", {"gateway_group": "g"}))

    assert json.loads(stream.getvalue()) == {"event": "connected", "gateway_group": "g"}


def test_an_adapter_is_a_logger_too(target: logging.Logger, log: Capture) -> None:
    logger = ConnectLogger(logging.LoggerAdapter(target, {}))

    logger.write(Record("warning", "hello", {"number": 1}))

    assert log.records[0].getMessage() == "hello number=1 help=operations.md#kinds-of-error"


def test_a_day_without_trouble_is_a_few_info_records(target: logging.Logger, log: Capture) -> None:
    target.setLevel(logging.INFO)
    introduction = {"app_versions": {"app": "v7"}}
    logger = ConnectLogger(target, None, {"instance_id": "i"}, introduction)

    observe(
        logger,
        seen.StateChanged(S.CONNECTING, S.ACTIVE),
        seen.WebSocketOpened("c", "g"),
        seen.Connected("c", "g", 0.01),
        seen.RequestReceived("r", "run", "app", "fn", "c"),
        seen.RequestStarted("r", "run", "fn", 0.0),
        seen.RequestCompleted("r", "run", "fn", "DONE", 0.1, 0.0),
        seen.ReplyAcknowledged("r", "socket"),
        seen.HeartbeatAnswered("c", 0.001),
        seen.Draining("c", "g"),
        seen.Disconnected("c", "g", 1000, "", True),
        seen.StateChanged(S.ACTIVE, S.CLOSING),
    )

    assert log.sequence == [
        ("INFO", "connected"),
        ("INFO", "draining"),
        ("INFO", "disconnected"),
        ("INFO", "state_change"),
    ]
    assert log.records[0].getMessage() == (
        "connected connection_id=c gateway_group=g handshake_seconds=0.01 instance_id=i "
        "app_versions={'app': 'v7'}"
    )


def test_trouble_is_a_warning_and_a_lost_result_an_error(
    target: logging.Logger, log: Capture
) -> None:
    observe(
        ConnectLogger(target),
        seen.Disconnected("c", "g", 1006, "", False),
        seen.Reconnecting(1, 1.0, "refused"),
        seen.Reconnecting(0, 0.0, "lost"),
        seen.LeaseLost("r", "run", "fn"),
        seen.ErrorOccurred("start_failed", "refused"),
        seen.ErrorOccurred("flush_failed", "500"),
        seen.ErrorOccurred("reply_evicted", "full", "r", run_id="run", function_slug="fn"),
        seen.ErrorOccurred("start_failed", "no key", fatal=True),
    )

    assert [record.levelname for record in log.records] == [
        "WARNING", "WARNING", "INFO", "WARNING", "DEBUG", "WARNING", "ERROR", "ERROR",
    ]  # fmt: skip
    assert log.records[6].getMessage() == (
        "error kind=reply_evicted request_id=r run_id=run function_slug=fn detail=full "
        "help=operations.md#a-result-is-lost"
    )


def failed(text: str = "ValueError: no", error_type: str = "ValueError") -> seen.FunctionFailed:
    stack = f"Traceback (most recent call last):\n{text}"
    return seen.FunctionFailed("r", "run", "fn", error_type, text, 0, True, None, stack)


def test_a_function_that_fails_is_a_warning_with_its_traceback(
    target: logging.Logger, log: Capture
) -> None:
    target.setLevel(logging.WARNING)

    observe(ConnectLogger(target), seen.Connected("c", "g", 0.01), failed())

    (record,) = log.records
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        "function_failed request_id=r run_id=run function_slug=fn error_type=ValueError "
        "error='ValueError: no' attempt=0 will_retry=True connection_id=c gateway_group=g "
        "help=operations.md#a-function-fails\n"
        "Traceback (most recent call last):\nValueError: no"
    )
    assert "stack" not in vars(record)


def test_failures_of_a_function_and_type_are_folded_whatever_their_texts_are(
    target: logging.Logger, log: Capture
) -> None:
    target.setLevel(logging.INFO)
    logger = ConnectLogger(target, clock=lambda: 0.0)

    observe(logger, *[failed(f"ValueError: no {name}") for name in "abcdefgh"])
    observe(logger, failed("KeyError: k", "KeyError"), failed("", ""))
    logger.close()

    errors = [log.fields(index)["error"] for index in range(len(log.records))]
    assert errors == [*(f"ValueError: no {each}" for each in "abcdeh"), "KeyError: k"]
    assert log.fields(5)["repeated"] == 3


def test_a_record_says_where_it_happened_as_far_as_that_is_known(
    target: logging.Logger, log: Capture
) -> None:
    logger = ConnectLogger(target)

    observe(
        logger,
        seen.Connected("c", "g", 0.01),
        seen.RequestReceived("r", "run", "app", "fn", "c"),
        seen.ErrorOccurred("malformed_message", "x", connection_id="c"),
        seen.ErrorOccurred("flush_failed", "y", request_id="r"),
        seen.ReplyAcknowledged("r", "flush"),
        seen.Disconnected("c", "g", 1006, "", False),
        seen.ErrorOccurred("flush_failed", "z", request_id="r"),
        seen.ReplyAcknowledged("r", "flush"),
    )

    malformed, flushing, acknowledged = (log.fields(index) for index in (2, 3, 4))
    assert malformed["gateway_group"] == "g"
    assert (flushing["connection_id"], flushing["gateway_group"]) == ("c", "g")
    assert (acknowledged["run_id"], acknowledged["function_slug"]) == ("run", "fn")
    assert (acknowledged["connection_id"], acknowledged["gateway_group"]) == ("c", "g")
    assert "connection_id" not in log.fields(6)
    assert "run_id" not in log.fields(7)


def test_contexts_of_requests_are_bounded_and_kept_only_for_debug() -> None:
    quiet, loud = (ConnectLogger(captured(level)[0]) for level in (logging.INFO, logging.DEBUG))

    for number in range(MOST_REQUESTS + 10):
        received = seen.RequestReceived(str(number), "run", "app", "fn", "c")
        observe(quiet, received)
        observe(loud, received)

    assert len(quiet._requests) == 0
    assert len(loud._requests) == MOST_REQUESTS


def test_of_too_many_requests_the_oldest_lose_their_context(
    target: logging.Logger, log: Capture
) -> None:
    logger = ConnectLogger(target)
    for number in range(MOST_REQUESTS + 1):
        logger.observe(seen.RequestReceived(str(number), "run", "app", "fn", "c"))
    log.records.clear()

    for number in (0, MOST_REQUESTS):
        logger.observe(seen.RequestStarted(str(number), "run", "fn", 0.0))

    assert [vars(record).get("connection_id") for record in log.records] == [None, "c"]


def test_the_end_of_a_drained_connection_is_not_that_of_the_one_that_serves(
    target: logging.Logger, log: Capture
) -> None:
    observe(
        ConnectLogger(target),
        seen.Connected("old", "g1", 0.01),
        seen.Connected("new", "g2", 0.01),
        seen.Disconnected("old", "g1", 1001, "", True),
        seen.LeaseLost("r", "run", "fn"),
    )

    fields = log.fields()
    assert (fields["connection_id"], fields["gateway_group"]) == ("new", "g2")


def test_a_crash_has_its_traceback_with_cause_and_notes_and_no_secret(
    target: logging.Logger, log: Capture
) -> None:
    def crash() -> None:
        try:
            raise ValueError("inner canary-5e1f")
        except ValueError as inner:
            error = RuntimeError("outer canary-5e1f")
            error.add_note("noted canary-5e1f")
            raise error from inner

    with pytest.raises(RuntimeError) as caught:
        crash()
    redactor = Redactor(["canary-5e1f"])
    announcer = Announcer(redactor, ConnectLogger(target, redactor))
    announcer.crashed(caught.value)
    announcer.close()
    asyncio.run(announcer.drained())

    text = log.records[0].getMessage()
    assert "inner ***" in text
    assert "outer ***" in text
    assert "noted ***" in text
    assert "in crash" in text
    assert "canary" not in log.everything()


def test_a_logger_that_raises_costs_its_records_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def debug(self, event: str, **_: object) -> None:
            raise OSError("no disk for canary-5e1f")

        info = warning = error = debug

    logger = ConnectLogger(Broken(), Redactor(["canary-5e1f"]))

    logger.write(Record("info", "a", {}))
    logger.write(Record("info", "b", {}))

    (record,) = caplog.records
    assert "raised OSError: no disk for ***; its records are lost" in record.getMessage()


def test_request_records_are_not_even_built_when_they_are_not_read(
    monkeypatch: pytest.MonkeyPatch, target: logging.Logger
) -> None:
    built: list[object] = []
    monkeypatch.setattr("inngest_connect.observability.logger.record_of", built.append)
    target.setLevel(logging.INFO)

    ConnectLogger(target).observe(seen.ReplyAcknowledged("r", "socket"))

    assert built == []


def test_repetition_is_counted_and_reported_at_the_end(
    target: logging.Logger, log: Capture
) -> None:
    now = [0.0]
    target.setLevel(logging.INFO)
    logger = ConnectLogger(target, clock=lambda: now[0])

    for number in range(4):
        logger.observe(seen.ErrorOccurred("malformed_message", f"malformed: {number}"))
        now[0] += 1.0
    logger.close()
    logger.close()

    assert [record.getMessage() for record in log.records] == [
        "error kind=malformed_message detail='malformed: 0' help=operations.md#kinds-of-error",
        "error kind=malformed_message detail='malformed: 3' repeated=3 within_seconds=4 "
        "help=operations.md#kinds-of-error",
    ]


def test_time_passes_with_heartbeats_so_that_nothing_is_held_back(
    target: logging.Logger, log: Capture
) -> None:
    now = [0.0]
    target.setLevel(logging.INFO)
    logger = ConnectLogger(target, clock=lambda: now[0])
    observe(logger, *[cast("seen.Event", seen.ErrorOccurred("flush_failed", "x"))] * 2)

    now[0] = 61.0
    logger.observe(seen.HeartbeatAnswered("c", 0.001))

    assert log.fields()["repeated"] == 1


def test_what_is_folded_is_still_there_at_debug(target: logging.Logger, log: Capture) -> None:
    observe(ConnectLogger(target), seen.LeaseLost("a", "1", "f"), seen.LeaseLost("b", "2", "f"))

    assert log.sequence == [("WARNING", "lease_lost"), ("DEBUG", "lease_lost")]
    assert log.fields()["request_id"] == "b"


def test_every_part_of_a_record_is_masked(target: logging.Logger, log: Capture) -> None:
    secret = "canary-5e1f"
    logger = ConnectLogger(target, Redactor([secret]), context={"instance_id": f"i {secret}"})

    logger.write(Record("info", f"event {secret}", {"detail": f"field {secret}"}))

    assert log.sequence == [("INFO", "event ***")]
    assert (log.fields()["detail"], log.fields()["instance_id"]) == ("field ***", "i ***")
    assert secret not in log.everything()


@pytest.mark.parametrize(
    "end", [seen.LeaseLost("r", "run", "fn"), seen.ReplyAcknowledged("r", "socket")]
)
def test_what_is_known_of_a_request_is_forgotten_at_its_end(
    end: seen.Event, target: logging.Logger
) -> None:
    logger = ConnectLogger(target)
    observe(logger, seen.RequestReceived("r", "run", "app", "fn", "c"), end)

    assert not logger._requests
