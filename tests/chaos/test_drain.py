"""F48: SIGTERM under load."""

from __future__ import annotations

import signal
import time

import pytest

from tests.chaos.arena import Arena


@pytest.mark.scenario("F48")
def test_sigterm_under_load_fails_nothing_and_runs_no_step_twice(arena: Arena) -> None:
    """F48: one of two workers leaves while both have work, again and again: K1-K5, K8, exit 0 in time."""
    environment = {"BARNABAS_DRAIN_SECONDS": "10"}
    workers = [arena.crew.start(session_ms=6000, **environment) for _ in range(2)]
    for round_ in range(arena.scaled(2, 10)):
        arena.wait_owner(*(worker.pid for worker in workers))
        arena.traffic.mixed(arena.scaled(300, 2000))
        slow = {str(arena.traffic.errand("slow_errand").id) for _ in range(24)}
        arena.traffic.flush()
        arena.wait_for(lambda slow=slow: slow <= set(arena.ledger.by_invocation()), "slow steps are at work")  # type: ignore[misc]
        leaver = workers.pop(0)
        began = time.monotonic()
        leaver.send(signal.SIGTERM)
        assert leaver.wait(14) == 0, f"it did not drain\n{leaver.words()}"
        print(f"round {round_}: drained in {time.monotonic() - began:.2f} s")  # noqa: T201
        # A member that joins takes shards away from those that are at work, which F13 is about.
        assert not arena.traffic.collect(30), arena.crew.words()
        workers.append(arena.crew.start(session_ms=6000, **environment))
    arena.answer_all()


@pytest.mark.scenario("F48")
def test_a_second_sigterm_ends_at_once_and_loses_nothing(arena: Arena) -> None:
    """F48: like a kill, while it drains."""
    worker = arena.crew.start(instance="one", session_ms=6000)
    arena.traffic.mixed(300)
    assert arena.traffic.wait_answered(50, 20), arena.crew.words()
    worker.send(signal.SIGTERM)
    worker.send(signal.SIGTERM)
    assert worker.wait(5) is not None, f"it still runs\n{worker.words()}"
    arena.crew.start(instance="one", session_ms=6000)
    arena.allowed_repeats = 300
    arena.answer_all()
