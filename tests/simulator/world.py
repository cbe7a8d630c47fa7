"""One simulated world: clients, workers, a log, a store, a clock, and one generator of chance that decides.

A run is a number of events under faults, then everything is mended and let run to its end, and `checks.py` looks at
what is left. The same seed gives the same run; faults are numbered as they come up, so that shrinking can leave single
ones out.
"""

from __future__ import annotations

import re
import traceback
from collections import Counter, deque
from collections.abc import Callable
from random import Random
from typing import Any

from barnabas.contract.ids import InvocationId
from barnabas.runtime import marks
from barnabas.runtime.directory import Directory
from barnabas.runtime.intake import Intake
from barnabas.runtime.limits import Limits
from barnabas.runtime.scheduling.intake import DelayIntake
from barnabas.runtime.scheduling.scheduler import FAMILY, Scheduler
from barnabas.runtime.scheduling.storing import QUESTIONS
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.subscribing import subscriber
from barnabas.runtime.subscribing.formats import RawFormat
from barnabas.runtime.subscribing.intake import SubscriptionIntake
from barnabas.runtime.subscribing.source import Source
from barnabas.runtime.subscribing.subscriber import Subscriber
from barnabas.runtime.tenure import Tenure
from barnabas.store import keys
from barnabas.store.port import Commit, Shard
from tests.simulator import checks, events, faults, feeding, looking, programs, settling, talking
from tests.simulator.faces import Log, Place, Violation, WatchedStore
from tests.simulator.member import Member, Request, Session
from tests.simulator.places import (
    DELAY_SHARDS,
    FEED_SHARDS,
    FEEDER,
    HANDLERS,
    NAMES,
    PARTITIONS,
    SCHEDULER,
    SERVICE_SHARDS,
    SERVICES,
    SUBSCRIPTION,
    TOPIC_ID,
    WORKER,
)
from tests.simulator.profiles import Profile
from tests.simulator.programs import FLOW, KNOT, OBJECT, SERVICE
from tests.simulator.workload import scene

assert talking.REJECTED, "programs find all of their ops"

#: How the message of a call begins that fails because it would wait for itself; it names invocations by their ids.
SELF_WAIT = "this call would wait for itself"
_IDS = re.compile(r"inv_\w+")
_SOURCE = Source(SUBSCRIPTION, TOPIC_ID, PARTITIONS, RawFormat(), {})


class DriverRules:
    """The driver's share in the rules, where a mutant can break it."""

    def __init__(self, max_active: int) -> None:
        self._max_active = max_active

    def adjust(self, member: Member) -> None:
        """Hold back new work by what is at work (R11)."""
        active = sum(self.load(engine) for engine in member.engines() if isinstance(engine, ShardEngine))
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
        self.store = WatchedStore(self._committed if profile.mix.knots else None)
        for topic, partitions in (
            *((name(service), PARTITIONS) for service in SERVICES for name in (NAMES.invocations, NAMES.signals)),
            (NAMES.delays, PARTITIONS),
            (NAMES.replies, 1),
            (NAMES.dead_letters, 1),
            (SUBSCRIPTION.topic, PARTITIONS),
        ):
            self.log.create(topic, partitions)
        self.directory = Directory(NAMES, SERVICES, 1, 1, PARTITIONS)
        self.rules = DriverRules(profile.max_active)
        self.limits = self._draw_limits()
        self.window = self.random.choice((1, 2, 5_000))  # waiting invocations in a scheduler's memory
        # entries of the outbox at which a subscription waits
        self.room = self.random.choice((1, 2, 2_000)) if profile.feeders else 0

        self.roots = [root for root in programs.roots_of(seed, profile.mix) if root.number not in without_roots]
        self.to_produce = deque(self.roots)
        self.fed = programs.fed_of(seed, profile.mix, PARTITIONS)
        self.to_feed = deque(self.fed)
        self.wire: list[Request] = []
        self.answers: list[Request] = []
        self.late: list[Request] = []
        self.steps_done: list[tuple[Member, Callable[[], None]]] = []
        self.orphans: list[Session] = []
        self.members: list[Member] = []
        self.assigned: dict[Shard, Member] = {}
        self.news: list[tuple[Member, Shard]] = []  # revocations that their member has not heard of
        self.store_closed = False
        self.stalled: set[Place] = set()
        self.lagging = 0  # until so much has happened nobody reads new work
        self.photographs: deque[Any] = deque(maxlen=4)
        self.fell_back = False

        self.shared = programs.shared_of(seed, profile.mix)
        self.cut = programs.may_be_cut(self.roots)
        self.leads_back = programs.leads_back(seed, profile.mix)
        self.caught: set[bytes] = set()  # who ever waited for itself
        self.may_repeat = {"s1"} if profile.mix.brief or "s1" in self.cut else set()
        self.earliest: dict[str, int] = {}  # tokens of programs that have a due time
        self.napped: set[str] = set()  # tokens of programs that were not cut short in time
        self.seen: dict[str, Any] = {}  # what came from others, by place
        self.shown: dict[str, str] = {}  # places of awakeables whose ids the outside knows
        self.revealed: deque[tuple[str, str]] = deque()  # those that it has not completed yet
        self.resolved: dict[str, list[str]] = {}  # what it has completed them with
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

    def started(self, token: str) -> None:
        if self.now < self.earliest.get(token, 0):
            self.report(Violation("P5", f"{token} starts {self.earliest[token] - self.now} ms before it is due"))

    def call_failed(self, token: str, why: str) -> None:
        """A handler was told so. No call fails for waiting for itself that did not."""
        if not why.startswith(SELF_WAIT):
            return
        self.counts["deadlocks"] += 1
        strangers = [text for text in _IDS.findall(why) if InvocationId.parse(text) not in self.caught]
        if strangers or not self.leads_back:
            self.report(Violation("F37", f"the call of {token} failed, and waited for nobody like that: {why}"))

    def _committed(self, commit: Commit) -> None:
        if any(op[1] in (keys.HEADS, keys.LIVE) or op[0] == "RPUSH" for op in commit.ops):
            self.caught |= looking.caught_now(self)

    def reveal(self, me: str, id_: str) -> bytes:
        if id_ not in self.shown:
            self.shown[id_] = me
            self.revealed.append((me, id_))
        return b""

    def say(self, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.now - 1_000_000:>7} {text}")

    # -- making things

    def make_tenure(self, shard: Shard) -> Tenure:
        def make_engine() -> tuple[ShardEngine, Intake]:
            engine = ShardEngine(shard, HANDLERS[shard.service], self.directory, self.limits)
            return engine, Intake(engine, TOPIC_ID, PARTITIONS)

        def make_scheduler() -> tuple[Scheduler, DelayIntake]:
            scheduler = Scheduler(shard, self.directory, PARTITIONS, self.window)
            return scheduler, DelayIntake(scheduler)

        def make_subscriber() -> tuple[Subscriber, SubscriptionIntake]:
            engine = Subscriber(shard, self.directory, _SOURCE)
            return engine, SubscriptionIntake(engine)

        if shard.service == _SOURCE.family:
            return Tenure(shard, make_subscriber, self.random, self.now, subscriber.QUESTIONS)
        if shard.service == FAMILY:
            return Tenure(shard, make_scheduler, self.random, self.now, QUESTIONS)
        return Tenure(shard, make_engine, self.random, self.now)

    def start_member(self, kind: str) -> Member:
        self._names += 1
        member = Member(self, f"{kind[0]}{self._names}", kind)
        self.members.append(member)
        return member

    def assign(self, shard: Shard, member: Member) -> None:
        """The group has decided; its members hear of it when they get to it, the loser maybe late."""
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
        member.reading.pop((member.places.intake(shard), shard.partition), None)
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
        heir = self.start_member(member.kind)
        others = [one for one in self.members if one is not heir and one.kind == member.kind]
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
        services = (KNOT, SERVICE) if self.profile.mix.knots else (OBJECT, SERVICE, FLOW)
        served = [shard for shard in SERVICE_SHARDS if shard.service in services]
        for group_kind, count, shards in (
            (WORKER, self.profile.members, served), (SCHEDULER, self.profile.schedulers, DELAY_SHARDS),
            (FEEDER, self.profile.feeders, FEED_SHARDS),
        ):  # fmt: skip
            group = [self.start_member(group_kind) for _ in range(count)]
            for shard in shards if group else ():
                self.assign(shard, self.random.choice(group))
        self.photographs.append(self.store.photograph())
        happening = events.EVENTS | ({feeding.feed: 4} if self.profile.feeders else {})
        kinds, weights = zip(*happening.items(), strict=True)
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
