"""PrometheusMetrics: what a running worker exports is what the documentation and dashboard name."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inngest_connect import WebSocketWorkerConnection, connect
from inngest_connect.observability import metric_table
from inngest_connect.testing import EmbeddedGateway, executor_request
from tests.integration.demo_apps import App, make_app

prometheus = pytest.importorskip("inngest_connect.status.prometheus")
client_parser = pytest.importorskip("prometheus_client.parser")
prometheus_client = pytest.importorskip("prometheus_client")

pytestmark = pytest.mark.integration

DOCS = Path(__file__).parents[2] / "docs"


class Observed:
    """A worker, its metrics, and the gateway that it works for."""

    def __init__(self, gateway: EmbeddedGateway) -> None:
        self.gateway = gateway
        self.app: App = make_app(gateway)
        self.worker: WebSocketWorkerConnection = connect([self.app.pair], max_worker_concurrency=4)
        self.metrics = prometheus.PrometheusMetrics(self.worker)

    def text(self) -> str:
        body, content_type = self.metrics.render()
        assert content_type.startswith("text/plain; version=")
        return str(body.decode())

    def sample(self, name: str, **labels: str) -> float | None:
        for family in client_parser.text_string_to_metric_families(self.text()):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return float(sample.value)
        return None


@pytest.fixture
async def observed() -> AsyncIterator[Observed]:
    async with EmbeddedGateway() as gateway:
        observed = Observed(gateway)
        async with observed.worker:
            yield observed
        observed.metrics.close()


async def a_day_with_everything(observed: Observed) -> None:
    """Functions, a failure, a refusal, an outage: whatever has no series without an event."""
    await observed.gateway.invoke(observed.app.functions["final"])
    await observed.gateway.invoke(observed.app.functions["echo"])
    refused, again = asyncio.Event(), asyncio.Event()
    observed.worker.add_event_listener("error", lambda _: refused.set())
    observed.gateway.gateways[0].send_executor_request(
        executor_request("app", "app-unknown", {}, request_id="r")
    )
    await asyncio.wait_for(refused.wait(), 10)
    observed.worker.add_event_listener("connected", lambda _: again.set())
    observed.gateway.gateways[0].simulate_connection_drop()
    await asyncio.wait_for(again.wait(), 10)


def exported(text: str) -> set[str]:
    """Names of families, as Prometheus queries them."""
    types = re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)
    return {name for name, kind in types if not name.endswith("_created")}


async def test_documentation_and_dashboard_name_what_is_exported_and_all_of_it(
    observed: Observed,
) -> None:
    await a_day_with_everything(observed)
    names = exported(observed.text())

    page = (DOCS / "metrics.md").read_text()
    rows = dict(re.findall(r"^\| `(inngest\.connect\.\S+)` \| `(\S+)` \|", page, re.MULTILINE))
    mentioned = {_family(name) for name in re.findall(r"inngest_connect_\w+", page)}
    dashboard = json.loads((DOCS / "grafana-dashboard.json").read_text())
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    asked = {
        _family(name) for query in queries for name in re.findall(r"inngest_connect_\w+", query)
    }

    assert set(rows) == {*metric_table.OBSERVABLES, *metric_table.HISTOGRAMS}
    assert set(rows.values()) == names
    assert mentioned == names
    assert asked == names, "the dashboard shows every metric"


def _family(name: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", name)


async def test_the_labels_that_expressions_use_exist(observed: Observed) -> None:
    await a_day_with_everything(observed)
    exported_labels = set(re.findall(r'[{,](\w+)="', observed.text()))
    text = (DOCS / "grafana-dashboard.json").read_text() + (DOCS / "metrics.md").read_text()

    used = {
        label.strip()
        for labels in re.findall(r"\bby \(([^)]*)\)", text)
        for label in labels.split(",")
    }

    assert used - {"instance", "job"} <= exported_labels


async def test_a_worker_is_read_while_it_works(observed: Observed) -> None:
    app = observed.app
    running = [asyncio.create_task(observed.gateway.invoke("app-wait")) for _ in range(2)]
    await asyncio.wait_for(app.seen.two_running.wait(), 10)

    during = observed.sample("inngest_connect_saturation")
    app.seen.release.set()
    await asyncio.gather(*running)
    await observed.gateway.wait_until_idle()

    done = {"function": "app-wait", "status": "DONE"}
    assert during == 0.5
    assert observed.sample("inngest_connect_saturation") == 0
    assert observed.sample("inngest_connect_requests_completed_total", **done) == 2
    assert observed.sample("inngest_connect_execution_duration_seconds_count", **done) == 2
    assert observed.sample("inngest_connect_connection_state", state="ACTIVE") == 1


async def test_neither_the_global_registry_nor_another_worker_shares_anything(
    observed: Observed,
) -> None:
    before = set(prometheus_client.REGISTRY._collector_to_names)
    other = Observed(observed.gateway)

    await observed.gateway.invoke(observed.app.functions["echo"])

    assert observed.sample("inngest_connect_requests_received_total") == 1
    assert other.sample("inngest_connect_requests_received_total") == 0
    assert set(prometheus_client.REGISTRY._collector_to_names) == before
    assert b"inngest_connect" not in prometheus_client.generate_latest()
    other.metrics.close()
    other.metrics.close()
    assert exported(other.text()) == set()
