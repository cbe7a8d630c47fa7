"""Calls that must not wait for themselves: which of them are looked at, and what becomes of those that do."""

from __future__ import annotations

from datetime import timedelta

import pytest

from barnabas import ObjectContext, VirtualObject
from barnabas.contract.ids import random_id
from barnabas.contract.records import Caller, Failure, SignalKind
from barnabas.runtime import effects as fx
from barnabas.runtime.limits import Limits
from barnabas.runtime.live import Live
from barnabas.store import keys
from tests.unit.runtime.harness import Bench

TEXT = "this call would wait for itself"
FAILED = Failure(409, TEXT)

strict = VirtualObject("Strict", on_deadlock="fail")
ran: list[str] = []


@strict.handler()
async def holds(ctx: ObjectContext) -> None:
    await ctx.sleep(timedelta(seconds=1))


@strict.handler()
async def quick(ctx: ObjectContext) -> str:
    ran.append(ctx.request().id)
    return "quick"


def bench_with(queued: int) -> Bench:
    ran.clear()
    bench = Bench(strict, limits=Limits(queued=queued))
    bench.call("holds", key="k")
    return bench


def call(bench: Bench) -> bytes:
    """A handler's call, which waits behind `holds`."""
    return bench.call("quick", key="k", caller=Caller(random_id("Strict", "other"), "Strict", "other", 1))


def asked(bench: Bench) -> list[Live]:
    """The calls that are to be looked at since the last call of this."""
    found = [one.live for one in bench.reads if isinstance(one, fx.CheckDeadlock)]
    bench.reads = []
    return found


@pytest.fixture(params=[2_000, 0], ids=["in memory", "in the store alone"])
def bench(request: pytest.FixtureRequest) -> Bench:
    bench = bench_with(request.param)
    bench.reads_wait = True
    return bench


def answers(bench: Bench) -> list[Failure | None]:
    return [signal.failure for signal in bench.signals if signal.kind is SignalKind.COMPLETION]


def test_a_call_is_looked_at_after_the_commit_that_queued_it(bench: Bench) -> None:
    bench.commits_wait = True
    id_ = call(bench)
    assert asked(bench) == []
    bench.commit()
    bench.work()
    assert [live.id for live in asked(bench)] == [id_]


def test_a_clients_request_is_not_looked_at(bench: Bench) -> None:
    bench.call("quick", key="k")
    assert asked(bench) == []
    assert bench.stored("HGETALL", keys.UNCHECKED) == {}


def test_a_call_that_waits_for_itself_fails_and_never_runs(bench: Bench) -> None:
    call(bench)
    [live] = asked(bench)
    bench.engine.deadlocks.fail(live, TEXT)
    bench.engine.deadlocks.looked_at(live)
    bench.reads_wait = False
    bench.work()
    assert answers(bench)[:1] == [FAILED]
    bench.pass_time(2_000)  # the key is free, and whose turn it is comes
    assert ran == []
    assert all(failure is not None for failure in answers(bench))
    assert not bench.engine.live
    for place in (keys.LIVE, keys.SPILL, keys.UNCHECKED, keys.PARKED, keys.HEADS):
        assert bench.stored("HGETALL", place) == {}, place


def test_a_call_that_does_not_runs_in_its_turn(bench: Bench) -> None:
    id_ = call(bench)
    [live] = asked(bench)
    bench.engine.deadlocks.looked_at(live)
    bench.work()
    assert bench.stored("HGETALL", keys.UNCHECKED) == {}
    bench.reads_wait = False
    bench.pass_time(2_000)
    assert len(ran) == 1
    assert not bench.engine.deadlocks.waits(live)
    bench.engine.deadlocks.fail(live, TEXT)  # a look that came late
    bench.work()
    assert answers(bench) == [None]
    assert id_ not in bench.engine.live


def test_a_new_owner_looks_again(bench: Bench) -> None:
    id_ = call(bench)
    bench.crash()
    assert [live.id for live in asked(bench)] == [id_]


def test_what_was_looked_at_in_the_store_is_not_looked_at_by_a_new_owner() -> None:
    bench = bench_with(0)
    bench.reads_wait = True
    call(bench)
    [live] = asked(bench)
    assert bench.engine.deadlocks.looked_at(live)
    bench.work()
    bench.crash()
    assert asked(bench) == []


def test_one_whose_turn_comes_near_before_anybody_looked_is_looked_at_in_memory() -> None:
    """Two wait in the store; the first one of the key ends, and they are read: the second one waits on."""
    bench = bench_with(0)
    bench.reads_wait = True
    first, second = call(bench), call(bench)
    before = {live.id: live for live in asked(bench)}
    assert set(before) == {first, second}
    bench.commits_wait = True
    bench.pass_time(1_000)
    while bench.commits or any(isinstance(one, (fx.Refill, fx.LoadStates)) for one in bench.reads):
        if bench.commits:
            bench.commit()
        bench.reads = [one for one in bench.reads if not isinstance(one, fx.CheckDeadlock)]
        if bench.reads:
            bench.read()
        bench.work()
    assert not any(bench.engine.deadlocks.waits(live) for live in before.values())
    assert bench.stored("HGETALL", keys.UNCHECKED) == {}
    assert len(ran) == 2
