"""Generated requests, programs and results of steps: both paths do the same."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .both_paths import ERROR, EVENT, SLUGS, BothPaths, hashed, request
from .path_functions import DOINGS

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def paths() -> BothPaths:
    return BothPaths()


STEP_IDS = st.sampled_from(["a", "b", "a:1"])
NAMES = st.sampled_from([name for name in DOINGS if name not in ("deep", "long text")])
INSTRUCTIONS = st.recursive(
    st.one_of(
        st.tuples(st.just("do"), NAMES),
        st.tuples(st.sampled_from(["step", "model step"]), STEP_IDS, NAMES),
        st.tuples(st.sampled_from(["nested", "sleep until", "wait"]), STEP_IDS),
        st.tuples(st.just("invoke"), STEP_IDS, st.none() | st.just({"x": 1})),
        st.tuples(st.just("log"), st.text(max_size=3)),
        st.tuples(
            st.just("parallel"),
            st.sampled_from(["WAIT", "RACE"]),
            st.tuples(STEP_IDS, NAMES),
            st.tuples(STEP_IDS, NAMES),
        ),
    ),
    lambda inside: st.tuples(st.sampled_from(["try", "swallow"]), inside, inside),
    max_leaves=4,
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inside: st.lists(inside, max_size=2) | st.dictionaries(st.text(max_size=2), inside),
    max_leaves=4,
)
RESULTS = st.one_of(VALUES, st.just(ERROR), st.fixed_dictionaries({"data": VALUES}))
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "events": st.none() | st.lists(st.just(EVENT) | VALUES, max_size=2),
        "steps": st.dictionaries(STEP_IDS.map(hashed), RESULTS, max_size=3) | VALUES,
        "extra": VALUES,
    },
)
CONTEXTS = st.fixed_dictionaries(
    {},
    optional={
        "attempt": st.integers(0, 4) | VALUES,
        "max_attempts": st.none() | st.integers(1, 4),
        "disable_immediate_execution": st.booleans() | VALUES,
        "run_id": st.text(max_size=3) | VALUES,
        "stack": st.just({"stack": None}) | VALUES,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    program=st.lists(INSTRUCTIONS, max_size=4),
    slug=st.sampled_from([*SLUGS, "async", "app-seen", "app-model", "none"]),
    steps=st.dictionaries(STEP_IDS.map(hashed), RESULTS, max_size=3),
    body=BODIES,
    ctx=CONTEXTS,
    target=st.sampled_from(["", "step", hashed("a"), hashed("b"), "x"]),
    job_id=st.sampled_from(["", "j"]),
)
async def test_generated_requests(
    paths: BothPaths, program: Any, slug: str, steps: Any, body: Any, ctx: Any, target: str,
    job_id: str,
) -> None:  # fmt: skip
    await paths.compare(
        request(program, slug, steps=steps, body=body, ctx=ctx, step_id=target, job_id=job_id)
    )
