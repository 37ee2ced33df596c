"""A fleet: thousands of real cores that lose the same gateways, in virtual time.

It shows how often the API is called and how long the workers need to come back when it serves a
limited rate. The delays in ``core/retry.py`` and ``core/connections/attempts.py`` are chosen from
its figures, see docs/reliability.md#a-fleet. ``make fleet`` measures and draws them.
"""

from .fleet import Fleet
from .limited_api import LimitedApi, Overload
from .measurement import HEADER, Measurement, measure
from .plot import draw
from .scenarios import SCENARIOS

__all__ = [
    "HEADER",
    "SCENARIOS",
    "Fleet",
    "LimitedApi",
    "Measurement",
    "Overload",
    "draw",
    "measure",
]
