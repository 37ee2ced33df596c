"""What the model API answers to calls within its limit, above it, and while it is away."""

import pytest

from simulation.fleet.limited_api import LimitedApi, Overload, Refusal

pytestmark = pytest.mark.unit


def limited(overload: Overload, rate: float = 60.0) -> LimitedApi:
    api = LimitedApi(overload)
    api.limit(rate, 100.0)
    return api


def test_calls_above_the_rate_are_refused_until_time_has_passed() -> None:
    api = limited(Overload.REFUSE)

    answers = [api.call(at)[1] for at in [100.0] * 7 + [100.01, 100.02]]

    refused = Refusal(429, "too many calls")
    assert answers == [None] * 6 + [refused, refused, None]


def test_a_refusal_can_name_a_time() -> None:
    api = limited(Overload.REFUSE_FOR, rate=10.0)

    answers = [api.call(100.0) for _ in range(6)][-2:]

    assert answers == [(100.0, None), (100.0, Refusal(429, "too many calls", 5.0))]


def test_calls_wait_in_one_line_and_clients_give_up_after_ten_seconds() -> None:
    api = limited(Overload.QUEUE, rate=0.25)

    answers = [api.call(100.0) for _ in range(3)]

    assert answers == [(104.0, None), (108.0, None), (110.0, Refusal(None, "timed out"))]


def test_a_call_that_nobody_waits_for_keeps_its_place() -> None:
    api = limited(Overload.QUEUE, rate=0.25)
    for _ in range(3):
        api.call(100.0)

    assert api.call(111.0) == (116.0, None)


def test_an_api_that_is_away_refuses_connections() -> None:
    api = limited(Overload.REFUSE)
    api.away_until = 400.0

    answers = [api.call(at)[1] for at in (399.9, 400.0)]

    assert answers == [Refusal(None, "connection refused"), None]


def test_calls_are_counted_by_the_second_since_the_limit_began() -> None:
    api = LimitedApi(Overload.REFUSE)
    api.call(50.0)
    api.limit(20.0, 100.5)

    for at in (100.5, 101.4, 101.6, 103.0):
        api.call(at)

    assert (api.calls, dict(api.per_second)) == (4, {0: 2, 1: 1, 2: 1})
