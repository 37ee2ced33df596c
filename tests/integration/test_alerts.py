"""docs/alerts.yaml: promtool accepts it, the rules fire when they should, and their names exist."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from inngest_connect.observability import metric_table
from tests.pages import ROOT, anchors

pytestmark = pytest.mark.integration
RULES = ROOT / "docs" / "alerts.yaml"
CASES = Path(__file__).with_name("alerts.test.yaml")
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool, which comes with Prometheus, is not installed"
)


def promtool(*arguments: object) -> None:
    assert PROMTOOL is not None
    command = [PROMTOOL, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_prometheus_accepts_the_rules() -> None:
    promtool("check", "rules", RULES)


@needs_promtool
def test_they_fire_when_they_should(tmp_path: Path) -> None:
    for file in (RULES, CASES):
        shutil.copy(file, tmp_path)

    promtool("test", "rules", tmp_path / CASES.name)


def test_every_metric_that_they_use_is_exported() -> None:
    known = {
        name.replace(".", "_") for name in (*metric_table.OBSERVABLES, *metric_table.HISTOGRAMS)
    }
    used = set(re.findall(r"inngest_connect_\w+", RULES.read_text(encoding="utf-8")))

    assert {re.sub(r"(_seconds|_bytes)?(_total)?$", "", name) for name in used} <= known


def test_every_alert_has_a_runbook_that_exists_and_is_on_the_page_of_metrics() -> None:
    text = RULES.read_text(encoding="utf-8")
    alerts = re.findall(r"- alert: (\w+)", text)
    runbooks = re.findall(r"runbook: (\S+)", text)
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")

    assert len(alerts) == len(runbooks) == len(set(alerts)) > 10
    for runbook in runbooks:
        name, _, anchor = runbook.partition("#")
        assert anchor in anchors(ROOT / "docs" / name), runbook
    assert re.findall(r"^\| `(Inngest\w+)` \|", page, re.M) == alerts
