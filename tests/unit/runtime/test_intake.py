"""What becomes of a record: accepted, joined, answered again, dropped, sent on, a dead letter (R1, R10, R14, R16)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from barnabas import Context, ObjectContext, Service, VirtualObject
from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Caller, Failure, Invocation, Label, ReplyTo, Signal, SignalKind
from barnabas.log.port import Record
from barnabas.runtime.limits import Limits
from barnabas.runtime.marks import KEPT_LEASES, Marks, Verdict
from tests.unit.runtime.harness import NAMES, Bench

RAN: list[str] = []


def services() -> tuple[Service, VirtualObject]:
    RAN.clear()
    service = Service("Svc")

    @service.handler()
    async def run(ctx: Context, word: str = "") -> str:
        RAN.append(word)
        return word

    @service.handler()
    async def call(ctx: Context) -> str:
        return (await ctx.generic_call("Obj", "note", b'"x"', key="a")).decode()

    made = VirtualObject("Obj")

    @made.handler()
    async def note(ctx: ObjectContext, word: str = "") -> str:
        RAN.append(word)
        await ctx.sleep(timedelta(hours=1))
        return word

    return service, made


def bench_of_service(limits: Limits | None = None, partitions: int = 1) -> Bench:
    service, made = services()
    return Bench(service, made, limits=limits, partitions=partitions)


def bench_of_object() -> Bench:
    service, made = services()
    return Bench(made, service)


def label(number: int, lease: bytes = b"L1", take: int = 1, oldest: int = 1, shard: str = "Other/0") -> Label:
    return Label(shard, lease, number, take, oldest)


def test_a_record_that_lives_is_joined_and_both_callers_are_answered() -> None:
    """R10."""
    bench = bench_of_object()
    id_ = bench.call("note", "one", key="a")
    caller = Caller(bytes(random_id("Svc", None)), "Svc", "ab", 3)
    bench.call("note", "one", key="a", id_=id_, caller=caller)
    bench.call("note", "one", key="a", id_=id_, caller=caller)
    bench.crash()
    bench.pass_time(3_600_000)
    assert bench.replies == {id_: "one"}
    assert [(one.invocation, one.position, one.call_id) for one in bench.signals[:1]] == [(caller.id, 3, id_)]
    assert len({one.label.number for one in bench.signals if one.label}) == 1
    assert RAN == ["one", "one"]  # before the crash and after it: one invocation


def test_a_record_whose_outcome_is_kept_is_answered_again() -> None:
    """F19, R10: also after a take-over."""
    bench = bench_of_service()
    id_ = bench.call("run", "one")
    bench.crash()
    bench.produced.clear()
    bench.call("run", "one", id_=id_)
    assert bench.replies == {id_: "one"}
    assert RAN == ["one"]
    assert bench.engine.counts["answered again"] == 1


def test_the_ring_forgets_the_oldest_in_memory_and_in_the_store() -> None:
    bench = bench_of_service(Limits(ring_entries=3))
    ids = [bench.call("run", str(n)) for n in range(5)]
    assert len(bench.stored("LRANGE", b"ring", 0, -1)) == 3
    bench.crash()
    assert [bench.engine.ring.get(id_) is not None for id_ in ids] == [False, False, True, True, True]


def test_the_ring_is_bounded_in_bytes() -> None:
    bench = bench_of_service(Limits(ring_bytes=3000))
    for _ in range(5):
        bench.call("run", "x" * 500)
    assert 1 <= len(bench.engine.ring) <= 2
    bench.call("run", "x" * 5000)  # larger than all of it
    assert len(bench.engine.ring) == 0
    assert bench.stored("LRANGE", b"ring", 0, -1) == []


def test_a_label_that_was_seen_is_dropped() -> None:
    """R1: of a record whose outcome is no longer kept."""
    bench = bench_of_service(Limits(ring_entries=0))
    id_ = bench.call("run", "one", label=label(5))
    bench.crash()
    bench.call("run", "one", id_=id_, label=label(5))
    bench.call("run", "two", label=label(4))
    assert RAN == ["one"]
    bench.call("run", "three", label=label(6))
    assert RAN == ["one", "three"]


def test_marks_of_the_two_topics_are_apart() -> None:
    """R1: a signal that is read first does not hide the invocation of the same commit."""
    bench = bench_of_service()
    bench.signal(Signal(SignalKind.COMPLETION, bytes(random_id("Svc", None)), 1, b"x" * 24, b"", label=label(6)))
    bench.call("run", "one", label=label(5))
    assert RAN == ["one"]


def test_marks_of_two_leases_and_of_two_senders_are_apart() -> None:
    bench = bench_of_service()
    bench.call("run", "a", label=label(9))
    bench.call("run", "b", label=label(5, b"L2", 2))
    bench.call("run", "c", label=label(5, shard="Other/1"))
    assert RAN == ["a", "b", "c"]


def test_a_stale_label_is_a_dead_letter_and_its_caller_is_told() -> None:
    """R14, R16."""
    bench = bench_of_service(Limits(ring_entries=0))
    for take in range(1, KEPT_LEASES + 3):
        bench.call("run", label=label(1, b"L%d" % take, take, oldest=take))
    ran = len(RAN)
    caller = Caller(bytes(random_id("Svc", None)), "Svc", "ab", 3)
    id_ = bench.call("run", label=label(1, b"unheard of", 1), caller=caller)
    assert len(RAN) == ran
    assert [letter.reason for letter in bench.dead_letters] == ["stale-label"]
    assert bench.signals[-1].failure is not None
    assert (bench.signals[-1].invocation, bench.signals[-1].call_id) == (caller.id, id_)


def test_a_record_that_lives_is_joined_even_if_its_label_is_stale() -> None:
    """R14: R10 comes first."""
    bench = bench_of_object()
    id_ = bench.call("note", "one", key="a")
    for take in range(1, KEPT_LEASES + 3):
        bench.engine.marks.judge("i", label(1, b"L%d" % take, take, oldest=take))
    bench.call("note", "one", key="a", id_=id_, label=label(1, b"unheard of", 1))
    assert bench.dead_letters == []
    assert bench.engine.counts["joined"] == 1


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (Record(0, 0, b"k", b"garbage", None), "undecodable"),
        (Record(0, 0, b"k", None, None), "undecodable"),
        (Record(0, 0, b"k", b"\x00\x00\x00\x00\x01abc", None), "unknown-schema"),
        (Record(0, 0, b"k", b"1", [("barnabas-handler", b"")]), "unaddressed"),
    ],
)
def test_poison_goes_to_the_dead_letters_and_its_neighbours_go_on(record: Record, reason: str) -> None:
    """F21: with its place and its bytes."""
    bench = bench_of_service()
    before = bench.record(Invocation(bytes(random_id("Svc", None)), "Svc", "run", None, b'"a"'))
    after = bench.record(Invocation(bytes(random_id("Svc", None)), "Svc", "run", None, b'"b"'))
    bench.feed_records([before, record._replace(offset=7), after._replace(offset=8)])
    assert RAN == ["a", "b"]
    [letter] = bench.dead_letters
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == (reason, NAMES.invocations("Svc"), 0, 7)
    assert (letter.key, letter.value) == (record.key, record.value)
    assert bench.engine.next_invocation == 9


def test_an_invocation_of_another_service_is_a_dead_letter_and_its_caller_is_told() -> None:
    """R16: it can be read, so it is known who waits."""
    bench = bench_of_service()
    id_ = bytes(random_id("Svc", None))
    bench.feed(Invocation(id_, "Obj", "note", "a", b'"x"', reply_to=ReplyTo("client", id_)))
    assert [letter.reason for letter in bench.dead_letters] == ["unaddressed"]
    assert isinstance(bench.replies[id_], Failure)


def test_a_poisonous_signal_is_a_dead_letter() -> None:
    bench = bench_of_service()
    bench.tenure.on_signals(bench.tenure.epoch, [Record(3, 0, b"", b"garbage", None)], bench.now)
    bench.work()
    assert [letter.topic for letter in bench.dead_letters] == [NAMES.signals("Svc")]
    assert bench.engine.next_signal == 4


def test_a_raw_record_runs_a_handler_and_its_place_is_its_identity() -> None:
    bench = bench_of_service()
    record = Record(4, 0, None, b'"raw"', [("barnabas-handler", b"run")])
    bench.feed_records([record])
    bench.feed_records([record])
    assert RAN == ["raw"]


def test_a_record_in_the_wrong_partition_is_sent_on_in_order_under_its_own_id() -> None:
    bench = bench_of_service(partitions=2)
    ids = [bytes(random_id("Svc", None)) for _ in range(20)]
    bench.feed(
        *(Invocation(id_, "Svc", "run", None, b'"%d"' % n, reply_to=ReplyTo("c", id_)) for n, id_ in enumerate(ids))
    )
    elsewhere = [id_ for id_ in ids if InvocationId(id_).partition(2) == 1]
    assert 0 < len(elsewhere) < 20
    assert [one.id for one in bench.sent] == elsewhere
    assert all(one.reply_to == ReplyTo("c", one.id) for one in bench.sent)
    assert len(RAN) == 20 - len(elsewhere)


def test_offsets_move_in_the_commit_of_their_effects() -> None:
    bench = bench_of_service()
    bench.commits_wait = True
    bench.call("run", "one")
    assert bench.stored("HGET", b"meta", "inv") is None
    bench.commit()
    assert bench.stored("HGET", b"meta", "inv") == b"1"


# -- calls that cannot be delivered


def test_a_call_that_can_never_be_delivered_fails_at_its_caller_and_is_a_dead_letter() -> None:
    """F23, R16."""
    bench = bench_of_service()
    bench.acks_wait = True
    id_ = bench.call("call")
    [(number, _)] = bench.produced
    bench.engine.on_undeliverable(number, "too large")
    bench.work()
    assert bench.replies[id_] == Failure(500, "the call could not be delivered: too large")
    assert [letter.reason for letter in bench.dead_letters] == ["undeliverable"]
    assert number not in {int(one) for one in bench.stored("HGETALL", b"out")}


def test_a_dead_letter_that_does_not_fit_itself_is_shortened_once() -> None:
    """F23: with its whole key it would not fit either, and the outbox would go round for ever."""
    bench = bench_of_service()
    bench.acks_wait = True
    bench.feed_records([Record(0, 0, b"k" * 5000, b"what is this", None)])
    [(number, _)] = bench.produced
    bench.engine.on_undeliverable(number, "too large")
    bench.work()
    _, short = bench.dead_letters
    assert (short.reason, short.key, short.value) == (bench.dead_letters[0].reason, b"k" * 1000, None)
    assert "did not fit" in short.detail
    assert len(bench.produced) == 2


def test_who_waits_for_a_result_that_can_never_be_delivered_gets_a_failure() -> None:
    """F23: a client by its reply, a handler by its completion."""
    bench = bench_of_service()
    bench.acks_wait = True
    ids = [
        bench.call("run", "x"),
        bench.call("run", "y", caller=Caller(bytes(random_id("Svc", None)), "Svc", "key", 3)),
    ]
    for number, _ in list(bench.produced):
        bench.engine.on_undeliverable(number, "too large")
    bench.work()
    failure = Failure(500, "the result could not be delivered: too large")
    assert bench.replies[ids[0]] == failure
    signal = codec.decode_signal(bench.produced[-1][1].value)
    assert (signal.call_id, signal.position, signal.failure, signal.result) == (ids[1], 3, failure, None)
    assert len(bench.dead_letters) == 2
    before = len(bench.produced)
    bench.engine.on_undeliverable(bench.produced[-1][0], "too large")
    bench.work()
    assert len(bench.produced) == before + 1, "a failure that cannot be delivered is a dead letter, and no more"


def test_a_client_whose_call_cannot_be_sent_on_is_told() -> None:
    """R16."""
    bench = bench_of_service(partitions=2)
    bench.acks_wait = True
    id_ = next(one for _ in range(100) if InvocationId(one := bytes(random_id("Svc", None))).partition(2) == 1)
    bench.feed(Invocation(id_, "Svc", "run", None, b'""', reply_to=ReplyTo("c", id_)))
    [(number, _)] = bench.produced
    bench.engine.on_undeliverable(number, "too large")
    bench.work()
    assert bench.replies[id_] == Failure(500, "the call could not be delivered: too large")


def test_a_call_to_a_service_that_nobody_knows_fails_the_attempt_and_sends_nothing() -> None:
    """F25: it is tried again, since a worker that serves it may come."""
    bench = bench_of_service()
    del bench.directory.services["Obj"]
    id_ = bench.call("call")
    assert "no service 'Obj' is registered" in bench.live(id_).last_failure
    assert bench.produced == []
    bench.directory.services.update(Bench(*services()).directory.services)
    bench.pass_time(50)
    assert len(bench.sent) == 1


# -- marks by themselves


def test_marks_are_kept_for_the_last_leases_and_come_back_from_the_store() -> None:
    """R14."""
    marks = Marks()
    for take in range(1, KEPT_LEASES + 1):
        assert marks.judge("i", label(7, b"L%d" % take, take, oldest=1)) is Verdict.NEW
    assert marks.judge("i", label(7, b"new", 65, oldest=65)) is Verdict.NEW
    put, gone = marks.changes()
    assert marks.changes() == ([], [])
    again = Marks()
    again.restore(dict(zip(put[::2], put[1::2], strict=True)))
    for one in (marks, again):
        assert one.judge("i", label(8, b"L1", 1)) is Verdict.STALE  # the 65th pushed it out
        assert one.judge("i", label(7, b"L2", 2)) is Verdict.SEEN
        assert one.judge("s", label(8, b"L1", 1)) is Verdict.NEW
    assert len(gone) == 1


def test_marks_that_a_sender_may_still_need_are_never_dropped() -> None:
    """R14: its outbox still holds entries of take 1."""
    marks = Marks()
    for take in range(1, KEPT_LEASES + 40):
        marks.judge("i", label(take, b"L%d" % take, take, oldest=1))
    assert marks.judge("i", label(1, b"L1", 1)) is Verdict.SEEN


def test_a_dead_letter_can_be_read() -> None:
    bench = bench_of_service()
    bench.feed_records([Record(0, 0, None, b"x", [("a", b"b"), ("a", None)])])
    assert bench.dead_letters[0].headers == [("a", b"b"), ("a", None)]
    assert codec.decode_dead_letter(bench.produced[0][1].value) == bench.dead_letters[0]
