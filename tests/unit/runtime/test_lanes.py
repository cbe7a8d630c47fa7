"""Key queues: order, what goes on beside it, and work that waits in the store because memory is bounded (R10, R11)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from barnabas import ObjectContext, ObjectSharedContext, VirtualObject
from barnabas.contract.ids import random_id
from barnabas.contract.records import Invocation, ReplyTo
from barnabas.runtime import live as statuses
from barnabas.runtime.limits import Limits
from tests.unit.runtime.harness import Bench


def bench_of_log(**limits: Any) -> Bench:
    """An object that writes down its calls; `nap` takes an hour."""
    made = VirtualObject("Obj")

    @made.handler()
    async def note(ctx: ObjectContext, word: str) -> list[str]:
        words = [*(await ctx.get("words") or []), word]
        ctx.set("words", words)
        return words

    @made.handler()
    async def nap(ctx: ObjectContext, seconds: float) -> None:
        await ctx.sleep(timedelta(seconds=seconds))

    @made.handler(kind="shared")
    async def look(ctx: ObjectSharedContext) -> Any:
        return await ctx.get("words")

    return Bench(made, limits=Limits(**limits))


def batch(bench: Bench, words: list[str], key: str = "a") -> list[bytes]:
    """Calls of `note`, read as one batch."""
    ids = [bytes(random_id("Obj", key)) for _ in words]
    bench.feed(
        *(
            Invocation(id_, "Obj", "note", key, f'"{word}"'.encode(), reply_to=ReplyTo("client", id_))
            for id_, word in zip(ids, words, strict=True)
        )
    )
    return ids


def test_exclusive_handlers_of_a_key_run_one_at_a_time_in_order_and_other_keys_go_on() -> None:
    bench = bench_of_log()
    nap = bench.call("nap", 3600, key="a")
    ids = batch(bench, ["one", "two", "three"])
    other = bench.call("note", "other", key="b")
    assert bench.replies == {other: ["other"]}
    bench.pass_time(3_600_000)
    assert [bench.replies[id_] for id_ in ids] == [["one"], ["one", "two"], ["one", "two", "three"]]
    assert nap in bench.replies
    assert bench.engine.lanes.values() == []


def test_shared_handlers_run_beside_an_exclusive_one() -> None:
    bench = bench_of_log()
    bench.call("note", "one", key="a")
    bench.call("nap", 3600, key="a")
    look = bench.call("look", key="a")
    assert bench.replies[look] == ["one"]


def test_a_retrying_invocation_keeps_its_place() -> None:
    tries: list[int] = []
    made = VirtualObject("Obj")

    @made.handler()
    async def note(ctx: ObjectContext, word: str) -> list[str]:
        if word == "flaky" and not tries:
            tries.append(1)
            raise ValueError("once")
        words = [*(await ctx.get("words") or []), word]
        ctx.set("words", words)
        return words

    bench = Bench(made)
    bench.call("note", "flaky", key="a")
    last = bench.call("note", "next", key="a")
    bench.pass_time(50)
    assert bench.replies[last] == ["flaky", "next"]


def test_the_order_of_acceptance_survives_a_take_over() -> None:
    bench = bench_of_log()
    bench.call("nap", 3600, key="a")
    ids = batch(bench, ["one", "two", "three"])
    bench.crash()
    bench.pass_time(3_600_000)
    assert bench.replies[ids[2]] == ["one", "two", "three"]


@pytest.mark.parametrize("spilled_bytes", [1 << 20, 0])
@pytest.mark.parametrize("crash", [False, True])
def test_what_waits_beyond_the_limit_waits_in_the_store_and_comes_back_in_order(
    spilled_bytes: int, crash: bool
) -> None:
    """R11. Without room for records in the store (`spilled_bytes`), they are read again from Kafka."""
    bench = bench_of_log(queued=2, refill=3, spilled_bytes=spilled_bytes)
    bench.call("nap", 3600, key="a")
    words = [f"w{n}" for n in range(12)]
    ids = [id_ for at in range(0, 12, 4) for id_ in batch(bench, words[at : at + 4])]
    assert bench.engine.lanes.queued == 2
    assert bench.engine.lanes.spilled == 10
    assert len(bench.engine.live) == 3
    if crash:
        bench.crash()
        assert bench.engine.lanes.spilled == 10
    bench.pass_time(3_600_000)
    assert bench.replies[ids[-1]] == words
    assert bench.engine.lanes.values() == []
    assert bench.engine.lanes.spilled == bench.engine.lanes.queued == bench.engine.spilled_bytes == 0
    assert bench.stored("HGETALL", b"spill") == bench.stored("HGETALL", b"spn") == {}
    assert bench.stored("LRANGE", b"sp:a", 0, -1) == []


def test_a_crash_in_the_middle_of_a_refill_loses_and_doubles_nothing() -> None:
    bench = bench_of_log(queued=1, refill=2)
    bench.call("nap", 1, key="a")
    ids = batch(bench, [f"w{n}" for n in range(8)])
    bench.reads_wait = True
    bench.pass_time(1000)
    assert len(bench.reads) == 1
    bench.commits_wait = True
    bench.read()  # two entries came back; the commit that takes them out of the store's list is on its way
    bench.work()
    bench.commits_wait = bench.reads_wait = False
    bench.crash()
    assert bench.replies[ids[-1]] == [f"w{n}" for n in range(8)]


def test_a_spilled_invocation_that_is_read_again_is_a_duplicate() -> None:
    """F19, R10: in the same batch, before its commit, and after it."""
    bench = bench_of_log(queued=0)
    bench.call("nap", 3600, key="a")
    ids = [bytes(random_id("Obj", "a")) for _ in range(2)]
    calls = [
        Invocation(id_, "Obj", "note", "a", b'"%d"' % n, reply_to=ReplyTo("client", id_)) for n, id_ in enumerate(ids)
    ]
    bench.commits_wait = True
    bench.feed(calls[0], calls[1], calls[0])
    bench.feed(calls[1])
    bench.commits_wait = False
    while bench.commits:
        bench.commit()
    bench.work()
    bench.feed(calls[0])
    assert bench.engine.lanes.spilled == 2
    bench.pass_time(3_600_000)
    assert bench.replies[ids[1]] == ["0", "1"]
    assert bench.engine.lanes.values() == []


def test_an_input_that_retention_removed_while_it_waited_becomes_a_dead_letter_and_the_key_goes_on() -> None:
    bench = bench_of_log(queued=0, spilled_bytes=0)
    bench.call("nap", 3600, key="a")
    first, second = batch(bench, ["gone", "kept"])
    bench.kept = [record for record in bench.kept if b"gone" not in (record.value or b"")]
    bench.pass_time(3_600_000)
    assert bench.replies[second] == ["kept"]
    assert first not in bench.replies
    assert [letter.reason for letter in bench.dead_letters] == ["expired"]


# -- memory


def test_held_bytes_come_back_to_nothing() -> None:
    bench = bench_of_log(queued=3, refill=2)
    bench.call("nap", 1, key="a")
    batch(bench, ["x" * 1000] * 6)
    bench.call("nap", 1, key="b")
    assert bench.engine.held_bytes > 3000
    bench.crash()
    assert bench.engine.held_bytes < 100  # inputs are read when their turn comes
    bench.pass_time(1000)
    assert bench.engine.live == {}
    assert bench.engine.held_bytes == 0
    assert bench.engine.stepping.running == 0
    assert bench.engine.waiting == {}


def test_a_suspended_invocation_keeps_its_header_alone_and_goes_on_by_replay() -> None:
    bench = bench_of_log(inactivity_ms=1000)
    id_ = bench.call("nap", 3600, key="a")
    bench.pass_time(999)
    bench.engine.tidy()
    assert bench.live(id_).attempt is not None
    bench.pass_time(1)
    bench.engine.tidy()
    bench.work()
    live = bench.live(id_)
    assert live.attempt is None
    assert live.status == statuses.SUSPENDED
    bench.engine.tidy()
    assert (live.payload_loaded, live.journal_loaded, live.journal, bench.engine.held_bytes) == (False, False, [], 0)
    bench.pass_time(3_600_000)
    assert bench.replies == {id_: None}


def test_the_longest_waiting_are_suspended_when_too_many_wait() -> None:
    bench = bench_of_log(waiting_attempts=2)
    ids = [bench.call("nap", 3600, key=f"k{n}") for n in range(5)]
    bench.engine.tidy()
    assert [bench.live(id_).attempt is None for id_ in ids] == [True, True, True, False, False]


def test_payloads_of_what_waits_do_not_stay_in_memory() -> None:
    """R11: intake is held back by bytes in memory, so what waits must let go of them, however it waits."""
    made = VirtualObject("Obj")

    @made.handler()
    async def nap(ctx: ObjectContext, text: str) -> int:
        await ctx.sleep(timedelta(hours=1))
        return len(text)

    @made.handler()
    async def fail(ctx: ObjectContext, text: str) -> None:
        raise ValueError("no")

    bench = Bench(made, limits=Limits(held_bytes=5000))
    waiting = bench.call("nap", "x" * 4000, key="a")
    bench.call("nap", "x" * 4000, key="a")  # queued
    bench.call("fail", "x" * 4000, key="b")  # backing off
    for _ in range(3):
        bench.engine.tidy()
        bench.work()
    assert bench.engine.held_bytes <= 5000
    bench.pass_time(7_200_000)
    bench.pass_time(7_200_000)
    assert bench.replies[waiting] == 4000


def test_a_handler_that_waits_for_its_state_gets_its_input() -> None:
    """Its input may have been let go of meanwhile."""
    bench = bench_of_log(held_bytes=0)
    bench.reads_wait = True
    id_ = bench.call("note", "word", key="a")
    bench.engine.tidy()
    assert not bench.live(id_).payload_loaded
    while bench.reads:
        bench.read()
        bench.work()
    assert bench.replies == {id_: ["word"]}


def test_states_that_nobody_uses_are_forgotten_when_they_grow_too_large() -> None:
    bench = bench_of_log(state_bytes=3000)
    for n in range(20):
        bench.call("note", "x" * 200, key=f"k{n}")
    bench.engine.tidy()
    assert len(bench.engine.states) <= 20 * 3000 // (20 * 400)
    again = bench.call("note", "y", key="k0")
    assert bench.replies[again] == ["x" * 200, "y"]
