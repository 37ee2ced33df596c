"""The fast path does what the plain path does: results byte by byte, hooks, log records."""

import json
from typing import Any

import inngest
import pytest

from inngest_connect.protocol import connect_pb2 as pb

from .both_paths import (
    ERROR,
    EVENT,
    HOOKS,
    SLUGS,
    BothPaths,
    Encryption,
    closed,
    hashed,
    hook_middleware,
    opened,
    request,
)
from .path_functions import DOINGS, MOMENT

pytestmark = pytest.mark.unit

KINDS = pytest.mark.parametrize("slug", SLUGS)


@pytest.fixture(scope="module")
def paths() -> BothPaths:
    return BothPaths()


@pytest.mark.parametrize("name", DOINGS)
@KINDS
async def test_every_output_and_every_error(paths: BothPaths, slug: str, name: str) -> None:
    for program in (
        [["return", name]],
        [["do", "text"], ["do", name], ["log", "after"]],
        [["log", "before"], ["step", "a", name], ["log", "after"]],
        [["try", ["do", name]]],
        [["parallel", "WAIT", ["a", name], ["b", "text"]]],
    ):
        await paths.compare(request(program, slug))
        assert paths.was_fast
        await paths.compare(request(program, slug, ctx={"attempt": 3, "max_attempts": 4}))
        await paths.compare(request(program, slug, step_id=hashed("a")))
        assert paths.was_fast


@pytest.mark.parametrize("name", DOINGS)
async def test_outputs_with_a_type(paths: BothPaths, name: str) -> None:
    await paths.compare(request(name, "app-model"))
    assert paths.was_fast


PROGRAMS: dict[str, list[Any]] = {
    "steps in a row": [["step", "a", "text"], ["log", "between"], ["step", "b", "zero"]],
    "one id twice": [["step", "a", "text"], ["step", "a", "zero"], ["step", "a", "none"]],
    "failing step": [["try", ["step", "a", "ValueError"]], ["step", "b", "text"]],
    "typed step": [["model step", "a", "model"], ["step", "b", "text"]],
    "parallel": [["parallel", "WAIT", ["a", "text"], ["b", "zero"]], ["step", "c", "text"]],
    "racing": [["parallel", "RACE", ["a", "text"], ["b", "ValueError"]], ["step", "c", "text"]],
    "empty group": [["parallel", "WAIT"], ["step", "a", "text"]],
    "nested": [["nested", "a"], ["step", "b", "text"]],
    "sleeping": [["sleep until", "a"], ["log", "awake"], ["sleep until", "b"]],
    "waiting": [["wait", "a"], ["step", "b", "text"]],
    "invoking": [["invoke", "a", {"x": 1}], ["invoke", "b", None]],
    "swallowed": [["swallow", ["step", "a", "text"]], ["do", "text"]],
    "unreturnable": [["step", "a", "text"], ["return", "nan"]],
}
MEMOS: tuple[dict[str, Any], ...] = (
    {},
    {"a": {"data": "memo"}},
    {"a": None},
    {"a": EVENT},
    {"a": ERROR},
    {"a": {"data": {"name": "m", "at": "2030-01-02T03:04:05Z"}}, "b": {"data": 0}},
    {"a": {"data": 1}, "a:1": {"data": 2}},
    {"a": {"data": 1}, "b": ERROR, "c": {"data": [3]}},
    {"unknown": {"data": 1}},
)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@KINDS
async def test_steps_memos_and_targets(paths: BothPaths, slug: str, program: Any) -> None:
    for memos in MEMOS:
        steps = {hashed(name): value for name, value in memos.items()}
        for planned in (False, True):
            for target in (None, "", "step", hashed("a"), hashed("b"), "unknown"):
                fields: dict[str, Any] = {} if target is None else {"step_id": target}
                ctx = {"disable_immediate_execution": planned}
                await paths.compare(request(program, slug, steps=steps, ctx=ctx, **fields))
                assert paths.was_fast


@pytest.mark.parametrize("slug", ["app-seen", "app-seen-sync"])
async def test_what_a_function_is_given(paths: BothPaths, slug: str) -> None:
    batch = [{**EVENT, "ts": n} for n in range(3)]
    for given_request in (
        request((), slug),
        request((), slug, job_id="", request_id=""),
        request((), slug, body={"events": batch, "event": batch[0]}),
        request((), slug, body={"events": []}),
        request((), slug, ctx={"attempt": 7, "run_id": "", "stack": {"stack": None}}),
        request((), slug, body={"event": {"name": "x", "data": None, "user": {"v": 1}}}),
        request((), slug, body={"more": 1}, ctx={"more": 1, "qi_id": "q", "fn_id": "f"}),
    ):
        found = await paths.compare(given_request)
        assert paths.was_fast
        assert found["result"].status == pb.SDKResponseStatus.DONE


NO_EVENTS = json.loads(request().request_payload)
del NO_EVENTS["events"]
BROKEN: dict[str, pb.GatewayExecutorRequestData] = {
    "no function": request(slug="app-none"),
    "no slug": request(slug=""),
    "no failure handler": request(slug="app-model-failure"),
    "nothing": request(payload=b""),
    "not JSON": request(payload=b"{"),
    "not text": request(payload=b'{"ctx": "\xff"}'),
    "a list": request(payload=b"[]"),
    "too deep": request(payload=b'{"event": ' + b"[" * 100_000),
    "no events": request(body={"events": None}),
    "left out": request(payload=json.dumps(NO_EVENTS).encode()),
    "wrong type": request(ctx={"attempt": "0"}),
    "no steps": request(body={"steps": None}),
    "event without name": request(body={"event": {"data": {}}}),
    "NaN": request(payload=request().request_payload.replace(b'"ts": 1', b'"ts": NaN')),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
async def test_what_cannot_be_run_is_left_to_the_plain_path(broken: Any) -> None:
    paths = BothPaths(lambda hooks: [hook_middleware(hooks, "one", is_async=False)])

    found = await paths.compare(broken)

    assert not paths.was_fast
    assert found["result"].status == pb.SDKResponseStatus.ERROR
    assert [hook for _, hook, *_ in found["hooks"]] == ["__init__"]


async def test_ids_without_the_app(paths: BothPaths) -> None:
    for slug in ("async", "sync", "async-failure"):
        await paths.compare(request([["return", "text"]], slug))
        assert paths.was_fast


@pytest.mark.parametrize("is_async", [True, False])
@KINDS
async def test_the_hooks_of_middleware_and_their_order(slug: str, is_async: bool) -> None:
    """Async middleware of a sync function is an error, the same one for both."""
    paths = BothPaths(
        lambda hooks: [hook_middleware(hooks, name, is_async=is_async) for name in ("one", "two")],
        lambda hooks: [hook_middleware(hooks, "own", is_async=is_async)],
    )

    for program in (*PROGRAMS.values(), [["return", "text"]], [["return", "ValueError"]]):
        for memos in MEMOS[:2]:
            steps = {hashed(name): value for name, value in memos.items()}
            found = await paths.compare(request(program, slug, steps=steps))
            assert paths.was_fast
            assert [hook for _, hook, *_ in found["hooks"]][:3] == ["__init__"] * 3


@pytest.mark.parametrize("hook", ["__init__", *HOOKS])
@KINDS
async def test_middleware_that_raises(slug: str, hook: str) -> None:
    for is_async in (True, False):
        for others, own in ((hook, None), (None, hook)):
            paths = BothPaths(
                lambda hooks, raises=others, is_async=is_async: [
                    hook_middleware(hooks, "one", is_async=is_async, raises=raises),
                    hook_middleware(hooks, "two", is_async=is_async),
                ],
                lambda hooks, raises=own, is_async=is_async: [
                    hook_middleware(hooks, "own", is_async=is_async, raises=raises)
                ],
            )
            for program in ([["return", "text"]], [["return", "never"]], [["step", "a", "text"]]):
                await paths.compare(request(program, slug))
                assert paths.was_fast or hook == "__init__"


class Replacing(inngest.MiddlewareSync):
    """Turns errors into outputs and outputs into errors."""

    def transform_output(self, result: inngest.TransformOutputResult) -> None:
        if result.error is not None:
            result.error, result.output = None, f"not {result.error}"
        else:
            result.error, result.output = inngest.RetryAfterError("x", MOMENT), result.output


@KINDS
async def test_middleware_that_replaces_results(slug: str) -> None:
    paths = BothPaths(lambda hooks: [Replacing])

    for name in ("text", "ValueError", "set", "never"):
        for program in ([["return", name]], [["step", "a", name]]):
            await paths.compare(request(program, slug))
            assert paths.was_fast


@KINDS
async def test_middleware_that_encrypts(slug: str) -> None:
    paths = BothPaths(lambda hooks: [Encryption])
    program = [["step", "a", "mapping"], ["step", "b", "text"]]
    memo = closed("memo")

    for steps in ({}, {"a": {"data": memo}}, {"a": {"data": memo}, "b": {"data": memo}}):
        given_request = request(
            closed(program), slug, steps={hashed(name): value for name, value in steps.items()}
        )
        found = await paths.compare(given_request)
        assert paths.was_fast
    assert opened(json.loads(found["result"].body)) in (["memo"] * 2, ["failure", "memo", "memo"])


@pytest.mark.parametrize("threads", ["0", "1"])
async def test_any_number_of_threads(monkeypatch: pytest.MonkeyPatch, threads: str) -> None:
    monkeypatch.setenv("INNGEST_THREAD_POOL_MAX_WORKERS", threads)
    paths = BothPaths()

    for name in ("text", "ValueError", "interrupted"):
        await paths.compare(request([["return", name]], "app-sync"))
        assert paths.was_fast
    found = await paths.compare(request((), "app-seen-sync"))
    assert json.loads(found["result"].body)["main"] is (threads == "0")


async def test_a_client_in_production() -> None:
    paths = BothPaths(is_production=True, signing_key="signkey-prod-ab", env="branch")

    for name in ("text", "ValueError", "set"):
        await paths.compare(request([["return", name]]))
        assert paths.was_fast
