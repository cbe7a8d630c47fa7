"""What a durable step costs: commands to the store, as the server itself counts them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from barnabas.devstack.stack import Addresses
from tests.chaos.monitor import CommitWatch
from tests.chaos.stage import Stage

STEPS = 200
#: Offsets that move, outbox entries that leave, a look at the lease now and then: these have commands of their own.
BESIDES = 20


@pytest.fixture
def stage(barnabas_stack: Addresses, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(barnabas_stack, tmp_path, Random(1), partitions=1)
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize(("writes", "most"), [(False, 1), (True, 2)], ids=["steps", "writes-and-steps"])
def test_a_step_costs_at_most_two_round_trips(
    stage: Stage, writes: bool, most: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A result is one commit; what was written before a step must be in the store first (R12): one more."""
    stage.worker(session_ms=6000)
    assert stage.answer(stage.outside.call("Once/steps", "warm", [1, writes])) == 1
    stage.wait_quiet()
    watch = CommitWatch(stage.addresses.redis, stage.names.namespace)
    try:
        assert stage.answer(stage.outside.call("Once/steps", "k", [STEPS, writes]), 60) == STEPS
        commands = watch.commands.copy()
    finally:
        watch.close()
    each = commands["EVALSHA"] / STEPS
    with capsys.disabled():
        print(f"\na step takes {each:.2f} commands to the store: {dict(commands)}")  # noqa: T201
    assert STEPS <= commands["EVALSHA"] <= most * STEPS + BESIDES
    assert commands.total() - commands["EVALSHA"] <= BESIDES
