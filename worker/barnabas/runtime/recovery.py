"""How a shard comes back from the store: the questions to ask after a take, and an engine made of the answers.

The same functions serve a take-over after a crash, a reload after trouble, and (later) a restore from the changelog.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from barnabas.runtime import effects as fx
from barnabas.runtime import live as states_of
from barnabas.runtime.intake import is_exclusive
from barnabas.runtime.live import Live, unpack_live
from barnabas.runtime.spilled import unpack_standing
from barnabas.store import keys
from barnabas.store.port import Query

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine

#: Everything of a shard that its owner holds in memory. Inputs, journals and states are read when they are needed.
QUESTIONS: list[Query] = [
    ("HGETALL", keys.META),
    ("HGETALL", keys.LIVE),
    ("LRANGE", keys.RING, 0, -1),
    ("HGETALL", keys.OUTBOX),
    ("HGETALL", keys.MARKS),
    ("ZRANGE", keys.TIMERS, 0, -1),
    ("HGETALL", keys.SPILL_COUNTS),
    ("ZRANGE", keys.EXPIRY, 0, 0),
    ("HGETALL", keys.PARKED),
    ("HGETALL", keys.DEFERRED),
    ("HGETALL", keys.UNCHECKED),
]


def restore(engine: ShardEngine, answers: list[Any], now: int) -> None:
    """Fill a new engine with what the store has, and set going what was going."""
    meta, live, ring, outbox, marks, timers, spilled, expiry, parked, deferred, unchecked = answers
    engine.now = now
    engine.number = int(meta.get(b"number", 0))
    engine.next_commit = engine.number + 1
    engine.next_invocation = _number(meta, b"inv")
    engine.next_signal = _number(meta, b"sig")
    engine.spilled_bytes = int(meta.get(b"spb", 0))
    engine.ring.restore(ring)
    engine.outbox.restore(int(meta.get(b"out", 0)), outbox)
    engine.marks.restore(marks)
    engine.keeping.read_time = int(meta.get(b"read", 0))
    engine.kept.earliest = int(expiry[0][1]) if expiry else None
    engine.parked.restore(parked)
    engine.sender.deferred.restore(deferred)
    engine.timers.restore(timers)
    invocations = sorted(
        (unpack_live(id_, engine.shard.service, packed) for id_, packed in live.items()), key=lambda one: one.accepted
    )
    for one in invocations:
        engine.live[one.id] = one
        handler = engine.handlers.get(one.handler)
        if (
            handler is not None
        ):  # which was unknown when it was accepted, or of another kind, before the last deployment
            one.exclusive = is_exclusive(handler.kind)
        engine.accepted = max(engine.accepted, one.accepted)
    _queue(engine, invocations, {key.decode(): unpack_standing(packed) for key, packed in spilled.items()})
    engine.deadlocks.restore(unchecked)
    for one in invocations:
        if one.status == states_of.BACKING_OFF:
            engine.timers.arm_retry(one.id, one.retry_at)
        elif one.status == states_of.SCHEDULED:
            engine.timers.arm_retry(one.id, one.due)
    if len(engine.parked):
        engine.effects.append(fx.TraceSignals(engine.parked.numbers))
    engine.produce(engine.outbox.committed())
    engine.sender.restored()
    engine.run_ready()


def _queue(engine: ShardEngine, invocations: list[Live], spilled: dict[str, tuple[int, int]]) -> None:
    """The first of each key goes on, the others wait behind it."""
    for one in invocations:
        if one.exclusive and one.status != states_of.SCHEDULED:
            assert one.key is not None
            lane = engine.lanes.get(one.key)
            if lane is not None:
                engine.lanes.enqueue(lane, one)
                engine.deadlocks.restored(one)
                continue
            engine.lanes.open(one.key, one)
        if one.status in (states_of.QUEUED, states_of.RUNNING):
            engine.ready(one)
    for key, (count, elsewhere_since) in spilled.items():
        lane = engine.lanes.get(key) or engine.lanes.open(key, None)
        engine.lanes.spill(lane, count)
        lane.elsewhere_since = elsewhere_since
        engine.refill(key)


def _number(meta: dict[bytes, bytes], field: bytes) -> int | None:
    value = meta.get(field)
    return None if value is None else int(value)
