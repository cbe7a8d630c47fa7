"""What happens in a world when nothing is wrong. Each event returns whether it could happen."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from barnabas.contract import codec
from barnabas.contract.records import Reply
from barnabas.log.port import Batch, UndeliverableError
from barnabas.runtime import journal as j
from barnabas.runtime.tenure import Tenure
from barnabas.store import keys
from tests.simulator import outside
from tests.simulator.faces import Place, Violation
from tests.simulator.looking import LOOK
from tests.simulator.member import Crash, Member
from tests.simulator.places import NAMES
from tests.simulator.programs import unpack

if TYPE_CHECKING:
    from tests.simulator.world import World


def hear(world: World) -> bool:
    """A member's loop hears from its group consumer."""
    member = world.some([one for one in world.awake if one.told])
    if member is None:
        return False
    kind, what = member.told.popleft()
    if kind == "batch":
        member.inbox.append(what)
        return True
    world.say(f"{member.name}: {kind} {what}")
    if kind == "assigned":
        member.on_assigned(what)
    else:
        member.on_revoked(what)
    return True


def learn(world: World) -> bool:
    """A member learns at last that it has lost a shard."""
    known = [one for one in world.news if not one[0].frozen]
    if not known:
        return False
    one = world.random.choice(known)
    world.news.remove(one)
    world.revoke(*one)
    return True


def hear_signals(world: World) -> bool:
    """A member's loop hears from its signals consumer."""
    member = world.some([one for one in world.awake if one.signals])
    if member is None:
        return False
    member.inbox.append(member.signals.popleft())
    return True


def fetch(world: World) -> bool:
    """A consumer fetches some records."""
    waiting = [(one, place) for one in world.awake for place in one.reading if has_more(world, one, place)]
    if not waiting:
        return False
    member, place = world.random.choice(waiting)
    reading = member.reading[place]
    records = world.log.read(place, reading.offset, world.random.choice((1, 1, 2, 5)))
    reading.offset = records[-1].offset + 1
    batch = Batch(*place, reading.epoch, records)
    world.say(f"{member.name}: fetches {place[0]}[{place[1]}] {[record.offset for record in records]}")
    if not member.places.of(*place).is_intake:  # type: ignore[union-attr]
        member.signals.append(batch)
    else:
        member.told.append(("batch", batch))
    return True


def has_more(world: World, member: Member, place: Place) -> bool:
    records = world.log.partitions[place]
    if world.happened < world.lagging and member.places.of(*place).is_intake:  # type: ignore[union-attr]
        return False
    return bool(records) and records[-1].offset >= member.reading[place].offset and member.may_read(place)


def turn(world: World) -> bool:
    """A member's driver has a turn."""
    member = world.some(world.awake)
    if member is None:
        return False
    take_turn(world, member)
    return True


def take_turn(world: World, member: Member) -> None:
    before = len(world.wire)
    try:
        member.turn()
    except Crash:
        world.say(f"{member.name}: dies in the middle of a turn")
        world.crash(member)
        return
    if world.trace is not None:
        sent = [request.what for request in world.wire[before:] if not request.what.startswith("check")]
        if sent:
            world.say(f"{member.name}: sends {', '.join(sent)}")


def serve(world: World) -> bool:
    """The store executes (a part of) a request."""
    if not world.wire or world.store_closed:
        return False
    index = world.random.randrange(len(world.wire))
    request = world.wire[index]
    if request.what == LOOK and world.random.random() < world.profile.slow_looks:
        return True  # while a look is under way much happens
    request.results.append(request.parts.pop(0)())
    if not request.what.startswith("check"):
        world.say(f"store: {request.what} of {request.member.name}: {_brief(request.results[-1])}")
    if not request.parts:
        del world.wire[index]
        world.answers.append(request)
    if request.commits and world.random.random() < 0.3:
        world.photographs.append(world.store.photograph())
    return True


def serve_late(world: World) -> bool:
    """A request whose sender has given up arrives after all."""
    if not world.late or world.store_closed:
        return False
    request = world.late.pop(world.random.randrange(len(world.late)))
    world.counts["late request"] += 1
    result = [part() for part in request.parts]
    world.say(f"store: LATE {request.what} of {request.member.name}: {_brief(result)}")
    return True


def _brief(result: object) -> str:
    text = repr(result)
    return text if len(text) < 80 else f"{len(text)} characters"


def answer(world: World) -> bool:
    """A reply of the store reaches a member."""
    waiting = [request for request in world.answers if not request.member.frozen]
    if not waiting:
        return False
    request = world.random.choice(waiting)
    world.answers.remove(request)
    if not request.what.startswith("check"):
        world.say(f"{request.member.name}: hears of {request.what}")
    request.member.look_at_clock()
    request.answer(request.results)
    return True


def write(world: World) -> bool:
    """A producer session's next record of some partition gets into the log."""
    sessions = [one.session for one in world.members if one.session is not None] + world.orphans
    waiting = [(session, place) for session in sessions for place in session.places() if place not in world.stalled]
    if not waiting:
        return False
    session, place = world.random.choice(waiting)
    queue = session.queues[place]
    record, engine, number = queue[0]
    try:
        written = world.log.append(record, world.now)
    except UndeliverableError as why:
        world.say(f"log: refuses {engine.shard}'s number {number}: {why}")
        if session in world.orphans:
            world.orphans.remove(session)
        else:
            member = next(one for one in world.members if one.session is session)
            member.on_session_over([(engine, number, why)])
        return True
    world.say(f"log: {place[0]}[{place[1]}]@{written.offset} = {engine.shard}'s number {number}")
    if place[0] == NAMES.replies:
        _check_committed(world, codec.decode_reply(record.value))
    queue.popleft()
    session.written.append((engine, number))
    return True


def _check_committed(world: World, reply: Reply) -> None:
    """R12, for shared reads: nobody is told of a mark before the commit that holds it."""
    told = unpack(reply.result)[1] if reply.result is not None else None
    if isinstance(told, bytes) and told not in world.store.committed_marks:
        raise Violation("R12", f"{reply.request.decode()} was answered with {told.decode()}, which no commit holds")


def acknowledge(world: World) -> bool:
    """A member hears that records were written."""
    member = world.some([one for one in world.awake if one.session is not None and one.session.written])
    if member is None:
        return False
    assert member.session is not None
    member.on_acknowledged(world.random.randint(1, len(member.session.written)))
    return True


def reopen(world: World) -> bool:
    """A member whose producer session is over opens another."""
    member = world.some([one for one in world.awake if one.session is None])
    if member is None:
        return False
    world.say(f"{member.name}: opens a producer session")
    member.reopen()
    return True


def step(world: World) -> bool:
    """An action of `ctx.run` does what it does."""
    member = world.some([one for one in world.awake if one.steps])
    if member is None:
        return False
    engine, one = member.steps.pop(world.random.randrange(len(member.steps)))
    tenure = member.tenures.get(engine.shard)
    if tenure is None or tenure.engine is not engine or not tenure.is_sure(world.now):
        if tenure is not None and tenure.engine is engine:
            world.say(f"{member.name}: puts off the step {one.name}")
            tenure.put_off(one)
        return True
    _check_not_done_before(world, tenure, one)
    world.say(f"{member.name}: runs the step {one.name}")
    world.steps_done.append((member, member.run_step(engine, one)))
    return True


def _check_not_done_before(world: World, tenure: Tenure, one: Any) -> None:
    """P3, for the owner: a step whose result is in the store does not run again."""
    shard = tenure.shard
    if world.store.read(shard, ("HGET", keys.META, "lease")) != tenure.lease:
        return
    for packed in world.store.read(shard, ("LRANGE", keys.journal(one.live.id), 0, -1)):
        entry = j.unpack_entry(packed)
        if entry[0] >= j.FIRST_NOTIFICATION and entry[1] == one.position and entry[2] is None:
            raise Violation("P3", f"the step {one.name} runs again although its result is in the store")


def step_over(world: World) -> bool:
    """A member hears that an action is over."""
    waiting = [index for index, (member, _) in enumerate(world.steps_done) if not member.frozen]
    if not waiting:
        return False
    member, tell = world.steps_done.pop(world.random.choice(waiting))
    member.look_at_clock()
    tell()
    return True


def time(world: World) -> bool:
    """Time passes."""
    world.now += world.random.choice((1, 5, 20, 60, 250, 1_100))
    return True


def thaw(world: World) -> bool:
    """A frozen member goes on as if nothing had been."""
    member = world.some([one for one in world.members if one.frozen])
    if member is None:
        return False
    world.say(f"{member.name}: goes on")
    member.frozen = False
    return True


def unstall(world: World) -> bool:
    """A stalled partition takes records again."""
    if not world.stalled:
        return False
    place = world.random.choice(sorted(world.stalled))
    world.say(f"log: {place[0]}[{place[1]}] goes on")
    world.stalled.remove(place)
    return True


def open_store(world: World) -> bool:
    """A paused store answers again."""
    if not world.store_closed:
        return False
    world.say("store: answers again")
    world.store_closed = False
    return True


EVENTS: dict[Callable[[World], bool], int] = {
    outside.produce: 6, outside.attach: 3, outside.end: 3, outside.resolve: 3, hear: 12, hear_signals: 5, fetch: 10,
    turn: 22, serve: 22, answer: 16, write: 10, acknowledge: 6, reopen: 3, step: 5, step_over: 5, time: 6,
    serve_late: 1, learn: 2, thaw: 1, open_store: 2, unstall: 2,
}  # fmt: skip
