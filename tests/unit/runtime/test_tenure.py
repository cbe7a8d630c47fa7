"""The right to a shard: taking and keeping it; answers that are late, missing or no (R3-R5, R15, R17)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from barnabas import Context, ObjectContext, Service, VirtualObject
from barnabas.runtime import effects as fx
from barnabas.runtime.tenure import CHECK_MS, LINGER_MS, OUTAGE_MS, REFUSED_MS, State
from barnabas.store.port import Applied, Commit, Refused, StoreUnavailable
from tests.unit.runtime.harness import Bench

OUTAGE = StoreUnavailable("no answer")


def bench_of_counter() -> Bench:
    made = VirtualObject("Obj")

    @made.handler()
    async def add(ctx: ObjectContext) -> int:
        count = (await ctx.get("count") or 0) + 1
        ctx.set("count", count)
        return count

    return Bench(made)


def count(bench: Bench) -> bytes | None:
    found: bytes | None = bench.stored("HGET", b"st:a", "count")
    return found


def test_a_shard_is_taken_loaded_and_read_from_the_stored_offsets() -> None:
    bench = bench_of_counter()
    assert bench.tenure.state is State.ACTIVE
    assert bench.reading == [fx.ReadFrom(None, None, bench.tenure.epoch)]
    bench.call("add", key="a")
    bench.crash()
    assert bench.reading[-1] == fx.ReadFrom(1, None, bench.tenure.epoch)


# -- R3: a commit whose reply did not come


def lost_reply(applied: bool) -> Bench:
    """A bench whose commit got no answer; it was applied, or it was not."""
    bench = bench_of_counter()
    bench.call("add", key="b")
    bench.commits_wait = bench.takes_wait = True
    bench.call("add", key="a")
    if applied:
        bench.core.commit(bench.commits[0])
    bench.commit(OUTAGE)
    assert bench.tenure.state is State.WAITING
    bench.pass_time(OUTAGE_MS[0])
    assert bench.tenure.state is State.TAKING
    return bench


def test_a_commit_without_a_reply_that_was_applied_is_gone_on_from() -> None:
    """F57, R3: nothing is sent again, and what waited for the commit happens."""
    bench = lost_reply(applied=True)
    engine = bench.engine
    bench.taken(bench.takes.pop())
    bench.work()
    assert bench.engine is engine
    assert bench.commits == [] or bench.commits[0].ops  # at most the acknowledged entries
    assert len(bench.replies) == 2
    assert count(bench) == b"1"


def test_a_commit_without_a_reply_that_was_not_applied_is_sent_again_under_the_new_lease() -> None:
    bench = lost_reply(applied=False)
    engine, before = bench.engine, bench.tenure.lease
    bench.taken(bench.takes.pop())
    bench.work()
    again = bench.commits[0]
    assert again.lease == bench.tenure.lease == before
    assert len(bench.replies) == 1
    bench.commit()
    bench.work()
    assert bench.engine is engine
    assert len(bench.replies) == 2
    assert count(bench) == b"1"


def test_a_store_whose_number_is_any_other_makes_the_shard_load_again() -> None:
    """R3, R5: it fell back, or somebody else has committed."""
    bench = bench_of_counter()
    snapshot = bench.core.snapshot()
    bench.call("add", key="a")
    bench.pass_time(LINGER_MS + 1)
    bench.commits_wait = True
    bench.call("add", key="a")
    engine = bench.engine
    bench.core.restore(snapshot)
    bench.commits_wait = False
    bench.commit(OUTAGE)
    bench.pass_time(OUTAGE_MS[0])
    assert bench.engine is not engine
    assert engine.closed
    assert bench.reading[-1] == fx.ReadFrom(None, None, bench.tenure.epoch)


def test_a_late_copy_of_a_commit_is_refused_after_the_shard_was_taken_again() -> None:
    """F57."""
    bench = lost_reply(applied=False)
    bench.takes_wait = False
    late = bench.core
    copy = bench_commit(bench)
    bench.taken(bench.takes.pop())
    bench.work()
    assert late.commit(copy) == Refused("lease", copy.number - 1)


def bench_commit(bench: Bench) -> Any:
    """The commit of unknown fate, as it was sent."""
    commit = bench.tenure._flight
    assert commit is not None
    return commit


def test_an_answer_to_a_commit_that_is_no_longer_under_way_says_nothing() -> None:
    bench = lost_reply(applied=False)
    old = bench_commit(bench)
    bench.tenure.on_commit(old, Applied(), bench.now)
    assert bench.tenure.state is State.TAKING
    bench.taken(bench.takes.pop())
    bench.work()
    bench.tenure.on_commit(old, Refused("lease", 0), bench.now)
    assert bench.tenure.state is State.ACTIVE


def test_the_answer_to_an_abandoned_take_is_ignored() -> None:
    bench = bench_of_counter()
    bench.takes_wait = True
    bench.crash()
    first = bench.takes.pop()
    bench.tenure.on_store_unavailable(first, bench.now)
    bench.pass_time(OUTAGE_MS[0])
    second = bench.takes.pop()
    bench.taken(first)
    assert bench.tenure.state is State.TAKING
    bench.taken(second)
    bench.work()
    assert bench.tenure.state is State.ACTIVE


# -- R4, R5


def test_a_refused_owner_takes_the_shard_again_after_a_short_random_wait() -> None:
    """F58, R4."""
    bench = bench_of_counter()
    bench.call("add", key="a")
    bench.core.take(bench.shard, b"somebody else", "them")
    bench.call("add", key="a")
    assert bench.tenure.state is State.WAITING
    assert bench.tenure.engine is None
    wait = (bench.tenure.next_due() or 0) - bench.now
    assert REFUSED_MS[0] <= wait <= REFUSED_MS[1]
    bench.pass_time(wait)
    assert bench.tenure.state is State.ACTIVE
    assert bench.tenure.refusals == 1
    assert count(bench) == b"1"  # the second call was not committed: its record is read again
    assert bench.reading[-1] == fx.ReadFrom(1, None, bench.tenure.epoch)


def test_an_idle_owner_notices_that_the_shard_is_somebody_elses() -> None:
    """R4."""
    bench = bench_of_counter()
    bench.core.take(bench.shard, b"somebody else", "them")
    bench.pass_time(CHECK_MS - 1)
    assert bench.tenure.state is State.ACTIVE
    bench.pass_time(1)
    assert bench.tenure.state is State.WAITING


@pytest.mark.parametrize("commits_lost", [1, 2])
def test_an_idle_owner_notices_that_the_store_fell_back(commits_lost: int) -> None:
    """F63, R4, R5: under the same lease, and by one commit too."""
    bench = bench_of_counter()
    before = bench.core.snapshot()
    for _ in range(2):
        bench.call("add", key="a")
        bench.pass_time(LINGER_MS)
        bench.pass_time(LINGER_MS)
    number = bench.engine.number
    bench.core.restore(before)
    for again in range(number - commits_lost):  # the lease is the same: the take was not lost
        bench.core.commit(Commit(bench.shard, bench.tenure.lease, again + 1, [("SADD", b"x", b"1")]))
    bench.pass_time(CHECK_MS)
    assert bench.tenure.refusals == 1


def test_a_check_is_not_counted_as_a_commit() -> None:
    bench = bench_of_counter()
    bench.call("add", key="a")
    bench.pass_time(LINGER_MS)
    bench.pass_time(LINGER_MS)
    number = bench.stored("HGET", b"meta", "number")
    bench.pass_time(CHECK_MS)
    bench.pass_time(CHECK_MS)
    assert bench.stored("HGET", b"meta", "number") == number


# -- R15


def test_an_outage_is_no_refusal() -> None:
    """F17, R15: what is in memory stays, tries come further and further apart, and no attempts are used up."""
    bench = bench_of_counter()
    bench.commits_wait = bench.takes_wait = True
    bench.call("add", key="a")
    engine = bench.engine
    bench.commit(OUTAGE)
    waits = []
    for _ in range(7):
        waits.append((bench.tenure.next_due() or 0) - bench.now)
        bench.pass_time(waits[-1])
        bench.tenure.on_store_unavailable(bench.takes.pop(), bench.now)
    assert waits == [50, 100, 200, 400, 800, 1000, 1000]
    assert bench.engine is engine
    assert bench.tenure.refusals == 0
    assert engine.counts["attempts failed"] == 0


def test_a_load_without_an_answer_is_tried_again_from_the_take() -> None:
    bench = bench_of_counter()
    bench.takes_wait = True
    bench.crash()
    lease = bench.takes.pop()
    bench.tenure.on_taken(lease, bench.core.take(bench.shard, lease, "me"), bench.now)
    assert bench.tenure.state is State.LOADING
    bench.tenure.on_store_unavailable(lease, bench.now)
    assert bench.tenure.state is State.WAITING
    bench.takes_wait = False
    bench.tenure.drain()
    bench.pass_time(OUTAGE_MS[1])
    assert bench.tenure.state is State.ACTIVE


def test_nothing_is_due_while_an_answer_is_awaited() -> None:
    """A store that takes longer than the time between checks must not make the worker spin."""
    bench = bench_of_counter()
    bench.commits_wait = True
    bench.call("add", key="a")
    bench.pass_time(CHECK_MS * 2)
    assert bench.tenure.next_due() is None


# -- R17


def test_records_of_an_earlier_assignment_are_dropped() -> None:
    """F13, R17: also of one that another tenure of this process had."""
    bench = bench_of_counter()
    before = bench.tenure.epoch
    assert bench.tenure.takes_in(before)
    bench.crash()
    assert not bench.tenure.takes_in(before)
    assert bench.tenure.takes_in(bench.tenure.epoch)


def test_nothing_is_taken_in_before_the_shard_is_loaded() -> None:
    bench = bench_of_counter()
    bench.takes_wait = True
    bench.crash()
    assert not bench.tenure.takes_in(bench.tenure.epoch)


# -- gathering, and the end


def test_acknowledged_entries_leave_the_store_with_the_next_commit_or_after_a_while() -> None:
    bench = bench_of_counter()
    bench.call("add", key="a")
    assert len(bench.stored("HGETALL", b"out")) == 1
    bench.pass_time(LINGER_MS - 1)
    assert len(bench.stored("HGETALL", b"out")) == 1
    bench.pass_time(1)
    assert bench.stored("HGETALL", b"out") == {}
    bench.call("add", key="a")
    bench.call("add", key="a")
    assert len(bench.stored("HGETALL", b"out")) == 1


def test_after_a_session_ended_the_outbox_is_produced_again_from_its_head() -> None:
    """F59, R2: and what was asked for before does not come ahead of it."""
    bench = bench_of_counter()
    bench.acks_wait = True
    for _ in range(2):
        bench.call("add", key="a")
    bench.commits_wait = True
    bench.call("add", key="a")
    commit = bench.commits.pop()
    bench.tenure.on_commit(commit, bench.core.commit(commit), bench.now)  # its entry is asked for, and not produced yet
    bench.produced.clear()
    bench.tenure.on_session_over()
    bench.work()
    assert [number for number, _ in bench.produced] == [1, 2, 3]


def test_entries_of_a_commit_under_way_are_not_produced_by_a_new_session() -> None:
    bench = bench_of_counter()
    bench.acks_wait = True
    bench.call("add", key="a")
    bench.commits_wait = True
    bench.call("add", key="a")
    bench.call("add", key="a")  # gathers behind the commit
    bench.produced.clear()
    bench.tenure.on_session_over()
    bench.work()
    assert [number for number, _ in bench.produced] == [1]


@pytest.mark.parametrize("how", ["end", "halt"])
def test_a_tenure_that_ends_before_it_began_asks_for_nothing(how: str) -> None:
    bench = bench_of_counter()
    tenure = bench.make_tenure()
    getattr(tenure, how)()
    assert tenure.drain() == [fx.StopReading()]
    tenure.on_tick(bench.now + 100_000)
    assert tenure.drain() == []
    assert tenure.next_due() is None


def test_an_ended_tenure_drops_its_handlers() -> None:
    left: list[str] = []
    service = Service("Svc")

    @service.handler()
    async def run(ctx: Context) -> None:
        try:
            await ctx.sleep(timedelta(hours=1))
        finally:
            left.append("left")

    bench = Bench(service)
    bench.call("run")
    bench.tenure.end()
    assert left == ["left"]
