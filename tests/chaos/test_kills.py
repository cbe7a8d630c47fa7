"""F1 to F4, F5 in part: a worker is killed with SIGKILL at a point where something is half done, and started again."""

from __future__ import annotations

import pytest

from tests.chaos.arena import Arena
from tests.chaos.checks import Recorded

#: Where, at up to which visit (a point that a few shards reach once is not reached more often), for which scenario.
POINTS = [
    ("produce.ready", 12, "F1"),
    ("produce.done", 12, "F2"),
    ("commit.ready", 12, "F3"),
    ("commit.replied", 12, "F3"),
    ("step.ready", 12, "F4"),
    ("step.ended", 12, "F4"),
    ("batch.taken", 4, "F5"),
    ("take.sent", 6, "F5"),
    ("take.replied", 6, "F5"),
    ("load.replied", 6, "F5"),
]
FEW = 6
CASES = [pytest.param(point, most, id=point, marks=pytest.mark.scenario(name)) for point, most, name in POINTS]


@pytest.mark.parametrize(("point", "most"), CASES)
def test_a_kill_loses_nothing_and_repeats_nothing(arena: Arena, point: str, most: int) -> None:
    """F1, F2, F3, F4: K1, K2, K3, K4, K5, K8; what was recorded before a kill never runs again after it."""
    kills = arena.scaled(2 if most > FEW else 1, 15)
    chunk = arena.scaled(60, 200)
    recorded = []
    for _ in range(kills):
        visit = arena.random.randint(1, most)
        print(f"killing at {point}, visit {visit}")  # noqa: T201
        worker = arena.crew.start(f"{point}=kill@{visit}", instance="one", session_ms=6000)
        arena.traffic.mixed(chunk)
        worker.wait_killed(20)
        recorded.append(Recorded.now(arena.store, arena.ledger))
    arena.crew.start(instance="one", session_ms=6000)
    arena.traffic.mixed(chunk)
    arena.allowed_repeats = sum(one.unrecorded for one in recorded)
    arena.answer_all()
    arena.expect_none([again for one in recorded for again in one.run_again(arena.ledger)])
