"""The scheduler's engine: release, order, cancel and attach, what it cannot take, over the store in memory (R8)."""

from __future__ import annotations

import pytest

from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Caller, Failure, Invocation, Label, ReplyTo, Signal, SignalKind
from barnabas.runtime.scheduling import scheduler as module
from barnabas.runtime.scheduling.waiting import LATEST_DUE
from barnabas.store import keys
from barnabas.store.port import StoreUnavailable
from tests.unit.runtime.delay_bench import NAMES, DelayBench

CANCELLED = Failure(409, "cancelled")
KILLED = Failure(409, "killed")


def test_a_message_is_stored_and_released_when_it_is_due() -> None:
    bench = DelayBench()
    id_ = bench.send(1_000, payload=b"hello")
    assert bench.in_store() == 1
    assert bench.tenure.next_due() is not None
    bench.pass_time(999)
    assert bench.released == []
    bench.pass_time(1)
    [released] = bench.released
    assert (released.id, released.payload, released.due) == (id_, b"hello", None)
    assert released.reply_to == ReplyTo("client", id_)
    assert released.waiters == []
    bench.pass_time(100)
    assert bench.in_store() == 0
    assert bench.stored("ZRANGE", keys.DUE, 0, -1) == []
    assert bench.stored("HLEN", keys.OUTBOX) == 0


def test_the_wake_up_is_at_the_due_time() -> None:
    bench = DelayBench()
    bench.send(70_000)
    bench.send(50_000)
    bench.pass_time(100)
    assert bench.engine.next_due() == bench.now + 49_900


def test_what_is_due_already_is_released_at_once_and_stored_nowhere() -> None:
    bench = DelayBench()
    ids = [bench.send(due) for due in (0, -5, -(10**15))]
    assert bench.released_ids == ids
    assert bench.in_store() == 0


def test_any_64_bits_are_a_due_time() -> None:
    bench = DelayBench()
    invocation = Invocation(random_id("Greeter", "k", delayed=True), "Greeter", "greet", "k", b"", due=-(2**63))
    late = Invocation(random_id("Greeter", "k", delayed=True), "Greeter", "greet", "k", b"", due=2**63 - 1)
    bench.feed(invocation, late)
    assert bench.released_ids == [invocation.id]
    assert [score for _, score in bench.stored("ZRANGE", keys.DUE, 0, -1)] == [LATEST_DUE]
    bench.crash()
    bench.now = LATEST_DUE
    bench.work()
    assert bench.released_ids == [invocation.id, late.id]


def test_order_is_that_of_due_times_then_of_arrival() -> None:
    bench = DelayBench()
    late, first, second, early = (bench.send(due, key="k") for due in (30, 20, 20, 10))
    bench.pass_time(100)
    assert bench.released_ids == [early, first, second, late]


def test_a_commit_releases_so_many_and_the_next_ones_follow() -> None:
    bench = DelayBench()
    ids = [bench.send(10, work=False) for _ in range(2 * module.BATCH + 1)]
    bench.work()
    bench.commits_wait = True
    bench.pass_time(10)
    [commit] = bench.commits
    [added] = [op for op in commit.ops if op[:2] == ("HSET", keys.OUTBOX)]
    assert len(added) == 2 + 2 * module.BATCH
    assert bench.engine.outbox.last == 2 * module.BATCH, "as many gather behind the commit under way, and no more"
    bench.commits_wait = False
    bench.commit()
    bench.work()
    assert bench.released_ids == ids


def test_releases_wait_for_room_in_the_outbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNACKNOWLEDGED", 3)
    bench = DelayBench()
    ids = [bench.send(10) for _ in range(5)]
    bench.acks_wait = True
    bench.pass_time(10)
    assert bench.released_ids == ids[:3]
    assert bench.engine.next_due() is None
    bench.acks_wait = False
    bench.acknowledge(3)
    bench.work()
    assert bench.released_ids == ids


# -- cancel, kill, attach


@pytest.mark.parametrize(("kind", "failure"), [(SignalKind.CANCEL, CANCELLED), (SignalKind.KILL, KILLED)])
def test_who_waits_for_a_cancelled_message_is_told(kind: SignalKind, failure: Failure) -> None:
    bench = DelayBench()
    id_ = bench.send(1_000)
    caller = Caller(random_id("Greeter", "c"), "Greeter", "c", 7)
    bench.signal(SignalKind.ATTACH, id_, caller=caller)
    bench.signal(kind, id_)
    assert bench.replies[id_].failure == failure
    [completion] = bench.signals
    assert (completion.invocation, completion.position, completion.call_id) == (caller.id, 7, id_)
    assert completion.failure == failure
    assert bench.in_store() == 0
    bench.pass_time(2_000)
    assert bench.released == []


def test_who_attaches_travels_with_the_released_message() -> None:
    bench = DelayBench()
    id_ = bench.send(1_000)
    other = ReplyTo("other", b"r" * 16)
    for _ in range(2):
        bench.signal(SignalKind.ATTACH, id_, reply_to=other)
    bench.signal(SignalKind.ATTACH, id_, reply_to=ReplyTo("client", id_))
    bench.crash()
    bench.pass_time(1_000)
    [released] = bench.released
    assert released.waiters == [other]


def test_a_cancel_of_what_is_due_at_this_instant_ends_it_or_follows_it() -> None:
    bench = DelayBench()
    first, second = bench.send(100), bench.send(100)
    bench.now += 100
    bench.feed(Signal(SignalKind.CANCEL, first), Signal(SignalKind.CANCEL, second))
    assert {id_: reply.failure for id_, reply in bench.replies.items()} == {first: CANCELLED, second: CANCELLED}
    assert bench.released == []
    third = bench.send(100)
    bench.pass_time(100)
    bench.signal(SignalKind.CANCEL, third)
    assert [(signal.kind, signal.invocation) for signal in bench.signals] == [(SignalKind.CANCEL, third)]
    assert third not in bench.replies


def test_a_signal_follows_its_message_only_after_that_was_acknowledged() -> None:
    """R6, R8."""
    bench = DelayBench()
    bench.acks_wait = True
    id_ = bench.send(0)
    bench.signal(SignalKind.CANCEL, id_)
    assert bench.released_ids == [id_]
    assert bench.signals == []
    bench.crash()
    assert bench.signals == []
    bench.acknowledge()
    bench.work()
    assert [signal.kind for signal in bench.signals] == [SignalKind.CANCEL]


def test_a_signal_for_one_that_never_waited_goes_to_its_target() -> None:
    bench = DelayBench()
    id_ = random_id("Greeter", "k", delayed=True)
    bench.signal(SignalKind.ATTACH, id_, reply_to=ReplyTo("client", id_))
    [signal] = bench.signals
    assert (signal.kind, signal.invocation, signal.reply_to) == (SignalKind.ATTACH, id_, ReplyTo("client", id_))


def test_a_signal_of_no_known_service_is_a_dead_letter_and_who_attaches_is_told() -> None:
    bench = DelayBench()
    id_ = random_id("Nobody", "k", delayed=True)
    bench.signal(SignalKind.ATTACH, id_, reply_to=ReplyTo("client", id_))
    assert [letter.reason for letter in bench.dead_letters] == ["unaddressed"]
    failure = bench.replies[id_].failure
    assert failure is not None
    assert failure.code == 404


def test_a_signal_for_a_handler_waits_and_follows_the_message() -> None:
    bench = DelayBench()
    id_ = bench.send(1_000)
    bench.signal(SignalKind.RESOLVE, id_, name="go", result=b"1")
    assert bench.signals == []
    bench.crash()
    bench.pass_time(1_000)
    assert bench.released_ids == [id_]
    [signal] = bench.signals
    assert (signal.kind, signal.name, signal.result) == (SignalKind.RESOLVE, "go", b"1")


# -- what comes twice, or wrong


def test_a_message_that_comes_twice_is_one() -> None:
    bench = DelayBench()
    id_ = bench.send(100)
    bench.send(100, id_=id_)
    bench.pass_time(100)
    bench.send(0, id_=id_)
    assert bench.released_ids == [id_]
    assert [signal.kind for signal in bench.signals] == [SignalKind.ATTACH]


def test_a_cancelled_message_that_comes_again_is_answered_again() -> None:
    bench = DelayBench()
    id_ = bench.send(100)
    bench.signal(SignalKind.CANCEL, id_)
    bench.crash()
    bench.produced.clear()
    bench.send(100, id_=id_)
    assert bench.replies[id_].failure == CANCELLED
    bench.pass_time(100)
    assert bench.released == []


def test_a_label_that_was_seen_is_dropped() -> None:
    bench = DelayBench()
    label = Label("Greeter/0", b"l" * 12, 5, 1, 1)
    id_ = bench.send(100, label=label)
    other = bench.send(100, label=Label("Greeter/0", b"l" * 12, 5, 1, 1))
    bench.signal(SignalKind.CANCEL, id_, label=Label("Greeter/0", b"l" * 12, 4, 1, 1))
    assert bench.engine.counts["duplicates dropped"] == 2
    bench.pass_time(100)
    assert bench.released_ids == [id_]
    assert other not in bench.released_ids


def test_what_nobody_can_read_is_a_dead_letter_and_the_partition_moves_on() -> None:
    bench = DelayBench()
    bench.feed(b"nonsense", b"")
    no_due = bench.send(None)
    assert [letter.reason for letter in bench.dead_letters] == ["undecodable", "undecodable", "unaddressed"]
    failure = bench.replies[no_due].failure
    assert failure is not None
    assert "no due time" in failure.message
    assert bench.stored("HGET", keys.META, b"inv") == b"3"


def test_what_lies_in_the_wrong_partition_is_sent_on() -> None:
    bench = DelayBench(partitions=4)
    id_ = random_id("Greeter", "key", delayed=True)
    while (wrong := InvocationId(id_).partition(4)) == 0:
        id_ = random_id("Greeter", f"key {id_.hex()}", delayed=True)
    bench.send(1_000, id_=id_)
    bench.signal(SignalKind.CANCEL, id_)
    sent = [(r.topic, r.partition) for _, r in bench.produced]
    assert sent == [(NAMES.delays, wrong), (NAMES.delays, wrong)]
    assert bench.in_store() == 0


def test_a_message_that_can_never_be_delivered_is_a_dead_letter_and_who_waits_is_told() -> None:
    bench = DelayBench()
    bench.acks_wait = True
    id_ = bench.send(0)
    bench.engine.on_undeliverable(bench.unacknowledged.pop(), "too large")
    bench.work()
    assert [letter.reason for letter in bench.dead_letters] == ["undeliverable"]
    assert bench.replies[id_].failure is not None


# -- services that nobody has registered


def test_a_message_for_an_unknown_service_waits_for_it_and_holds_nothing_up() -> None:
    bench = DelayBench()
    stranded = [bench.send(due, service="Later", key="k") for due in (10, 30, 20)]
    known = bench.send(15)
    bench.pass_time(50)
    assert bench.released_ids == [known]
    bench.crash()
    after = bench.send(0, service="Later", key="k")
    bench.pass_time(60_000)
    assert bench.released_ids == [known]
    assert bench.in_store() == 4
    bench.register("Later")
    bench.pass_time(1_000)
    assert bench.released_ids[1:] == [stranded[0], stranded[2], stranded[1], after]
    last = bench.send(0, service="Later", key="k")
    assert bench.released_ids[-1] == last
    assert bench.in_store() == 0
    assert bench.stored("SMEMBERS", keys.STRANDED) == set()


def test_one_that_waits_for_its_service_can_be_cancelled_and_attached_to() -> None:
    bench = DelayBench()
    cancelled, kept = (bench.send(10, service="Later") for _ in range(2))
    bench.pass_time(10)
    bench.crash()
    bench.signal(SignalKind.CANCEL, cancelled)
    bench.signal(SignalKind.ATTACH, kept, reply_to=ReplyTo("other", b"r"))
    assert bench.replies[cancelled].failure == CANCELLED
    bench.register("Later")
    bench.pass_time(1_000)
    [released] = bench.released
    assert (released.id, released.waiters) == (kept, [ReplyTo("other", b"r")])


# -- crashes


def test_a_release_whose_commit_was_lost_happens_once() -> None:
    bench = DelayBench()
    id_ = bench.send(100)
    bench.commits_wait = True
    bench.pass_time(100)
    commit = bench.commits[0]
    bench.core.commit(commit)
    bench.commit(StoreUnavailable("no reply"))  # it was applied, and nobody knows
    bench.commits_wait = False
    bench.pass_time(5_000)
    assert bench.released_ids == [id_]


def test_nothing_is_produced_before_its_commit_or_deleted_before_its_acknowledgement() -> None:
    """F33: a scheduler that freezes in the middle leaves the release to its successor, who sends the same label."""
    bench = DelayBench()
    id_ = bench.send(100)
    bench.commits_wait = True
    bench.pass_time(100)
    assert bench.released == []
    assert bench.in_store() == 1
    bench.commits_wait, bench.acks_wait = False, True
    bench.commit()
    bench.work()
    assert bench.stored("HLEN", keys.OUTBOX) == 1
    frozen = bench.tenure
    bench.crash()
    assert bench.released_ids == [id_]
    assert frozen.engine is not None
    assert len([r for _, r in bench.produced if r.topic == NAMES.invocations("Greeter")]) == 2
