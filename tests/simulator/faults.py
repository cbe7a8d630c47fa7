"""What goes wrong. Each returns whether it could happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.simulator.outside import write_request
from tests.simulator.workload import BRIEF_MS

if TYPE_CHECKING:
    from tests.simulator.member import Member
    from tests.simulator.world import World


def crash(world: World) -> bool:
    """A worker is gone (F1-F4)."""
    member = world.some(world.members)
    if member is None:
        return False
    world.say(f"FAULT {member.name} dies")
    world.crash(member)
    return True


def crash_midway(world: World) -> bool:
    """A worker is gone after some of the effects of a turn (F5)."""
    member = world.some([one for one in world.awake if one.fuse is None])
    if member is None:
        return False
    member.fuse = world.random.randrange(4)
    world.say(f"FAULT {member.name} will die after {member.fuse} effects")
    return True


def freeze(world: World) -> bool:
    """A worker stops for a while and knows nothing of it (F9)."""
    member = world.some(world.awake)
    if member is None or not (others := [one for one in world.awake if one.kind == member.kind and one is not member]):
        return False
    world.say(f"FAULT {member.name} is frozen")
    member.frozen = True
    for shard, owner in list(world.assigned.items()):
        if owner is member and world.random.random() < 0.6:
            world.assign(shard, world.random.choice(others))
    return True


def rebalance(world: World) -> bool:
    """The group moves a shard, or takes it away and gives it back (F12, F13, F58)."""
    shard = world.random.choice(list(world.assigned))
    kind = world.assigned[shard].kind
    member = world.random.choice([one for one in world.members if one.kind == kind])
    world.say(f"FAULT the group gives {shard} to {member.name}")
    world.assign(shard, member)
    return True


def cut_line(world: World) -> bool:
    """A worker's connection to the store breaks: no reply comes, requests are lost or arrive late (F57)."""
    busy = {id(one.member): one.member for one in [*world.wire, *world.answers] if not one.member.frozen}
    member = world.some(list(busy.values()))
    if member is None:
        return False
    _cut(world, member)
    return True


def lose_reply(world: World) -> bool:
    """A worker's connection breaks after the store has executed its commit, before it hears of it (F57)."""
    busy = {id(one.member): one.member for one in world.answers if one.commits and not one.member.frozen}
    member = world.some(list(busy.values()))
    if member is None:
        return False
    _cut(world, member)
    return True


def _cut(world: World, member: Member) -> None:
    world.say(f"FAULT {member.name} loses its connection to the store")
    world.drop_requests(member, told=True)
    if world.random.random() < 0.5:
        for tenure in member.tenures.values():
            tenure.doubt(world.now)


def linger(world: World) -> bool:
    """Time passes: so long that whoever waits to take its shards again does."""
    world.now += 300
    return True


def close_store(world: World) -> bool:
    """The store does not answer for a while (F17)."""
    if world.store_closed:
        return False
    world.say("FAULT the store does not answer")
    world.store_closed = True
    return True


def end_session(world: World) -> bool:
    """A record cannot be delivered for now: a producer session is over (F59)."""
    member = world.some(
        [one for one in world.awake if one.session is not None and (one.session.places() or one.session.written)]
    )
    if member is None:
        return False
    world.say(f"FAULT a delivery of {member.name} fails")
    world.rules.delivery_failed(world, member)
    return True


def repeat(world: World) -> bool:
    """A client writes a request again that it has written before (F19)."""
    written = [root for root in world.roots if root.produced and not root.raw]
    if not written:
        return False
    world.say("FAULT a client repeats itself")
    write_request(world, world.random.choice(written))
    return True


def fall_back(world: World) -> bool:
    """The store loses its latest commits (F6, F63)."""
    if len(world.photographs) < 2:
        return False
    world.say("FAULT the store falls back")
    for _ in range(world.random.randrange(len(world.photographs))):
        world.photographs.pop()  # what it has lost it never finds again
    world.store.fall_back(world.photographs[-1])
    world.fell_back = True
    if world.random.random() < 0.3:
        for member in list(world.awake):
            world.drop_requests(member, told=True)
    return True


def leap(world: World) -> bool:
    """A client repeats a request while its outcome is kept, and a long time passes before anybody reads that (R13)."""
    kept = any(at - BRIEF_MS <= world.now < at for times in world.store.expiries.values() for at in times)
    written = [root for root in world.roots if root.produced and root.handler == "brief"]
    if not written or not kept:
        return False
    world.say("FAULT a client repeats itself, and time leaps")
    write_request(world, world.random.choice(written))
    world.now += 2 * BRIEF_MS
    world.lagging = world.happened + 40
    return True


def stall(world: World) -> bool:
    """A partition takes no records for a while (F16)."""
    places = [place for place in world.log.partitions if place not in world.stalled]
    if not places:
        return False
    place = world.random.choice(places)
    world.say(f"FAULT {place[0]}[{place[1]}] stalls")
    world.stalled.add(place)
    return True
