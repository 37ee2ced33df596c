"""Every feature of the SDK, with the official worker and with ours: the same replies.

One program, and one import line that differs. What a gateway sees besides declarations and replies
is compared in ``test_against_the_official_worker.py``.
"""

import asyncio
import datetime
import importlib.metadata
import inspect
import json
import logging
import re
from typing import Any

import inngest
import pytest
from inngest.connect._internal import execution_handler

from inngest_connect.protocol import connect_pb2 as pb
from inngest_connect.testing import EmbeddedGateway
from tests.characterization import features_of_declarations, features_of_runs  # noqa: F401 - declare them
from tests.characterization.features import FEATURES, LACKING, make_functions
from tests.characterization.observed import OFFICIAL, OURS, Facts, K, Peer, field_facts

pytestmark = [
    pytest.mark.characterization,
    pytest.mark.timeout(300),
    # Old versions of the official worker leave tasks behind.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
_PASSES_STEP_IDS = "STEP_ID" in inspect.getsource(execution_handler)
"""Whether this version of the official worker passes on which of several steps is asked for."""
FAILING = {
    "failure", "non-retriable-error", "on-failure", "output-that-is-not-json",
    "step-error-that-is-final",
}  # fmt: skip
OURS_ALONE = {"run_id"}
"""Fields that only our replies have, see docs/migration.md."""


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.getMessage()}")


async def seen_of(peer: Peer) -> dict[str, Facts]:
    """Facts by feature, and those of WORKER_CONNECT as the feature "declaration"."""
    logger = logging.getLogger("features")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    log = _Lines()
    logger.addHandler(log)
    async with EmbeddedGateway() as gateway:
        options: dict[str, Any] = {"logger": logger}
        if "pydantic-output" in FEATURES:
            options["serializer"] = inngest.PydanticSerializer()
        client = gateway.client("features", **options)
        worker = peer.connect(
            [(client, make_functions(client))], instance_id="instance", shutdown_signals=[]
        )
        started = asyncio.create_task(worker.start())
        try:
            await asyncio.wait_for(gateway.wait_for_worker(), 60)
            seen = {name: await _facts_of(name, gateway, log) for name in FEATURES}
            (connect,) = gateway.gateways[0].get_received_messages(K.WORKER_CONNECT)
            data = pb.WorkerConnectRequestData.FromString(connect.payload)
            for config in json.loads(data.apps[0].functions):
                name = str(config["id"]).removeprefix("features-")
                owner = name if name in seen else name.removesuffix("-failure")
                seen.setdefault(owner, {})[f"declared {name}"] = config
            return seen
        finally:
            await worker.close(wait=True)
            await asyncio.wait([started])
            logger.removeHandler(log)
            await client._http_client._http_client.aclose()


async def _facts_of(name: str, gateway: EmbeddedGateway, log: _Lines) -> Facts:
    log.lines.clear()
    gateway.sent_events.clear()
    gateway.provide_event("features/came", {"n": 1})
    before = len(gateway.gateways[0].get_received_messages(K.WORKER_REPLY))
    result = await asyncio.wait_for(gateway.invoke(f"features-{name}", **FEATURES[name].invoke), 60)
    replies = gateway.gateways[0].get_received_messages(K.WORKER_REPLY)[before:]
    facts: Facts = {
        "result": [result.status, result.attempts, result.requests],
        "deferred": [each.output for each in result.deferred],
        "log": log.lines.copy(),
        "events": [{k: v for k, v in each.items() if k != "ts"} for each in gateway.sent_events],
    }
    parsed = [pb.SDKResponse.FromString(each.payload) for each in replies]
    # Parallel steps are answered in any order.
    for number, reply in enumerate(sorted(parsed, key=lambda each: _constant(each.body))):
        facts[f"reply {number}.body"] = _constant(reply.body)
        reply.body = b""
        for path, value in field_facts(f"reply {number}", reply).items():
            if path.partition(".")[2] not in ("request_id", *OURS_ALONE):
                facts[path] = value
    return facts


_STACK = re.compile(r'"stack": "(?:[^"\\]|\\.)*"')
_ULID = re.compile(r"\b[0-7][0-9A-HJKMNP-TV-Z]{25}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z")


def _constant(body: bytes) -> str:
    """The body as text, without what differs from run to run."""
    text = json.dumps(json.loads(body or b"null"), sort_keys=True)
    return _TIME.sub(_from_now, _ULID.sub("a ULID", _STACK.sub('"stack": "..."', text)))


def _from_now(time: re.Match[str]) -> str:
    ahead = datetime.datetime.fromisoformat(time[0]) - datetime.datetime.now(datetime.UTC)
    # Years ahead only what a function names itself.
    return time[0] if ahead.days > 1000 else f"in {ahead / datetime.timedelta(minutes=1):.0f} min"


@pytest.fixture(scope="module")
def seen() -> tuple[dict[str, Facts], dict[str, Facts]]:
    """With the official worker and with ours."""

    async def both() -> tuple[dict[str, Facts], dict[str, Facts]]:
        return await seen_of(OFFICIAL), await seen_of(OURS)

    return asyncio.run(both())


@pytest.mark.parametrize("name", [*FEATURES, *LACKING])
def test_a_gateway_sees_the_same(
    name: str, seen: tuple[dict[str, Facts], dict[str, Facts]]
) -> None:
    version = importlib.metadata.version("inngest")
    if name in LACKING:
        pytest.skip(f"inngest {version} does not have {LACKING[name]}")
    if "parallel" in name and not _PASSES_STEP_IDS:
        pytest.skip(f"the official worker of inngest {version} returns None for parallel steps")
    official, ours = (facts[name] for facts in seen)

    assert ours == official
    assert ours["result"][0] == ("failed" if name in FAILING else "completed")
