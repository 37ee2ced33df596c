"""Thousands of schedules. ``make simulate SEEDS=1000000`` runs more.

A busy laptop takes a minute for them; the time limit detects hangs only.
"""

import pytest

from simulation import run_seeds

pytestmark = [pytest.mark.simulation, pytest.mark.timeout(2400)]
SCHEDULES = 2_000

IN_TWO_THOUSAND = {
    "the API answers a flush: 401": 60,
    "the API answers a flush: 403": 50,
    "the API answers a flush: 413": 50,
    "the API answers a flush: 429": 50,
    "the API answers a flush: 500": 50,
    "the API answers a flush: 503": 50,
    "the API answers a flush: page": 50,
    "the API answers a flush: empty": 50,
    "the API answers a flush: wrong_id": 50,
    "the API answers a flush: lost_late": 50,
    "the API answers a flush: (503, 0.0)": 25,
    "the API answers a flush: (503, 3600.0)": 25,
    "the API answers a start: (503, 0.0)": 10,
    "the API answers a start: (503, 3600.0)": 10,
    "the API answers a start: lost": 15,
    "the API answers a start: late": 10,
    "the API names a gateway that drains, although it is excluded": 20,
    "the fallback key serves at start": 20,
    "the fallback key serves at flush": 5,
    "signing key 0 is refused at start": 40,
    "sleep": 50,
    "pause application": 50,
    "a function ends while the application's loop is stopped": 30,
    "a function resists its cancellation": 15,
    "a function ends more than its own run": 30,
    "a drain during a shutdown": 50,
    "a handshake ends with 1008 SYNC_FAILED": 8,
    "a handshake ends with 1008 connect_authentication_failed": 8,
    "a handshake ends with 1011 connect_internal_error": 12,
    "a handshake stalls": 40,
    "a flush succeeds after the socket's acknowledgement": 30,
    "functions wait for the buffer": 40,
    "error: reply_evicted": 40,
    "a reply arrives after the request has failed": 50,
    "an extension arrives after the lease ran out, and is accepted": 30,
    "an extension arrives after the request has failed": 50,
    "a shutdown is forced when only replies are left": 10,
    "a slow line": 20,
    "a peer that never reads": 20,
    "an acknowledgement is written late": 20,
    "a reply is withdrawn": 8,
    "a request comes again whose reply is kept": 25,
    "a request comes again whose reply is not kept": 15,
    "four connections in a row die young": 20,
    "error: reply_too_large": 20,
    "a flush cannot be stored": 18,
    "write timed out": 16,
    "the router passes over gateways that stopped": 50,
    "another worker executes a request": 70,
    "another worker executes what runs here": 6,
}
"""In how many of 2,000 schedules each situation occurs at least: about half of what was counted."""


def test_every_invariant_holds_in_every_schedule() -> None:
    report = run_seeds(0, SCHEDULES)

    assert report.schedules == SCHEDULES
    assert report.failures == [], "replay one with: python -m simulation --seed N"
    # A promise that was never in question was not checked.
    tally = report.totals.tally
    assert list(tally.vacuous()) == []
    # Each quarter of the range of a random delay is used about as often as the others.
    quarters = [tally[f"spread_{name}"] for name in ("first", "second", "third", "last")]
    assert min(quarters) > 0.15 * sum(quarters)
    occurred = report.totals.situations
    rare = {
        name: occurred[name]
        for name, wanted in IN_TWO_THOUSAND.items()
        if occurred[name] < wanted * SCHEDULES / 2_000
    }
    assert rare == {}, "simulation/situations.py decides what is likely"
