"""The list of subscribers."""

import pytest

from inngest_connect import EVENT_NAMES, ConfigurationError, Draining, LeaseLost
from inngest_connect.observability.event_listeners import EventListeners

pytestmark = pytest.mark.unit
EVENT = LeaseLost("r", "run", "fn")


def test_the_event_names_are_the_documented_ones() -> None:
    assert EVENT_NAMES == (
        "state_change", "connected", "disconnected", "heartbeat", "draining", "reconnecting",
        "request_received", "request_started", "request_completed",
        "reply_acknowledged", "lease_lost",
        "websocket_open", "websocket_close", "websocket_error", "error",
    )  # fmt: skip


def test_only_those_who_asked_for_an_event_hear_it() -> None:
    heard: list[object] = []
    listeners = EventListeners({"lease_lost": heard.append})

    listeners.emit(EVENT)
    listeners.emit(Draining("c", "g"))

    assert heard == [EVENT]
    assert listeners.wants("lease_lost")
    assert not listeners.wants("draining")


def test_a_listener_that_raises_is_reported_and_the_next_one_is_called() -> None:
    heard: list[object] = []
    reported: list[tuple[str, BaseException]] = []
    listeners = EventListeners(
        {"lease_lost": lambda _: 1 / 0}, lambda name, _, error: reported.append((name, error))
    )
    listeners.add("lease_lost", heard.append)

    listeners.emit(EVENT)

    assert heard == [EVENT]
    assert [name for name, _ in reported] == ["lease_lost"]


def test_removing_is_possible_in_two_ways_and_more_than_once() -> None:
    heard: list[object] = []
    listeners = EventListeners()
    remove = listeners.add("lease_lost", heard.append)
    listeners.add("lease_lost", heard.append)

    remove()
    listeners.emit(EVENT)
    listeners.remove("lease_lost", heard.append)
    listeners.remove("lease_lost", heard.append)
    listeners.emit(EVENT)

    assert heard == [EVENT]


def test_unknown_names_and_things_that_cannot_be_called_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'state_change'"):
        EventListeners({"state_changed": print})
    with pytest.raises(ConfigurationError, match="there are: state_change"):
        EventListeners().add("zzz", print)
    with pytest.raises(ConfigurationError, match="unknown event 5"):
        EventListeners().remove(5, print)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="not callable: 'print'"):
        EventListeners().add("error", "print")  # type: ignore[arg-type]


def test_a_listener_that_returns_a_generator_is_reported() -> None:
    """A plain function can do so unnoticed, and nothing of it would run."""
    failed: list[BaseException] = []
    listeners = EventListeners(
        {"lease_lost": lambda event: (one for one in [event])},
        lambda name, _, error: failed.append(error),
    )

    listeners.emit(EVENT)

    assert "returned a generator" in str(failed[0])


def test_a_listener_that_was_added_several_times_is_removed_once() -> None:
    heard: list[object] = []
    listeners = EventListeners({"lease_lost": heard.append})
    listeners.add("lease_lost", heard.append)
    listeners.add("lease_lost", heard.append)

    listeners.remove("lease_lost", heard.append)
    listeners.emit(EVENT)

    assert heard == [EVENT, EVENT]
