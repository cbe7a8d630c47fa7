"""What the simulator found in the engine, each told on one shard."""

from __future__ import annotations

from datetime import timedelta

from barnabas import Context, Service
from barnabas.contract import codec
from barnabas.contract.records import SignalKind
from tests.unit.runtime.harness import NAMES, Bench

svc = Service("Svc")
other = Service("Other")


@svc.handler()
async def notes(ctx: Context) -> str:
    handle = ctx.generic_send("Other", "heeds", b"", send_delay=timedelta(hours=1))
    ctx.resolve_signal(await handle.invocation_id(), "note", "early")
    return "sent"


@other.handler()
async def heeds(ctx: Context) -> str:
    return await ctx.signal("note", type_hint=str)


def test_a_named_signal_to_a_delayed_invocation_waits_with_it() -> None:
    """It would come to a target that does not know the invocation yet, and be dropped (R7, R8)."""
    bench = Bench(svc, other)
    bench.call("notes")
    assert [record.topic for _, record in bench.produced if record.topic != NAMES.replies] == [NAMES.delays] * 2
    sent, signal = (codec.decode_delayed(record.value) for _, record in bench.produced if record.topic == NAMES.delays)
    assert (signal.kind, signal.invocation) == (SignalKind.RESOLVE, sent.id)  # type: ignore[union-attr]
