"""Requests in flight by function."""

import pytest

from inngest_connect.core.requests.request_table import Progress
from inngest_connect.observability.debug_state import InFlightRequest
from inngest_connect.status.in_flight import MOST_IN_ALL, by_function, oldest_of_each

pytestmark = pytest.mark.unit


def request(slug: str, age: float, progress: str = "RUNNING") -> InFlightRequest:
    return InFlightRequest(f"{slug} {age}", "run", slug, progress, age, None, None)


def test_functions_are_counted_the_one_with_the_oldest_request_first() -> None:
    groups = by_function(
        [
            request("a-slow", 900.0),
            request("a-quick", 3.0, "ANSWERED"),
            request("a-slow", 2.0, "QUEUED"),
            request("a-quick", 1.0, "ACKNOWLEDGING"),
            request("a-slow", 0.5, "LOST"),
        ]
    )

    assert [(g["function_slug"], g["total"], g["oldest_age"]) for g in groups] == [
        ("a-slow", 3, 900.0),
        ("a-quick", 2, 3.0),
    ]
    assert {name: groups[0][name] for name in ("queued", "running", "answered", "lost")} == {
        "queued": 1, "running": 1, "answered": 0, "lost": 1,
    }  # fmt: skip
    assert (groups[1]["queued"], groups[1]["answered"]) == (1, 1)


@pytest.mark.parametrize("progress", Progress)
def test_every_progress_is_counted(progress: Progress) -> None:
    (group,) = by_function([request("a-fn", 1.0, progress.value)])

    assert group["queued"] + group["running"] + group["answered"] + group["lost"] == 1


def test_one_function_does_not_hide_the_requests_of_another() -> None:
    crowd = [request("a-crowd", float(age)) for age in range(500, 0, -1)]

    listed = oldest_of_each([*crowd, request("a-stuck", 0.5)])

    assert [r.attempt_age for r in listed] == [*map(float, range(500, 480, -1)), 0.5]


def test_the_list_is_limited_however_many_functions_there_are() -> None:
    listed = oldest_of_each([request(f"a-{number}", 1.0) for number in range(1000)])

    assert len(listed) == MOST_IN_ALL
