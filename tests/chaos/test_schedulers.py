"""F32, F33: schedulers that are killed or frozen at a point where something is half done; standbys take over."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from barnabas.contract.ids import InvocationId
from barnabas.devstack.stack import Addresses
from tests.chaos.arena import FULL
from tests.chaos.delays import DAY_MS, Delays

#: Where, and at up to which visit.
KILLS = [
    ("batch.taken", 4),
    ("take.replied", 6),
    ("load.replied", 6),
    ("commit.ready", 12),
    ("commit.replied", 12),
    ("produce.ready", 8),
    ("produce.done", 8),
]
FREEZES = ("commit.ready", "commit.replied", "produce.ready", "produce.done")


@pytest.fixture
def delays(barnabas_stack: Addresses, tmp_path: Path, seed: int) -> Iterator[Delays]:
    delays = Delays(barnabas_stack, tmp_path, Random(seed))
    try:
        yield delays
    finally:
        delays.close()


def send_some(delays: Delays, count: int, within_ms: int) -> list[InvocationId]:
    ids = [delays.send(delays.random.randint(1, within_ms)) for _ in range(count)]
    delays.flush()
    return ids


@pytest.mark.scenario("F32")
@pytest.mark.parametrize(("point", "most"), KILLS)
def test_a_kill_loses_nothing_and_doubles_nothing(delays: Delays, point: str, most: int) -> None:
    """F32: each message reaches its target once, by id; nothing is left in the store."""
    ids = []
    for _ in range(10 if FULL else 2):
        visit = delays.random.randint(1, most)
        print(f"killing at {point}, visit {visit}")  # noqa: T201
        scheduler = delays.start(f"{point}=kill@{visit}", instance="one")
        while scheduler.is_running():
            ids += send_some(delays, 20, 500)
            delays.poll(0.05)
        scheduler.wait_killed(20)
    delays.start(instance="one")
    ids += send_some(delays, 50, 500)
    delays.wait_released(*ids)
    delays.poll(0.5)
    assert len(delays.accepted) == len(set(delays.accepted)), "the target takes some twice"
    assert set(delays.accepted) == set(ids)
    delays.check_nothing_left()


@pytest.mark.scenario("F33")
@pytest.mark.parametrize("point", FREEZES)
def test_a_scheduler_that_was_frozen_past_its_session_doubles_nothing(delays: Delays, point: str) -> None:
    """F33: stopped in the midst of a release, resumed when another one has done it; labels tell copies apart."""
    zombie = delays.start(f"{point}=stop@{delays.random.randint(2, 20)}", armed=False, session_ms=1500)
    other = delays.start(session_ms=1500)
    delays.wait_owners(zombie.pid, other.pid)
    zombie.arm()
    ids = []
    deadline = time.monotonic() + 20
    while not zombie.is_stopped():
        assert time.monotonic() < deadline, f"it does not reach {point}"
        ids += send_some(delays, 20, 300)
        delays.poll(0.02)
    delays.wait_owners(other.pid)
    ids += send_some(delays, 100, 300)
    delays.wait_released(*ids)
    zombie.send(signal.SIGCONT)
    ids += send_some(delays, 100, 300)
    delays.wait_owners(zombie.pid, other.pid)
    ids += send_some(delays, 100, 300)
    delays.wait_released(*ids)
    delays.poll(0.5)
    assert len(delays.accepted) == len(set(delays.accepted)), "the target takes some twice"
    assert set(delays.accepted) == set(ids)
    copies = sum(len(of_one) for of_one in delays.released.values()) - len(ids)
    print(f"{copies} second copies were told apart")  # noqa: T201
    delays.check_nothing_left()


@pytest.mark.scenario("F32")
@pytest.mark.timeout(900)
def test_a_standby_takes_over_with_much_due_and_much_more_pending(delays: Delays) -> None:
    """F32: killed when a lot becomes due at once; the standby releases all of it once, in order, in bounded time."""
    due, pending = (100_000, 1_000_000) if FULL else (5_000, 20_000)
    first = delays.start(session_ms=1500)
    for _ in range(pending):
        delays.send(delays.random.randint(DAY_MS, 3_650 * DAY_MS))
    delays.flush()
    delays.wait_waiting(pending, seconds=600)
    ids = [delays.send(30_000 if FULL else 5_000) for _ in range(due)]
    delays.flush()
    delays.wait_waiting(pending + due, seconds=120)
    standby = delays.start(session_ms=1500)
    delays.wait_owners(first.pid, standby.pid)
    delays.collect(lambda: len(delays.released) >= due // 10, "the first ones")
    first.send(signal.SIGKILL)
    killed = time.monotonic()
    delays.wait_owners(standby.pid)
    print(f"all shards are the standby's after {time.monotonic() - killed:.1f} s")  # noqa: T201
    delays.wait_released(*ids, seconds=300)
    print(f"all released after {time.monotonic() - killed:.1f} s")  # noqa: T201
    delays.check_once(ids)
    assert delays.waiting() == pending
