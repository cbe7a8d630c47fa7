"""What the simulator found in the engine, each told on one shard."""

from __future__ import annotations

from datetime import timedelta

from barnabas import Context, ObjectContext, Service, VirtualObject
from barnabas.contract import codec
from barnabas.contract.ids import random_id
from barnabas.contract.records import Signal, SignalKind
from barnabas.runtime import effects as fx
from barnabas.runtime.kept import NOTHING
from barnabas.runtime.limits import Limits
from barnabas.store import keys
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
