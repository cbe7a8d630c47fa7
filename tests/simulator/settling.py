"""The end of a world: faults stop, everything is mended, and whatever is under way runs to its end.

What does not, hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from barnabas.contract.ids import InvocationId
from barnabas.runtime.scheduling.scheduler import Scheduler
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.subscribing.subscriber import Subscriber
from barnabas.runtime.tenure import CHECK_MS, State, Tenure
from tests.simulator import events, feeding, looking, outside
from tests.simulator.faces import Violation
from tests.simulator.programs import NAP_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulator.member import Member
    from tests.simulator.world import World

#: Rounds without an end after which something hangs. A world that settles takes a few dozen.
ROUNDS = 500
#: Rounds after which somebody looks for deadlocks, in a world whose store has fallen back.
A_PERSON_LOOKS = 50
#: Longer than anything in a world has to wait, ms.
LONGEST_MS = 2 * NAP_MS


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
    world.stalled.clear()
    world.lagging = 0
    for member in world.members:
        member.frozen = False
        member.fuse = None
    outside.finish(world)
    while world.late and world.random.random() < 0.7:
        world.do(events.serve_late)
    while world.orphans and world.random.random() < 0.7 and any(orphan.places() for orphan in world.orphans):
        world.do(events.write)
    world.orphans.clear()


def _until_quiet(world: World) -> None:
    for rounds in range(1, ROUNDS):
        _work_off(world)
        if is_quiet(world):
            world.late.clear()
            return
        if world.fell_back and rounds % A_PERSON_LOOKS == 0:
            _cancel_deadlocks(world)
        _pass_time(world)
    raise Violation("P6", f"nothing comes to rest: {describe(world)}")


def _work_off(world: World) -> None:
    """Let everything happen that needs no time to pass."""
    for _ in range(ROUNDS):
        busy = False
        for member in list(world.members):
            events.take_turn(world, member)
        for event in (
            outside.resolve,
            feeding.feed,
            events.learn,
            events.hear,
            events.hear_signals,
            events.reopen,
            events.step,
            events.step_over,
            events.fetch,
            events.serve,
            events.answer,
            events.write,
            events.acknowledge,
        ):
            while world.do(event):
                busy = True
        if not busy:
            return
    raise Violation("P6", f"nothing comes to rest, though no time passes: {describe(world)}")


def _pass_time(world: World) -> None:
    """Until the next thing that waits for its time; but owners that have lost their shard get to know of it before."""
    due = min((at for member in world.members for at in _dues(member)), default=world.now + CHECK_MS)
    before = _happened(world)
    for _ in range(2):
        if due <= world.now + CHECK_MS:
            break
        world.now += CHECK_MS
        _work_off(world)
        if _happened(world) != before:
            return
    if due > world.now + LONGEST_MS:
        raise Violation("P6", f"nothing comes to rest, and nothing is due: {describe(world)}")
    world.now = max(world.now + 1, due)


def _cancel_deadlocks(world: World) -> None:
    """What somebody does whom `barnabas invocations deadlocks` shows some.

    Of calls that the store has lost it may read the records again before their callers have made them again. The look
    for such a call then comes too early, and nobody looks again.
    """
    for node in looking.holders_now(world):
        world.counts["cancelled by hand"] += 1
        outside.cancel(world, node.service, InvocationId(node.id))


def _dues(member: Member) -> Iterator[int]:
    """When it has something to do, beside looking at its leases."""
    if (look := member.looks.next_due) is not None:
        yield look
    for tenure in member.tenures.values():
        due = tenure.next_due()
        if (due is not None and (tenure.state is not State.ACTIVE or due < tenure._spoke_at + CHECK_MS)) or (
            tenure.engine is not None and (due := tenure.engine.next_due()) is not None
        ):
            yield due


def _happened(world: World) -> tuple[int, int]:
    return world.store.commits + world.store.takes, sum(map(len, world.log.partitions.values()))


def is_quiet(world: World) -> bool:
    """Whether every shard has an owner that has nothing left to do."""
    if world.wire or world.answers or world.news or any(one.told or one.signals or one.inbox for one in world.members):
        return False
    if any(one.looks.next_due is not None for one in world.members):
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
    if isinstance(engine, Scheduler):
        return not len(engine.window) and engine.window.horizon is None
    if isinstance(engine, Subscriber):
        return True
    assert isinstance(engine, ShardEngine)
    return not (engine.live or engine.lanes.spilled or len(engine.parked) or len(engine.sender.deferred))


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
                what += f", parked {len(engine.parked)}, deferred {len(engine.sender.deferred)}"
            elif isinstance(engine, Scheduler):
                what += f", {len(engine.window)} up to {engine.window.horizon}"
            parts.append(f"{shard} of {member.name}: {what}")
    return "; ".join(parts)[:700]
