"""Plot: calls of the API in each second, as an SVG picture. The same figures give the same file."""

from collections.abc import Sequence
from html import escape
from itertools import groupby
from math import log10
from typing import Final

from .limited_api import Overload
from .measurement import Measurement

COLORS: Final = {
    Overload.REFUSE: "#2563eb",
    Overload.REFUSE_FOR: "#dc2626",
    Overload.QUEUE: "#ca8a04",
}
WIDTH: Final = 760
LEFT: Final = 64
RIGHT: Final = 16
PANEL: Final = 120
"""Height of the axes of one scenario."""
PITCH: Final = 178
TOP: Final = 44
TICKS: Final = 6


def draw(measurements: Sequence[Measurement], rate: float) -> str:
    """One panel for each scenario, with a line for each way in which the API can be overloaded."""
    panels = [list(group) for _, group in groupby(measurements, key=lambda it: it.scenario)]
    height = TOP + PITCH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        'font-family="sans-serif" font-size="12">',
        "<title>Calls of the API in each second, after what happens to a fleet</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        *_legend(rate),
    ]
    # One scale for all panels: what differs between them is what the picture is for.
    highest = max(it.peak for it in measurements)
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + PITCH * number, rate, highest)
    return "\n".join([*parts, "</svg>", ""])


def _legend(rate: float) -> list[str]:
    parts = []
    entries = [(color, overload.value) for overload, color in COLORS.items()]
    for number, (color, text) in enumerate([*entries, ("#6b7280", f"limit: {rate:g} per s")]):
        x = LEFT + 160 * number
        parts.append(f'<path d="M{x} 18h24" stroke="{color}" stroke-width="3"/>')
        parts.append(f'<text x="{x + 30}" y="22">{escape(text)}</text>')
    return parts


def _panel(panel: Sequence[Measurement], top: int, rate: float, highest: int) -> list[str]:
    bottom = top + 20 + PANEL
    seconds = max(max(it.per_second) for it in panel) + 1
    decades = log10(highest) * 1.03

    def x(second: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * second / seconds

    def y(calls: float) -> float:
        # Logarithmic, because a peak is many times the limit. A second without calls is at 1.
        return bottom - PANEL * log10(max(calls, 1.0)) / decades

    title = escape(panel[0].scenario)
    parts = [f'<text x="{LEFT}" y="{top + 12}" font-weight="bold">{title}</text>']
    for power in range(int(decades) + 1):
        at = y(10**power)
        parts.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}" stroke="#e5e7eb"/>')
        parts.append(
            f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{10**power:,}</text>'
        )
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if seconds / s <= 2 * TICKS)
    for second in range(0, seconds, step):
        parts.append(
            f'<text x="{x(second):.1f}" y="{bottom + 16}" text-anchor="middle">{second} s</text>'
        )
    parts.append(
        f'<path d="M{LEFT} {y(rate):.1f}H{WIDTH - RIGHT}" stroke="#6b7280" stroke-dasharray="4 3"/>'
    )
    for it in panel:
        # A flat line is drawn once, however many seconds it has.
        steps = groupby(range(max(it.per_second) + 2), key=lambda s: it.per_second.get(s, 0))
        places = [(x(next(group)), y(calls)) for calls, group in steps]
        begin = f"M{places[0][0]:.1f} {places[0][1]:.1f}"
        line = "".join(f"H{right:.1f}V{height:.1f}" for right, height in places[1:])
        parts.append(
            f'<path d="{begin}{line}" fill="none" stroke="{COLORS[it.overload]}" '
            'stroke-width="1.5" stroke-opacity="0.8"/>'
        )
    return parts
