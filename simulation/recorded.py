"""Recorded: a schedule as text, which means the same whatever ``make_schedule`` becomes."""

import json
from dataclasses import asdict
from typing import Any

from inngest_connect.core.settings import CoreSettings
from inngest_connect.testing.model.settings import GatewaySettings

from .entry import Entry
from .schedule import Schedule


def recorded(schedule: Schedule) -> str:
    """Return a schedule as JSON, without the settings that are defaults."""
    values = asdict(schedule)
    entries = [list(asdict(entry).values()) for entry in schedule.entries]
    values["core"] = _differing(asdict(schedule.core), asdict(CoreSettings()))
    for name in ("gateway", "odd_gateways"):
        if values[name] is not None:
            values[name] = _differing(values[name], asdict(GatewaySettings()))
    del values["entries"]
    lines = ",\n".join(f"    {json.dumps(entry)}" for entry in entries)
    head = json.dumps(values, indent=2).removesuffix("\n}")
    return f'{head},\n  "entries": [\n{lines}\n  ]\n}}\n'


def replayed(text: str) -> Schedule:
    """Return the schedule of a record."""
    values = json.loads(text)
    values["core"] = CoreSettings(**values["core"])
    for name in ("gateway", "odd_gateways"):
        if values.get(name) is not None:
            values[name] = GatewaySettings(**values[name])
    values["entries"] = tuple(
        Entry(at, kind, amount, tuple(detail) if isinstance(detail, list) else detail)
        for at, kind, amount, detail in values["entries"]
    )
    return Schedule(**values)


def _differing(values: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != defaults[name]}
