"""Metrics for Prometheus and spans of OpenTelemetry.

    pip install "inngest-connect[status]"
    inngest-connect gateway          # in another terminal
    python examples/telemetry.py
    curl http://127.0.0.1:8288/invoke/telemetry-charge -d '{"data": {"amount": 42}}'
    curl http://127.0.0.1:8080/metrics

The console exporter prints the spans; replace it by the one of your collector. The span of an
execution has the span that Inngest names as its parent, and what the function starts as children.
"""

import logging
import os

import inngest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from inngest_connect import connect
from inngest_connect.status import StatusServer

client = inngest.Inngest(app_id="telemetry", is_production=False)
tracer = trace.get_tracer("shop")


@client.create_function(fn_id="charge", trigger=inngest.TriggerEvent(event="shop/ordered"))
async def charge(ctx: inngest.Context) -> str:
    """Its span is the current one here, and in sync functions and steps, too."""
    with tracer.start_as_current_span("ask the bank") as span:
        span.set_attribute("amount", str(ctx.event.data["amount"]))
    return "charged"


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    trace.set_tracer_provider(provider)

    worker = connect([(client, [charge])])
    url = StatusServer(worker, os.environ.get("METRICS_ADDRESS", "127.0.0.1:8080")).start()
    print(f"metrics: {url}/metrics", flush=True)
    worker.run()
    provider.shutdown()  # writes the spans that wait for the next batch
