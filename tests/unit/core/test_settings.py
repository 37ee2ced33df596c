"""Time limits."""

import pytest

from inngest_connect.core.settings import CoreSettings, Timing, is_seconds
from inngest_connect.errors import ConfigurationError

pytestmark = pytest.mark.unit


def test_time_limits_have_to_be_above_zero() -> None:
    with pytest.raises(ConfigurationError, match=r"^Timing.hello_timeout is 0; it takes seconds"):
        Timing(hello_timeout=0)
    with pytest.raises(ConfigurationError, match=r"^Timing.close_timeout is 'x'; it takes seconds"):
        Timing(close_timeout="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"^Timing.pause_delay is 10000000000.0"):
        Timing(pause_delay=1e10)


def test_the_longest_limit_is_thirty_years() -> None:
    assert Timing(pause_delay=1e9).pause_delay == 1e9


def test_the_limits_of_the_core_are_checked_too() -> None:
    with pytest.raises(ConfigurationError, match="ready_timeout is nan"):
        CoreSettings(ready_timeout=float("nan"))


def test_whole_seconds_are_seconds_and_so_is_none_at_all() -> None:
    assert Timing(start_timeout=5).start_timeout == 5
    assert is_seconds(0)
