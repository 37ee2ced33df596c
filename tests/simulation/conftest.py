"""Fixtures of the simulation's tests."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture
def collected() -> Iterator[None]:
    """What a killed process leaves is collected here, where it is ignored, not in another test."""
    yield
    gc.collect()
