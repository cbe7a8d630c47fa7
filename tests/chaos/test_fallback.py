"""F63: the store falls back to an older state, and no connection notices."""

from __future__ import annotations

import math

import pytest

from tests.chaos.arena import Arena


@pytest.mark.scenario("F63")
@pytest.mark.parametrize("lost", ["some", "everything"])
def test_an_idle_worker_notices_that_the_store_fell_back(arena: Arena, lost: str) -> None:
    """F63: noticed within seconds (R4, R5), everything since then runs again from Kafka: K1-K3, K5."""
    arena.crew.start()
    arena.traffic.mixed(arena.scaled(100, 300))
    if lost == "some":
        assert arena.traffic.wait_answered(50, 20)  # in the middle of the work
    older = arena.store.dump() if lost == "some" else {}
    arena.traffic.mixed(arena.scaled(100, 300))
    assert not arena.traffic.collect(30), arena.crew.words()
    arena.wait_quiet()
    arena.store.fall_back(older)
    arena.watch.forget()  # numbers start again below
    arena.wait_quiet(15)
    arena.allowed_repeats = arena.allowed_late = math.inf  # the effects of the lost time happen twice (DESIGN.md 11)
    arena.fell_back = True
    arena.answer_all()
    arena.traffic.mixed(50)
    arena.answer_all()
