"""Waiting handlers cost store, not memory: tens of thousands on one worker, and some of them that go on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from barnabas.contract.ids import awakeable_id
from barnabas.devstack.stack import Addresses
from barnabas.runtime.limits import Limits
from barnabas.runtime.live import SUSPENDED
from tests.chaos.outside import Asked
from tests.chaos.processes import WorkerProcess
from tests.chaos.stage import Stage

MOST_BYTES = 2048
#: Coroutines that a shard keeps.
KEPT = Limits().waiting_attempts

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc"),
]


@pytest.fixture
def stage(barnabas_stack: Addresses, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(barnabas_stack, tmp_path, Random(1), partitions=2)
    try:
        yield stage
    finally:
        stage.close()


@pytest.mark.parametrize("handler", ["wait_for_ever", "linger"])
def test_memory_of_waiting_invocations(stage: Stage, handler: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each waits for an awakeable, or for a sleep of an hour; most are suspended as there are so many.

    With fewer than 100,000, what a worker keeps in any case (buffers, some thousand coroutines) would hide the cost of
    one more.
    """
    first, more = 10_000, 90_000
    worker = stage.worker(session_ms=6000)
    stage.warm_up()
    memory = [at_rest(worker)]
    waiting = []
    for count in (first, more):
        waiting += start(stage, handler, count)
        settle(stage, len(waiting))
        memory.append(at_rest(worker))
    each = (memory[2] - memory[1]) * (1 << 20) / more
    all_told = (memory[2] - memory[0]) * (1 << 20) / len(waiting)
    with capsys.disabled():
        figures = f"{all_told:.0f} bytes each in the worker, one more {each:.0f}"
        print(f"\n{len(waiting):,} invocations wait ({handler}): {figures}")  # noqa: T201
    some = waiting[:: len(waiting) // 100]
    for one in some:
        stage.outside.asked[one.request] = one
        if handler == "linger":
            stage.outside.cancel(one.id)
        else:
            stage.outside.resolve(awakeable_id(one.id, 1), "value")
    wanted = (409, "cancelled") if handler == "linger" else "value"
    assert stage.answers(some, 60) == [wanted] * len(some)
    assert each < MOST_BYTES
    assert all_told < MOST_BYTES


def at_rest(worker: WorkerProcess) -> float:
    """What the worker takes (MB) once it takes no less for two seconds: it lets go of what it read a second later."""
    lowest, since = worker.megabytes(), time.monotonic()
    while time.monotonic() - since < 2:
        time.sleep(0.1)
        now = worker.megabytes()
        if now < lowest:
            lowest, since = now, time.monotonic()
    return lowest


def start(stage: Stage, handler: str, count: int) -> list[Asked]:
    """So many that wait."""
    started = [stage.outside.make(f"Talk/{handler}", None, 3_600_000) for _ in range(count)]
    for one in started:
        stage.outside.produce_unheard(one)
    stage.outside.flush()
    return started


def settle(stage: Stage, count: int) -> None:
    """Until all of them wait, and those are suspended that are too many."""
    stage.wait_for(lambda: stage.count_live("Talk") == count, "all of them are accepted", 300)
    suspended = count - stage.partitions * KEPT
    stage.wait_for(lambda: stage.count_live("Talk", SUSPENDED) >= suspended, "most of them are suspended", 300)
