"""The end of a world: faults stop, everything is mended, and whatever is under way runs to its end.

What does not, hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.tenure import CHECK_MS, State, Tenure
from tests.simulator import events
from tests.simulator.faces import Violation

if TYPE_CHECKING:
    from tests.simulator.world import World

#: Rounds without an end after which something hangs. A world that settles takes a few dozen.
ROUNDS = 500


def settle(world: World) -> None:
    """Raises Violation (P6) when the world does not come to rest."""
    _mend(world)
    _until_quiet(world)
    # An owner that nothing disturbs looks at its lease and number every few seconds; what it finds is worked off (R4).
    world.now += 2 * CHECK_MS
    _until_quiet(world)


def _mend(world: World) -> None:
    world.say("-- no faults from here on --")
    world.store_closed = False
    for member in world.members:
        member.frozen = False
        member.fuse = None
    while events.produce(world):
        pass
    while world.late and world.random.random() < 0.7:
        world.do(events.serve_late)
    while world.orphans and world.random.random() < 0.7 and any(orphan.places() for orphan in world.orphans):
        world.do(events.write)
    world.orphans.clear()


def _until_quiet(world: World) -> None:
    for _ in range(ROUNDS):
        busy = False
        for member in list(world.members):
            events.take_turn(world, member)
        for event in (
            events.learn,
            events.hear,
            events.hear_signals,
            events.reopen,
            events.step,
            events.step_over,
            events.fetch,
        ):
            while world.do(event):
                busy = True
        for event in (events.serve, events.answer, events.write, events.acknowledge):
            while world.do(event):
                busy = True
        if not busy:
            if is_quiet(world):
                world.late.clear()
                return
            due = [at for member in world.members if (at := member.next_due()) is not None]
            world.now = max(world.now + 1, min(due, default=world.now + 1_000))
    raise Violation("P6", f"nothing comes to rest: {describe(world)}")


def is_quiet(world: World) -> bool:
    """Whether every shard has an owner that has nothing left to do."""
    if world.wire or world.answers or world.news or any(one.told or one.signals or one.inbox for one in world.members):
        return False
    for shard, member in world.assigned.items():
        tenure = member.tenures.get(shard)
        if tenure is None or not _is_done(tenure):
            return False
    return True


def _is_done(tenure: Tenure) -> bool:
    engine = tenure.engine
    if tenure.state is not State.ACTIVE or engine is None or not tenure.is_quiet() or engine.is_worthwhile():
        return False
    return not isinstance(engine, ShardEngine) or not (engine.live or engine.lanes.spilled or len(engine.parked))


def describe(world: World) -> str:
    """Who still has what."""
    parts = []
    for shard, member in world.assigned.items():
        tenure = member.tenures.get(shard)
        if tenure is None or not _is_done(tenure):
            engine = tenure.engine if tenure is not None else None
            what = "no tenure" if tenure is None else tenure.state.value
            if isinstance(engine, ShardEngine):
                live = [f"{one.handler} {one.status} {one.journal[-3:]}" for one in list(engine.live.values())[:3]]
                what += f", live {live}, outbox {len(engine.outbox)}, spilled {engine.lanes.spilled}"
            parts.append(f"{shard} of {member.name}: {what}")
    return "; ".join(parts)[:700]
