"""SVG plots of one result."""

from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["svg.hashsalt"] = "inngest-connect"  # the same figures give the same file
import matplotlib.pyplot as plt  # noqa: E402

from .peers import TITLES  # noqa: E402

COLOURS: Final = {
    "ours": "#2563eb",
    "embedded": "#60a5fa",
    "official": "#dc2626",
    "none": "#0d9488",
    "go": "#16a34a",
    "javascript": "#ca8a04",
    "bare": "#6b7280",
}
Document = dict[str, Any]


def draw(document: Document, folder: Path) -> list[Path]:
    """Draw what the document has figures for; returns the files."""
    drawn = [_throughput(document), _latency(document), _parts(document)]
    if "growth" in document:
        drawn.append(_growth(document))
    paths = []
    for name, figure in drawn:
        path = folder / f"{name}.svg"
        figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)
        paths.append(path)
    return paths


def _throughput(document: Document) -> tuple[str, Any]:
    figure, axes = plt.subplots(figsize=(7, 4))
    lines: dict[str, list[tuple[int, float, float, float]]] = {}
    for name, found in document["scenarios"].items():
        if not name.startswith("async") or not name.endswith(" 0.2 kB"):
            continue
        in_flight = int(name.split(", ")[1].split()[0])
        for peer, measured in found.items():
            rates = sorted(m["requests_per_second"] for m in measured)
            point = (in_flight, rates[len(rates) // 2], rates[0], rates[-1])
            lines.setdefault(peer, []).append(point)
    for peer, points in lines.items():
        x, y, low, high = zip(*points, strict=True)
        axes.plot(x, y, marker="o", label=TITLES[peer], color=COLOURS[peer])
        axes.fill_between(x, low, high, alpha=0.15, color=COLOURS[peer], linewidth=0)
    axes.set(
        xscale="log",
        ylim=0,
        xlabel="requests in flight",
        ylabel="requests per second",
        title="Throughput, async function, 0.2 kB (median and range)",
    )
    axes.legend()
    return "throughput", figure


def _latency(document: Document) -> tuple[str, Any]:
    figure, axes = plt.subplots(figsize=(7, 4))
    for peer, latencies in document["latencies"].items():
        ordered = sorted(value * 1e3 for value in latencies)
        if ordered:
            shares = [n / len(ordered) for n in range(len(ordered))]
            axes.plot(ordered, shares, label=TITLES[peer], color=COLOURS[peer])
    axes.set(
        xlabel="milliseconds from request to reply",
        ylabel="share of requests",
        title="Latency, async function, 100 in flight",
        xlim=0,
        ylim=(0, 1),
    )
    axes.legend()
    return "latency", figure


def _parts(document: Document) -> tuple[str, Any]:
    figure, axes = plt.subplots(figsize=(7, 2.6))
    names = list(document["parts"])
    left = [0.0] * len(names)
    colours = ("#9ca3af", "#60a5fa", "#2563eb", "#1e3a8a")
    for part, colour in zip(document["parts"][names[0]], colours, strict=True):
        values = [document["parts"][name][part] for name in names]
        axes.barh(names, values, left=left, label=part, color=colour)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.set(xlabel="processor microseconds per request", title="Where the time goes")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2)
    return "parts", figure


def _growth(document: Document) -> tuple[str, Any]:
    growth = document["growth"]
    figure, all_axes = plt.subplots(2, (len(growth) + 1) // 2, figsize=(14, 6), squeeze=False)
    for axes in all_axes.flat[len(growth) :]:
        axes.remove()
    for axes, (name, points) in zip(all_axes.flat, growth.items(), strict=False):
        x, y = zip(*points, strict=True)
        axes.plot(x, y, marker="o", color=COLOURS["ours"])
        axes.set(xlabel=name, ylim=(0, max(y) * 1.2), ylabel="microseconds")
        if max(x) / max(min(x), 1) > 50:
            axes.set_xscale("log")
    figure.tight_layout()
    return "growth", figure
