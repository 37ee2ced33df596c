"""Each record of WARNING or above leads to a section that docs/operations.md has."""

import logging

import pytest

from inngest_connect.core import events as seen
from inngest_connect.observability.help import _SECTIONS, help_of
from inngest_connect.observability.logger import ConnectLogger
from inngest_connect.observability.package_logger import package_logger
from inngest_connect.observability.records import Record
from tests.pages import ROOT, anchors
from tests.unit.observability.log_capture import Capture
from tests.unit.test_operations_docs import first_cells, kinds

pytestmark = pytest.mark.unit


def test_every_section_that_is_named_exists_and_every_name_is_an_event_or_a_kind() -> None:
    page = anchors(ROOT / "docs" / "operations.md")
    events = {each.name for each in seen.EVENTS} | {"worker_crashed"}

    for name in {*_SECTIONS, *events, *kinds()}:
        document, _, anchor = help_of(name).partition("#")
        assert (document, anchor in page) == ("operations.md", True), name
    assert set(_SECTIONS) - events - first_cells("Kinds of `error`") == set()


def test_what_is_logged_past_the_worker_has_one_too(caplog: pytest.LogCaptureFixture) -> None:
    package_logger("status").warning("status server: refused")

    (record,) = caplog.records
    document, _, anchor = vars(record)["help"].partition("#")
    assert anchor in anchors(ROOT / "docs" / document)


def test_a_warning_has_it_and_what_is_less_does_not() -> None:
    target, log = logging.Logger("test", 1), Capture()
    target.addHandler(log)
    logger = ConnectLogger(target)

    logger.observe(seen.LeaseLost("r", "run", "fn"))
    logger.observe(seen.ErrorOccurred("flush_failed", "no"))
    logger.observe(seen.ErrorOccurred("listener_failed", "no"))
    logger.observe(seen.Connected("c", "g", 0.1))
    logger.write(Record("error", "worker_crashed", {"exception": "Traceback"}))

    assert [(r.levelname, vars(r).get("help")) for r in log.records] == [
        ("WARNING", "operations.md#lease-lost"),
        ("WARNING", "operations.md#replies-pile-up-or-are-flushed"),
        ("WARNING", "operations.md#kinds-of-error"),
        ("INFO", None),
        ("ERROR", "operations.md#errors-that-are-raised"),
    ]
    assert log.records[4].getMessage() == (
        "worker_crashed help=operations.md#errors-that-are-raised\nTraceback"
    )
