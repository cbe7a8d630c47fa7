"""What the simulator found in the engine, each told on one shard."""

from __future__ import annotations

from datetime import timedelta

from barnabas import Context, ObjectContext, Service, VirtualObject
from barnabas.contract import codec
from barnabas.contract.ids import idempotent_id, random_id
from barnabas.contract.records import Invocation, ReplyTo, Signal, SignalKind
from barnabas.runtime import effects as fx
from barnabas.runtime.kept import NOTHING
from barnabas.runtime.limits import Limits
from barnabas.store import keys
from tests.unit.runtime.delay_bench import DelayBench
from tests.unit.runtime.harness import NAMES, Bench

svc = Service("Svc")
other = Service("Other")
obj = VirtualObject("Obj")


@svc.handler()
async def notes(ctx: Context) -> str:
    handle = ctx.generic_send("Other", "heeds", b"", send_delay=timedelta(hours=1))
    ctx.resolve_signal(await handle.invocation_id(), "note", "early")
    return "sent"


@other.handler()
async def heeds(ctx: Context) -> str:
    return await ctx.signal("note", type_hint=str)


@obj.handler()
async def holds(ctx: ObjectContext) -> None:
    await ctx.sleep(timedelta(hours=1))


@obj.handler()
async def quick(ctx: ObjectContext) -> str:
    return "quick"


def test_a_named_signal_to_a_delayed_invocation_waits_with_it() -> None:
    """It would come to a target that does not know the invocation yet, and be dropped (R7, R8)."""
    bench = Bench(svc, other)
    bench.call("notes")
    assert [record.topic for _, record in bench.produced if record.topic != NAMES.replies] == [NAMES.delays] * 2
    sent, signal = (codec.decode_delayed(record.value) for _, record in bench.produced if record.topic == NAMES.delays)
    assert (signal.kind, signal.invocation) == (SignalKind.RESOLVE, sent.id)  # type: ignore[union-attr]


def test_a_signal_whose_invocation_went_to_the_store_while_it_was_looked_for_is_kept() -> None:
    """The answer is older than what has come since: the invocation waits for its key, in the store alone (R7, R11)."""
    bench = Bench(obj, limits=Limits(queued=0))
    bench.call("holds", key="k")
    id_ = random_id("Obj", "k")
    bench.reads_wait = True
    bench.signal(Signal(SignalKind.CANCEL, id_))
    [asked] = [effect for effect in bench.reads if isinstance(effect, fx.TraceSignals)]
    bench.call("holds", key="k", id_=id_)
    assert bench.stored("HGET", keys.SPILL, id_) is not None
    bench.engine.signals.on_traced(asked.numbers, NOTHING, bench.end)
    assert id_ in bench.engine.parked


def once(client: str, key: str = "k", handler: str = "quick") -> Invocation:
    id_ = idempotent_id("Obj", handler, key, "once")
    return Invocation(id_, "Obj", handler, key, b"", reply_to=ReplyTo(client, b"1"), idempotency_key="once")


def told(bench: Bench) -> set[str]:
    replies = [codec.decode_reply(record.value) for _, record in bench.produced if record.topic == NAMES.replies]
    return {reply.client for reply in replies}


def test_an_outcome_that_is_stored_between_a_look_up_and_its_answer_is_found() -> None:
    """R10: the read was too early to show it, and the commit had let it go from memory before the answer came."""
    bench = Bench(obj)
    bench.commits_wait = True
    repeat = bench.intake.read([bench.record(once("b"))])
    assert any(bench.intake.wanted(repeat))
    bench.feed(once("a"), spilled=[])  # found in no store
    assert any(bench.intake.wanted(repeat))
    bench.commits_wait = False
    bench.commit()
    bench.work()
    bench.intake.on_invocations(repeat, NOTHING)
    bench.work()
    assert told(bench) == {"a", "b"}
    assert (bench.engine.counts["completed"], bench.engine.counts["answered again"]) == (1, 1)


def test_who_asks_again_for_what_waits_in_the_store_is_told() -> None:
    """R10, R11: the record that waits there has the first one's waiter alone."""
    bench = Bench(obj, limits=Limits(queued=0))
    head = bench.call("holds", key="k")
    bench.feed(once("a"))
    assert bench.engine.lanes.spilled == 1
    bench.feed(once("b"))
    bench.signal(Signal(SignalKind.CANCEL, head))
    bench.work()
    assert {"a", "b"} <= told(bench)
    assert bench.stored("HGETALL", keys.PARKED) == {}


def test_what_has_left_the_store_since_it_was_looked_up_is_not_waited_for() -> None:
    """R10, R11: the answer still shows it there; it was withdrawn meanwhile, and the request counts as a new one."""
    bench = Bench(obj, limits=Limits(queued=0))
    head = bench.call("holds", key="k")
    bench.feed(once("a"))
    repeat = bench.intake.read([bench.record(once("b"))])
    found = bench.found(*bench.intake.wanted(repeat))
    assert found.spilled
    bench.signal(Signal(SignalKind.CANCEL, once("a").id))
    bench.signal(Signal(SignalKind.CANCEL, head))
    assert told(bench) >= {"a"}
    bench.intake.on_invocations(repeat, found)
    bench.work()
    assert told(bench) >= {"a", "b"}


def test_a_named_signal_goes_on_to_what_was_cancelled_before_its_due_time() -> None:
    """After a store fell back it may have been released in the time that was lost, run, and wait for the signal."""
    bench = DelayBench()
    id_ = bench.send(1_000)
    bench.signal(SignalKind.RESOLVE, id_, name="note", result=b"early")
    bench.signal(SignalKind.CANCEL, id_)
    bench.signal(SignalKind.RESOLVE, id_, name="note", result=b"late")
    signals = [codec.decode_signal(record.value) for _, record in bench.produced if record.topic != NAMES.replies]
    assert [(signal.invocation, signal.result) for signal in signals] == [(id_, b"early"), (id_, b"late")]


def test_a_withdrawn_invocation_does_not_begin_when_its_request_comes_again() -> None:
    """It waited for its state when it was cancelled; the answer finds another with the same id (F35)."""
    bench = Bench(obj)
    bench.reads_wait = True
    bench.feed(once("a"))
    bench.signal(Signal(SignalKind.CANCEL, once("a").id))
    bench.feed(once("b"))
    bench.read()
    bench.work()
    assert (bench.engine.counts["completed"], told(bench)) == (1, {"a", "b"})
