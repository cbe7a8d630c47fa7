"""F19: clients that produce the same record twice."""

from __future__ import annotations

import pytest

from tests.chaos.arena import Arena


@pytest.mark.scenario("F19")
def test_records_that_were_produced_twice_run_once(arena: Arena) -> None:
    """F19: the copy comes at once, after the end, and after the shards have moved; K1-K5, no step twice."""
    traffic = arena.traffic
    first = arena.crew.start(instance="one")
    for _ in range(arena.scaled(3, 20)):
        before = len(traffic.requests)
        traffic.mixed(60)
        batch = list(traffic.requests.values())[before:]
        for request in arena.random.sample(batch, 20):
            traffic.produce(request)
        traffic.flush()
        assert not traffic.collect(30), arena.crew.words()
        for request in arena.random.sample(batch, 20):
            traffic.produce(request)
        traffic.flush()
    arena.wait_quiet()
    first.close()
    arena.crew.start(instance="one")
    for request in arena.random.sample(batch, 20):
        traffic.produce(request)
    arena.answer_all()
    bodies = [id_ for step, id_ in arena.ledger.lines() if step == "body"]
    # A body runs again from its journal; that of an errand that is over does not.
    finished = {str(request.id) for request in traffic.errands}
    assert set(bodies) == finished
