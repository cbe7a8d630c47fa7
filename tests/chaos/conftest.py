"""Fixtures of the crash tests, and the choice of scenarios."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from barnabas.devstack.stack import Addresses
from tests.chaos.arena import Arena
from tests.chaos.stage import Stage

SEED = os.environ.get("BARNABAS_CHAOS_SEED")
SCENARIO = os.environ.get("BARNABAS_CHAOS_SCENARIO")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "scenario(*names): scenarios of the fault list that the test covers: F9, ...")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With BARNABAS_CHAOS_SCENARIO set, leave the other scenarios out."""
    if SCENARIO is None:
        return
    wanted = [item for item in items if any(SCENARIO in mark.args for mark in item.iter_markers("scenario"))]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's random choices: BARNABAS_CHAOS_SEED, or another every time. Shown when the test fails."""
    seed = int(SEED) if SEED else zlib.crc32(uuid4().bytes)
    print(f"seed {seed} (BARNABAS_CHAOS_SEED={seed} repeats the choices)")  # noqa: T201
    return seed


@pytest.fixture
def arena(barnabas_stack: Addresses, tmp_path: Path, seed: int) -> Iterator[Arena]:
    """An arena on the session's servers."""
    arena = Arena(barnabas_stack, tmp_path, Random(seed))
    try:
        yield arena
    finally:
        arena.close()


@pytest.fixture
def stage(barnabas_stack: Addresses, tmp_path: Path, seed: int, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """A stage on the session's servers; parametrized, with so many partitions."""
    stage = Stage(barnabas_stack, tmp_path, Random(seed), getattr(request, "param", 4))
    try:
        yield stage
    finally:
        stage.close()
