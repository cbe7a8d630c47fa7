"""One simulated world: clients, workers, a log, a store, a clock, and one generator of chance that decides what happens next.

A run is a number of events under faults, then everything is mended and let run to its end, and `checks.py` looks at what is
left. The same seed gives the same run; faults are numbered as they come up, so that shrinking can leave single ones out.
"""

from __future__ import annotations

import traceback
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any

from barnabas.contract import codec, raw
from barnabas.contract.ids import InvocationId, idempotent_id
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.records import Invocation, Reply, ReplyTo
from barnabas.contract.topics import TopicNames
from barnabas.log.port import Batch, OutRecord, UndeliverableError
from barnabas.runtime import marks
from barnabas.runtime import journal as j
from barnabas.runtime.directory import Directory
from barnabas.runtime.intake import Intake
from barnabas.runtime.limits import Limits
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.tenure import CHECK_MS, State, Tenure
from barnabas.store import keys
from barnabas.store.port import Service, Shard
from tests.simulator import faults, workload
from tests.simulator.faces import Log, Place, Violation, WatchedStore
from tests.simulator.member import Crash, Member, Request, Session
from tests.simulator.profiles import Profile
from tests.simulator.workload import OBJECT, SERVICE, Root, pack, scene, unpack

PARTITIONS = 2
NAMES = TopicNames("sim")
TOPIC_ID = b"0123456789abcdef"
SERVICES = {
    OBJECT: Service(OBJECT, "object", PARTITIONS, "sim.workers", {"work": "exclusive", "look": "shared"}),
    SERVICE: Service(SERVICE, "service", PARTITIONS, "sim.workers", {"serve": "service"}),
}
HANDLERS = {OBJECT: workload.obj.handlers, SERVICE: workload.svc.handlers}
SHARDS = [Shard(service, partition) for service in SERVICES for partition in range(PARTITIONS)]
CLIENT = "client"

_ROUNDS = 600  # without an end, after the faults: something hangs


class DriverRules:
    """The driver's share in the rules, where a mutant can break it."""

    def __init__(self, max_active: int) -> None:
        self._max_active = max_active

    def adjust(self, member: Member) -> None:
        """Hold back new work by what is at work (R11)."""
        active = sum(self.load(engine) for engine in member.engines())
        member.holding = active * (2 if member.holding else 1) >= self._max_active

    def load(self, engine: ShardEngine) -> int:
        return engine.active

    def delivery_failed(self, world: World, member: Member) -> None:
        """A record of the session could not be delivered: the session is over (R2)."""
        member.on_session_over([])


class World:
    """Everything there is. `run` raises Violation."""

    def __init__(
        self,
        seed: int,
        profile: Profile,
        *,
        without_faults: frozenset[int] = frozenset(),
        without_roots: frozenset[int] = frozenset(),
        events: int | None = None,
        trace: bool = False,
    ) -> None:
        self.seed = seed
        self.profile = profile
        self.random = Random(f"{seed}/{profile.name}")
        self.events = profile.events if events is None else events
        self.trace: list[str] | None = [] if trace else None
        self.happened = 0
        self.faults_seen = 0
        self.faults_done: list[int] = []
        self.counts: Counter[str] = Counter()
        self._without_faults = without_faults
        self.violation: Violation | None = None

        self.now = 1_000_000
        self.names = NAMES
        self.log = Log(self.random)
        self.store = WatchedStore()
        for topic, partitions in (
            *((name(service), PARTITIONS) for service in SERVICES for name in (NAMES.invocations, NAMES.signals)),
            (NAMES.replies, 1),
            (NAMES.dead_letters, 1),
        ):
            self.log.create(topic, partitions)
        self.directory = Directory(NAMES, SERVICES, 1, 1)
        self.rules = DriverRules(profile.max_active)
        self.limits = self._draw_limits()

        self.roots = [root for root in workload.roots_of(seed, profile.mix) if root.number not in without_roots]
        self.to_produce = deque(self.roots)
        self.wire: list[Request] = []
        self.answers: list[Request] = []
        self.late: list[Request] = []
        self.steps_done: list[tuple[Member, Callable[[], None]]] = []
        self.orphans: list[Session] = []
        self.members: list[Member] = []
        self.assigned: dict[Shard, Member] = {}
        self.news: list[tuple[Member, Shard]] = []  # revocations that their member has not heard of
        self.store_closed = False
        self.photographs: deque[Any] = deque(maxlen=4)
        self.fell_back = False

        self.effects: Counter[str] = Counter()
        self.sleeps: dict[str, int] = {}
        self.tried: dict[str, int] = {}
        self._counter = 0
        self._names = 0

    def _draw_limits(self) -> Limits:
        draw = self.random.choice
        drawn = {
            "queued": draw((1, 2, 2000)),
            "refill": draw((1, 2, 64)),
            "held_bytes": draw((0, 4 << 20)),
            "spilled_bytes": draw((0, 64 << 20)),
            "state_bytes": draw((0, 32 << 20)),
            "inactivity_ms": draw((100, 60_000)),
            "waiting_attempts": draw((0, 1, 2000)),
        }
        return Limits(**(drawn | self.profile.limits))

    # -- what handlers and checks tell

    def report(self, violation: Violation) -> None:
        if self.violation is None:
            self.violation = violation

    def count(self) -> int:
        self._counter += 1
        return self._counter

    def act(self, me: str) -> bytes:
        self.effects[me] += 1
        return f"{me}!{self.count()}".encode()

    def show(self, me: str, mark: bytes | None) -> bytes:
        self.effects[me] += 1
        if mark is not None and mark not in self.store.committed_marks:
            self.report(Violation("R12", f"the step {me} showed {mark.decode()}, which no commit holds"))
        return b""

    def say(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now - 1_000_000:>7} {text}")

    # -- making things

    def make_tenure(self, shard: Shard) -> Tenure:
        def make_engine() -> tuple[ShardEngine, Intake]:
            engine = ShardEngine(shard, HANDLERS[shard.service], self.directory, self.limits)
            return engine, Intake(engine, TOPIC_ID, PARTITIONS)

        return Tenure(shard, make_engine, self.random, self.now)

    def start_member(self) -> Member:
        self._names += 1
        member = Member(self, f"w{self._names}")
        self.members.append(member)
        return member

    def assign(self, shard: Shard, member: Member) -> None:
        """The group has decided; its members hear of it when they get to it, and the one that loses the shard maybe long after."""
        before = self.assigned.get(shard)
        if before is not None and not before.gone:
            if before is not member and self.random.random() < 0.4:
                self.news.append((before, shard))
            else:
                self.revoke(before, shard)
        for old in [one for one in self.news if one == (member, shard)]:
            self.news.remove(old)
            self.revoke(*old)
        self.assigned[shard] = member
        member.told.append(("assigned", shard))

    def revoke(self, member: Member, shard: Shard) -> None:
        """The member's consumer learns that the shard is another's: it fetches no more, and says so."""
        member.reading.pop((NAMES.invocations(shard.service), shard.partition), None)
        member.told.append(("revoked", shard))

    def crash(self, member: Member) -> None:
        """The process is gone; what it gave to the network may still arrive."""
        member.gone = True
        self.members.remove(member)
        if member.session is not None:
            self.orphans.append(member.session)
        self.drop_requests(member, told=False)
        self.steps_done = [(owner, tell) for owner, tell in self.steps_done if owner is not member]
        self.news = [(one, shard) for one, shard in self.news if one is not member]
        heir = self.start_member()
        others = [one for one in self.members if one is not heir]
        for shard, owner in list(self.assigned.items()):
            if owner is member:
                self.assign(shard, self.random.choice(others) if others and self.random.random() < 0.3 else heir)

    def drop_requests(self, member: Member, *, told: bool) -> None:
        """Its connection to the store is gone. A request that was not executed yet may be, late, or never."""
        mine = [one for one in self.wire if one.member is member]
        answers = [one for one in self.answers if one.member is member]
        self.wire = [one for one in self.wire if one.member is not member]
        self.answers = [one for one in self.answers if one.member is not member]
        for request in mine:
            if self.random.random() < 0.6:
                self.late.append(Request(member, request.what, list(request.parts), _ignore, _nothing))
        if told:
            for request in mine + answers:
                request.lost()

    # -- running

    def run(self) -> World:
        """Raises Violation, with the world's trace as far as it was kept."""
        scene.world = self
        kept, marks.KEPT_LEASES = marks.KEPT_LEASES, self.profile.kept_leases  # type: ignore[misc]
        try:
            self._run()
        except Violation:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename.rpartition('/')[2]}:{last.name}"
            raise Violation("raised", f"{type(error).__name__} at {where}: {error}") from error
        finally:
            marks.KEPT_LEASES = kept  # type: ignore[misc]
        return self

    def _run(self) -> None:
        from tests.simulator import checks, settling

        for _ in range(self.profile.members):
            self.start_member()
        for shard in SHARDS:
            self.assign(shard, self.random.choice(self.members))
        self.photographs.append(self.store.photograph())
        kinds, weights = zip(*EVENTS.items(), strict=True)
        drawn = iter(self.random.choices(kinds, weights, k=self.events * 4))
        while self.happened < self.events:
            kind = next(drawn, None)
            if kind is None:
                break
            if self.do(kind) and self.random.random() < self.profile.rate:
                self._fault()
        settling.settle(self)
        checks.check(self)

    def do(self, event: Callable[[World], bool]) -> bool:
        """Let one event happen, if it can."""
        if not event(self):
            return False
        self.happened += 1
        if self.violation is not None:
            raise self.violation
        return True

    def _fault(self) -> None:
        number = self.faults_seen
        self.faults_seen += 1
        kinds = self.profile.faults
        [name] = self.random.choices(list(kinds), list(kinds.values()))
        if number in self._without_faults:
            return
        if getattr(faults, name)(self):
            self.faults_done.append(number)
            self.counts[name] += 1
            self.happened += 1
            if self.violation is not None:
                raise self.violation

    def some(self, members: list[Member]) -> Member | None:
        return self.random.choice(members) if members else None

    @property
    def awake(self) -> list[Member]:
        return [member for member in self.members if not member.frozen]


def _ignore(results: list[Any]) -> None:
    pass


def _nothing() -> None:
    pass


# -- events: each returns whether it could happen


def produce(world: World) -> bool:
    """A client writes its next request."""
    if not world.to_produce:
        return False
    write_request(world, world.to_produce.popleft())
    return True


def write_request(world: World, root: Root) -> None:
    root.produced += 1
    world.say(f"client: {root.token} -> {root.service}/{root.key or ''} {root.program[1]}")
    if root.raw:
        headers = [(raw.HANDLER, root.handler.encode())]
        record = OutRecord(
            NAMES.invocations(root.service), world.random.randrange(PARTITIONS),
            root.key.encode() if root.key else None, pack(root.program), headers,
        )  # fmt: skip
    else:
        id_ = idempotent_id(root.service, root.handler, root.key, root.token)
        reply_to = ReplyTo(CLIENT, root.token.encode())
        invocation = Invocation(id_, root.service, root.handler, root.key, pack(root.program), reply_to=reply_to)
        place = world.directory.invocation_place(root.service, id_)
        record = OutRecord(*place, b"", codec.encode_invocation(invocation), None)
    world.log.append(record, world.now)


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
    world.say(f"{member.name}: fetches {place[0]}[{place[1]}] {[record.offset for record in records]} under {batch.epoch}")
    if NAMES.service_of(place[0])[1] == "signals":  # type: ignore[index]
        member.signals.append(batch)
    else:
        member.told.append(("batch", batch))
    return True


def has_more(world: World, member: Member, place: Place) -> bool:
    records = world.log.partitions[place]
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
    waiting = [(session, place) for session in sessions for place in session.places()]
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
    queue.popleft()
    session.written.append((engine, number))
    return True


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
    tenure = member.tenures[engine.shard]
    if not tenure.is_sure(world.now):
        world.say(f"{member.name}: puts off the step {one.name}")
        tenure.put_off(one)
        return True
    _check_not_done_before(world, member, engine, one)
    world.say(f"{member.name}: runs the step {one.name}")
    world.steps_done.append((member, member.run_step(engine, one)))
    return True


def _check_not_done_before(world: World, member: Member, engine: ShardEngine, one: Any) -> None:
    """P3, for the owner: a step whose result is in the store does not run again."""
    tenure = member.tenures.get(engine.shard)
    meta = world.store.read(engine.shard, ("HGETALL", keys.META))
    if tenure is None or tenure.engine is not engine or meta.get(b"lease") != tenure.lease:
        return
    for packed in world.store.read(engine.shard, ("LRANGE", keys.journal(one.live.id), 0, -1)):
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


def open_store(world: World) -> bool:
    """A paused store answers again."""
    if not world.store_closed:
        return False
    world.say("store: answers again")
    world.store_closed = False
    return True


EVENTS: dict[Callable[[World], bool], int] = {
    produce: 6, hear: 12, hear_signals: 5, fetch: 10, turn: 22, serve: 22, answer: 16, write: 10, acknowledge: 6, reopen: 3,
    step: 5, step_over: 5, time: 6, serve_late: 1, learn: 2, thaw: 1, open_store: 2,
}  # fmt: skip
