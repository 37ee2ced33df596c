"""The constraints of the lowest tested versions fit together."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit
ROOT = Path(__file__).parents[2]


def test_the_parts_of_opentelemetry_are_of_one_release() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/lowest_requirements.py"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )

    lowest = dict(line.split("==") for line in done.stdout.splitlines())

    api, sdk = lowest["opentelemetry-api"], lowest["opentelemetry-sdk"]
    exporter = lowest["opentelemetry-exporter-prometheus"]
    assert sdk == api
    # 1.25 and 0.46b0 are one release; both count on together.
    assert re.fullmatch(rf"0\.{int(api.split('.')[1]) + 21}b\d+", exporter)
