"""Signing keys are rotated in production mode: for starts, for flushes, while a worker runs."""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from inngest_connect.core.events import ErrorOccurred
from inngest_connect.errors import AuthenticationError
from inngest_connect.protocol import FLUSH_PATH, START_PATH
from inngest_connect.state_machine import ConnectionState
from inngest_connect.testing import MockHTTPServer
from tests.errors.faulty import Faulty, faulty

pytestmark = pytest.mark.field
OLD, NEW = "signkey-prod-" + "a1" * 32, "signkey-prod-" + "b2" * 32
STRANGER = "signkey-prod-" + "c3" * 32


def bearer(key: str) -> str:
    """What the API is sent: the SHA-256 of the key's body, in hexadecimal."""
    return f"Bearer {hashlib.sha256(bytes.fromhex(key.removeprefix('signkey-prod-'))).hexdigest()}"


def accept(api: MockHTTPServer, *keys: str) -> None:
    """From now on these keys are valid, and no others."""
    api._keys = tuple(bearer(key).removeprefix("Bearer ") for key in keys)


def calls(it: Faulty, path: str) -> Sequence[tuple[str, int]]:
    """Authorization and status of each call, in order."""
    history = it.gateway.http.get_request_history(path)
    return [(call.headers.get("authorization", ""), call.answered) for call in history]


PRODUCTION = {"is_production": True, "signing_key": OLD}


@pytest.fixture(autouse=True)
def fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNGEST_SIGNING_KEY_FALLBACK", NEW)


async def test_the_key_is_sent_as_its_hash_and_the_fallback_is_not_used() -> None:
    async with faulty(signing_keys=(OLD, NEW), app_options=PRODUCTION) as it, it.worker():
        result = await it.run_through_an_outage()
        starts, flushes = calls(it, START_PATH), calls(it, FLUSH_PATH)

    assert result.status == "completed"
    assert set(starts) <= {(bearer(OLD), 200), (bearer(OLD), 500)}
    assert (bearer(OLD), 200) in flushes
    assert {key for key, _ in flushes} == {bearer(OLD)}


@pytest.mark.scenario("3")
async def test_the_fallback_is_used_for_start_and_for_flushes_when_the_key_is_refused() -> None:
    async with faulty(signing_keys=(NEW,), app_options=PRODUCTION) as it, it.worker():
        result = await it.run_through_an_outage()
        starts, flushes = calls(it, START_PATH), calls(it, FLUSH_PATH)

    assert result.status == "completed"
    assert starts[:2] == [(bearer(OLD), 401), (bearer(NEW), 200)]
    assert {key for key, _ in starts[1:]} == {bearer(NEW)}
    assert {key for key, _ in flushes} == {bearer(NEW)}


async def test_a_key_that_is_revoked_in_the_middle_of_a_life_is_left_at_the_next_start() -> None:
    async with faulty(signing_keys=(OLD,), app_options=PRODUCTION) as it, it.worker() as worker:
        accept(it.gateway.http, NEW)
        lost = asyncio.Event()
        worker.add_event_listener("disconnected", lambda _: lost.set())
        it.socket.reset()
        await asyncio.wait_for(lost.wait(), 10)
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), 20)
        result = await it.gateway.invoke("app-echo")
        starts = calls(it, START_PATH)

    assert result.status == "completed"
    assert starts == [(bearer(OLD), 200), (bearer(OLD), 401), (bearer(NEW), 200)]


async def test_a_flush_that_is_refused_is_repeated_with_the_other_key_before_the_lease_ends() -> (
    None
):
    errors: list[ErrorOccurred] = []
    async with (
        faulty(signing_keys=(OLD,), app_options=PRODUCTION) as it,
        it.worker(on={"error": errors.append}),
    ):
        running = asyncio.create_task(it.gateway.invoke("app-wait"))
        await it.app.seen.started.wait()
        # No other call may find out about the keys before the flush does.
        it.gateway.http.simulate_server_error(endpoint=START_PATH)
        await it.socket.refuse()
        it.socket.reset()
        await it.gateway.store.until(lambda model: not model.connections)
        accept(it.gateway.http, NEW)
        it.app.seen.release.set()
        result = await asyncio.wait_for(running, 20)
        flushes = calls(it, FLUSH_PATH)

    assert result.status == "completed"
    assert flushes == [(bearer(OLD), 401), (bearer(NEW), 200)]
    assert [error.kind for error in errors if error.kind == "flush_failed"] == ["flush_failed"]
    assert not [error for error in errors if error.fatal]


async def test_keys_that_are_rotated_there_and_back_are_followed() -> None:
    async with faulty(signing_keys=(OLD,), app_options=PRODUCTION) as it, it.worker() as worker:
        for key in (NEW, OLD, NEW):
            accept(it.gateway.http, key)
            lost = asyncio.Event()
            worker.add_event_listener("disconnected", lambda _: lost.set())  # noqa: B023
            it.socket.reset()
            await asyncio.wait_for(lost.wait(), 10)
            await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), 20)
        accepted = [key for key, status in calls(it, START_PATH) if status == 200]

    assert accepted == [bearer(OLD), bearer(NEW), bearer(OLD), bearer(NEW)]


async def test_a_life_in_which_no_key_is_valid_any_more_goes_on_until_one_is() -> None:
    async with faulty(signing_keys=(OLD,), app_options=PRODUCTION) as it, it.worker() as worker:
        accept(it.gateway.http, STRANGER)
        it.socket.reset()
        await it.gateway.http.wait_for_request(START_PATH, count=5)
        accept(it.gateway.http, NEW)
        await asyncio.wait_for(worker.wait_for_state(ConnectionState.ACTIVE), 20)
        refused = [key for key, status in calls(it, START_PATH) if status == 401]

    assert set(refused) == {bearer(OLD), bearer(NEW)}


@pytest.mark.scenario("4")
async def test_a_first_connection_without_a_valid_key_names_both_by_their_ends() -> None:
    async with faulty(signing_keys=(STRANGER,), app_options=PRODUCTION) as it:
        errors: list[str] = []
        worker = it.worker(on={"error": lambda error: errors.append(error.message)})
        with pytest.raises(AuthenticationError) as caught:
            await asyncio.wait_for(worker.start(), 20)
        starts = calls(it, START_PATH)

    told = " ".join([str(caught.value), *errors])
    assert starts == [(bearer(OLD), 401), (bearer(NEW), 401)]
    assert "***b2b2" in str(caught.value)
    assert "***a1a1" in told
    for key in (OLD, NEW):
        assert key not in told
        assert bearer(key) not in told
