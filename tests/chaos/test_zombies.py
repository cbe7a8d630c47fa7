"""F9, F10, F13, F58: workers that believe they own what others own by now."""

from __future__ import annotations

import signal

import pytest

from tests.chaos.arena import FULL, Arena
from tests.chaos.checks import SHARDS
from tests.chaos.proxy import Proxy

POINTS = ("commit.ready", "produce.ready", "step.ready")
MORE_POINTS = ("commit.replied", "produce.done", "batch.taken")  # at its takes it owns nothing yet that it could lose


@pytest.mark.scenario("F9", "F10")
@pytest.mark.parametrize("point", [*POINTS, *MORE_POINTS] if FULL else POINTS)
def test_a_worker_that_was_frozen_past_its_session_changes_nothing(arena: Arena, point: str) -> None:
    """F9, F10: stopped where it is about to act, resumed after another one has finished its work; K1-K5, K8."""
    visit = arena.random.randint(2, 12)
    arena.say(f"freezing at {point}, visit {visit}")
    zombie = arena.crew.start(f"{point}=stop@{visit}", armed=False, BARNABAS_STEP_THREADS="1")
    arena.allowed_late = 1  # the one thread may be in the midst of an action
    arena.wait_owner(zombie.pid)
    other = arena.crew.start()
    arena.wait_owner(zombie.pid, other.pid)
    zombie.arm()
    chunk = arena.scaled(150, 1500)
    arena.traffic.mixed(chunk)
    arena.say("both own shards")
    zombie.wait_stopped(20)
    arena.say("one is frozen")
    arena.wait_owner(other.pid)
    arena.say("the other owns all")
    arena.traffic.mixed(chunk)
    assert not arena.traffic.collect(30), arena.crew.words()
    before = arena.watch.refused_calls()
    arena.say("everything is answered: the frozen one goes on")
    zombie.send(signal.SIGCONT)
    arena.traffic.mixed(chunk)
    arena.allowed_repeats = 3 * chunk
    arena.answer_all()
    if point == "commit.ready":
        assert arena.watch.refused_calls() > before, "the zombie's commit was never sent: nothing was tested"
    arena.say("everything is answered")
    arena.wait_owner(zombie.pid, other.pid)


@pytest.mark.scenario("F13")
def test_a_shard_that_goes_and_comes_back_while_handlers_run(arena: Arena) -> None:
    """F13: another member joins and leaves again and again; no stale record is taken, no completion is lost."""
    first = arena.crew.start()
    arena.wait_owner(first.pid)
    rounds, chunk = arena.scaled(2, 20), arena.scaled(100, 400)
    for _ in range(rounds):
        arena.traffic.mixed(chunk)
        second = arena.crew.start()
        arena.wait_owner(first.pid, second.pid)
        arena.traffic.mixed(chunk)
        second.send(signal.SIGTERM)
        assert second.wait(20) == 0, second.words()
        arena.wait_owner(first.pid)
    # A shard that is taken away drops the steps that it has at work; the new owner runs them.
    arena.allowed_repeats = rounds * chunk
    arena.answer_all()


@pytest.mark.scenario("F58")
def test_an_owner_whose_shards_are_taken_by_somebody_takes_them_again(arena: Arena) -> None:
    """F58: a member that the group does not know takes every shard; the group's own has them back soon (R4)."""
    worker = arena.crew.start()
    arena.wait_owner(worker.pid)
    for _ in range(arena.scaled(3, 30)):
        arena.traffic.mixed(50)
        for shard in SHARDS:
            arena.store.take(shard)
        for shard in SHARDS:
            arena.probe(shard)
        arena.traffic.mixed(50)
        assert not arena.traffic.collect(10), f"work stands still\n{arena.crew.words()}"
        arena.wait_owner(worker.pid, seconds=8)
    # A refused shard drops what it has at work and begins again from the store.
    arena.allowed_repeats = arena.scaled(300, 3000)
    arena.answer_all()


@pytest.mark.scenario("F58")
def test_two_members_that_both_believe_they_own_the_shards(arena: Arena) -> None:
    """F58: the old owner wakes up, its connection blips, it takes again, the group revokes: one owner, no orphan."""
    proxy = Proxy(arena.addresses.redis)
    try:
        old = arena.crew.start(BARNABAS_REDIS=proxy.url, BARNABAS_STEP_THREADS="1")
        arena.allowed_late = arena.scaled(1, 10)  # one for each time that it was frozen
        arena.wait_owner(old.pid)
        for _ in range(arena.scaled(1, 10)):
            arena.traffic.mixed(100)
            old.send(signal.SIGSTOP)
            new = arena.crew.start()
            arena.wait_owner(new.pid)
            arena.traffic.mixed(100)
            proxy.cut()
            old.send(signal.SIGCONT)
            arena.traffic.mixed(100)
            arena.wait_owner(old.pid, new.pid, seconds=8)
            for shard in SHARDS:
                arena.probe(shard)
            assert not arena.traffic.collect(8), f"work stands still\n{arena.crew.words()}"
            new.send(signal.SIGTERM)
            assert new.wait(20) == 0, new.words()
            arena.wait_owner(old.pid)
        arena.allowed_repeats = arena.scaled(300, 3000)
        arena.answer_all()
        most = max(len(leases) for leases in arena.watch.takes.values())
        assert most < 20 * arena.scaled(1, 10), f"a shard was taken {most} times"
    finally:
        arena.crew.close()
        proxy.close()
