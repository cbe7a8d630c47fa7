"""Each rule of DESIGN.md 6 that is built, switched off (F56).

One small place of the engine, the store or the driver's part is replaced while a mutant is active; the shipped code
knows nothing of it. The simulator must find what the rule is there against.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from barnabas.contract.ids import InvocationId, idempotent_id
from barnabas.contract.records import Failure, Label, Signal, SignalKind
from barnabas.introspection import reading
from barnabas.introspection.graph import CALL, Wait
from barnabas.introspection.reading import Ref
from barnabas.introspection.waits import call_target
from barnabas.log.port import OutRecord, Record
from barnabas.runtime import effects as fx
from barnabas.runtime import journal as j
from barnabas.runtime.attempt import Attempt
from barnabas.runtime.deadlocks import Deadlocks
from barnabas.runtime.hosting import Hosting
from barnabas.runtime.keeping import Keeping
from barnabas.runtime.live import Live, Step
from barnabas.runtime.marks import Marks, Verdict
from barnabas.runtime.outbox import Outbox
from barnabas.runtime.ring import Ring
from barnabas.runtime.sender import Sender, partition_key
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.signals import Signals
from barnabas.runtime.subscribing.intake import SubscriptionIntake
from barnabas.runtime.subscribing.subscriber import Subscriber
from barnabas.runtime.tenure import State, Tenure
from barnabas.store import keys
from barnabas.store.port import Applied, Commit, Op, Refused, StoreUnavailable
from barnabas.worker.deadlocks import DeadlockCheck
from tests.simulator.faces import WatchedStore
from tests.simulator.member import Member
from tests.simulator.world import DriverRules, World

Patch = tuple[Any, str, Any]


@dataclass(frozen=True)
class Mutant:
    """`patches`: what to put where. `profiles`: the worlds in which it is looked for, in turn."""

    rule: str
    without: str
    profiles: tuple[str, ...]
    patches: Callable[[], list[Patch]]

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Everything that runs inside is without the rule."""
        patches = self.patches()
        before = [(owner, name, owner.__dict__[name]) for owner, name, _ in patches]
        for owner, name, replacement in patches:
            setattr(owner, name, replacement)
        try:
            yield
        finally:
            for owner, name, original in before:
                setattr(owner, name, original)


def _r1() -> list[Patch]:
    judge = Marks.judge

    def one_mark_for_both_topics(self: Marks, topic: str, label: Label) -> Verdict:
        return judge(self, "both", label)

    return [(Marks, "judge", one_mark_for_both_topics)]


def _r2() -> list[Patch]:
    def the_others_go_on(self: DriverRules, world: World, member: Member) -> None:
        """The record that failed is sent again, behind those that followed it."""
        assert member.session is not None
        for queue in member.session.queues.values():
            queue.rotate(-1)

    return [(DriverRules, "delivery_failed", the_others_go_on)]


def _r3() -> list[Patch]:
    def again_under_its_lease(self: Tenure, commit: Commit, outcome: Any, now: int) -> None:
        """No reply came: the ops go out again under their lease, with whatever number the store takes next."""
        ours = commit is self._flight and commit.ops and self.state is State.ACTIVE and self.engine is not None
        if ours and isinstance(outcome, StoreUnavailable):
            self._send(Commit(commit.shard, commit.lease, commit.number, commit.ops), now)
        elif ours and isinstance(outcome, Refused) and outcome.number == commit.number:
            self._send(Commit(commit.shard, commit.lease, commit.number + 1, commit.ops), now)
        else:
            if ours and isinstance(outcome, Applied):
                self.engine.next_commit = commit.number + 1  # type: ignore[union-attr]
            on_commit(self, commit, outcome, now)

    on_commit = Tenure.on_commit
    return [(Tenure, "on_commit", again_under_its_lease)]


def _r4() -> list[Patch]:
    def refused_for_good(self: Tenure, commit: Commit, outcome: Any, now: int) -> None:
        on_commit(self, commit, outcome, now)
        if isinstance(outcome, Refused) and self.state is State.WAITING:
            self._act_at = now + 10**12

    on_commit = Tenure.on_commit
    return [(Tenure, "on_commit", refused_for_good)]


def _r4_check() -> list[Patch]:
    def never_looks(self: Tenure, now: int) -> None:
        self._spoke_at = now
        gather(self, now)

    gather = Tenure.gather
    return [(Tenure, "gather", never_looks)]


def _r5() -> list[Patch]:
    def any_number(self: WatchedStore, commit: Commit) -> Applied | Refused:
        self.checked = False  # it would say so at once: let the loss itself show
        shard = self._shards.get(commit.shard, {})
        meta: Any = shard.get(b"meta", {})
        if meta.get(b"lease") == commit.lease and int(meta.get(b"number", b"0")) < commit.number:
            meta[b"number"] = b"%d" % (commit.number - bool(commit.ops))
        return original(self, commit)

    original = WatchedStore.commit
    return [(WatchedStore, "commit", any_number)]


def _r6() -> list[Patch]:
    def at_once(self: Sender, signal: Signal, service: str, key: str | None = None) -> None:
        self._signal(signal, service, key)

    return [(Sender, "signal_about", at_once)]


def _r6_number() -> list[Patch]:
    """The number is given at once, and the record is held back."""
    held: WeakKeyDictionary[Outbox, dict[bytes, set[int]]] = WeakKeyDictionary()

    def numbered_at_once(self: Sender, signal: Signal, service: str, key: str | None = None) -> None:
        carried = self._outbox.carries(signal.invocation)
        self._signal(signal, service, key)
        if carried:
            held.setdefault(self._outbox, {}).setdefault(signal.invocation, set()).add(self._outbox.last)

    def without_held(self: Outbox, numbers: list[int]) -> list[tuple[int, OutRecord]]:
        waiting = {one for id_, some in held.get(self, {}).items() if self.carries(id_) for one in some}
        return get(self, [number for number in numbers if number not in waiting])

    def then_what_was_held(self: ShardEngine, numbers: list[int]) -> None:
        before = {id_ for id_ in held.get(self.outbox, {}) if self.outbox.carries(id_)}
        on_delivered(self, numbers)
        for id_ in before:
            if not self.outbox.carries(id_):
                self.produce(sorted(held[self.outbox].pop(id_)))

    get, on_delivered = Outbox.get, ShardEngine.on_delivered
    return [
        (Sender, "signal_about", numbered_at_once),
        (Outbox, "get", without_held),
        (ShardEngine, "on_delivered", then_what_was_held),
    ]


def _r7() -> list[Patch]:
    def dropped_at_once(self: Signals, signal: Signal) -> None:
        known = signal.invocation in self._engine.live
        if known or signal.kind is SignalKind.COMPLETION or self._engine.ring.get(signal.invocation) is not None:
            take(self, signal)

    take = Signals.take
    return [(Signals, "take", dropped_at_once)]


def _r7_position() -> list[Patch]:
    def at_hand_only(self: Attempt, position: int | str | None, call_id: bytes | None) -> bool:
        future = self._open.get(position)  # type: ignore[arg-type]
        return call_id == j.OF_SIGNAL or (future is not None and future.call_id == call_id)

    return [(Attempt, "expects", at_hand_only)]


def _r8() -> list[Patch]:
    def straight_to_its_target(self: Sender, signal: Signal, service: str, key: str | None) -> None:
        id_ = InvocationId(signal.invocation)
        self.signal_to(self.directory.signal_place(service, id_), signal, partition_key(id_, key).encode())

    return [(Sender, "_signal", straight_to_its_target)]


def _r9() -> list[Patch]:
    def by_position(self: Attempt, position: int, call_id: bytes | None) -> bool:
        return position in self._open

    def apply(self: Attempt, entry: list[Any]) -> None:
        future = self._open.get(entry[1])
        if future is not None:
            entry = [entry[0], entry[1], future.call_id, *entry[3:]]
        original(self, entry)

    original = Attempt._apply
    return [(Attempt, "expects", by_position), (Attempt, "_apply", apply)]


def _r10() -> list[Patch]:
    return [(Ring, "get", lambda self, id_: None)]


def _r11() -> list[Patch]:
    return [(DriverRules, "load", lambda self, engine: len(engine.live))]


def _r12_step() -> list[Patch]:
    def at_once(self: Hosting, step: Step) -> None:
        live = step.live
        live.steps = live.steps or {}
        if step.position not in live.steps:
            live.steps[step.position] = step
            self.stepping.run(step)

    return [(Hosting, "start_step", at_once)]


def _r12_answer() -> list[Patch]:
    def before_its_commit(self: Tenure, engine: ShardEngine, now: int) -> None:
        commit(self, engine, now)
        self._effects.append(fx.Produce(engine.outbox.get(self._promised)))

    commit = Tenure._commit
    return [(Tenure, "_commit", before_its_commit)]


def _r13() -> list[Patch]:
    def by_the_clock(self: Keeping) -> None:
        self.read(self._engine.now)
        expire(self)

    expire = Keeping.expire
    return [(Keeping, "expire", by_the_clock)]


def _r14() -> list[Patch]:
    def in_order_of_takes(self: Marks, topic: str, label: Label) -> Verdict:
        """One mark a sender: what comes from an older take than the newest seen was surely seen."""
        sender = (topic, label.shard)
        newest = max((mark[0] for mark in self._senders.get(sender, {}).values()), default=0)
        return Verdict.SEEN if label.take < newest else judge(self, topic, label)

    judge = Marks.judge
    return [(Marks, "judge", in_order_of_takes)]


def _r15() -> list[Patch]:
    def outage_is_failure(self: Tenure, commit: Commit, outcome: Any, now: int) -> None:
        """An outage counts against the work that met it, until it is given up."""
        if isinstance(outcome, StoreUnavailable) and commit is self._flight and isinstance(self.engine, ShardEngine):
            for live in list(self.engine.live.values()):
                live.attempts += 24
                if live.attempts >= 70 and live.attempt is not None:
                    live.attempt.drop()
                    self.engine.finish(live, None, Failure(503, "the store did not answer"))
        on_commit(self, commit, outcome, now)

    on_commit = Tenure.on_commit
    return [(Tenure, "on_commit", outage_is_failure)]


def _r16() -> list[Patch]:
    def only_the_letter(self: Sender, record: Any, why: str) -> None:
        undeliverable(self, record, why)

    undeliverable = Sender.undeliverable
    return [(Sender, "undeliverable", only_the_letter)]


def _r17() -> list[Patch]:
    return [(Tenure, "takes_in", lambda self, epoch: self.engine is not None)]


def _feed_outbox() -> list[Patch]:
    def without_what_it_promises(self: Subscriber) -> tuple[list[Op], list[int]]:
        ops, promised = seal(self)
        return [op for op in ops if op[:2] != ("HSET", keys.OUTBOX)], promised

    seal = Subscriber.seal
    return [(Subscriber, "seal", without_what_it_promises)]


def _feed_id() -> list[Patch]:
    def by_chance(self: SubscriptionIntake, record: Record, key: str | None, *, is_run: bool) -> InvocationId:
        service = self._subscription.service
        return idempotent_id(service, "work", key, f"{self._engine.outbox.last}/{self._engine._sender.lease.hex()}")

    return [(SubscriptionIntake, "_id", by_chance)]


def _look_early() -> list[Patch]:
    def at_once(self: Deadlocks, live: Live) -> None:
        queued(self, live)
        self.on_committed(self._engine.next_commit)

    async def never(self: DeadlockCheck, asked: Any) -> None:
        self._is_over(asked)

    queued = Deadlocks.queued
    return [(Deadlocks, "queued", at_once), (DeadlockCheck, "_look_again", never)]


def _look_of_heirs() -> list[Patch]:
    return [(Deadlocks, "restored", lambda self, live: None)]


def _look_of_spilled() -> list[Patch]:
    return [(Deadlocks, "spilled", lambda self, live: None)]


def _look_unanswered() -> list[Patch]:
    return [(DeadlockCheck, "_put_off", lambda self, asked, error: self._is_over(asked))]


def _look_at_sends() -> list[Patch]:
    def waits_for_them(places: Any, journal: Sequence[j.Entry]) -> list[tuple[Wait, Ref]]:
        targets = [call_target(entry) for entry in journal if entry[0] == j.SEND]
        return open_refs(places, journal) + [(Wait(CALL, target.id), Ref(*target)) for target in targets]

    open_refs = reading.open_refs
    return [(reading, "open_refs", waits_for_them)]


MUTANTS = [
    Mutant("R1", "one mark for both topics of a shard", ("crashes", "calm"), _r1),
    Mutant("R2", "a session goes on after a failure", ("deliveries",), _r2),
    Mutant("R3", "a commit without reply is sent again under its lease", ("lines", "contest"), _r3),
    Mutant("R4", "a refused owner does not take again", ("contest", "groups"), _r4),
    Mutant("R4", "an idle owner does not look", ("idle",), _r4_check),
    Mutant("R5", "any higher number is taken", ("idle", "fallback"), _r5),
    Mutant("R6", "a signal about an own send is produced at once", ("stalls",), _r6),
    Mutant("R6", "it gets its number at once, and is held back", ("stalls",), _r6_number),
    Mutant("R7", "a signal for what is unknown is dropped", ("talk",), _r7),
    Mutant("R7", "a signal for a position that is not there is dropped", ("early",), _r7_position),
    Mutant("R8", "signals about delayed ones go to the target", ("later",), _r8),
    Mutant("R9", "results match on the position alone", ("dice",), _r9),
    Mutant("R10", "ids that are kept are not looked up", ("calm", "fallback"), _r10),
    Mutant("R11", "waiting work holds back intake", ("narrow",), _r11),
    Mutant("R12", "a step starts before what it follows from is committed", ("reads", "crashes"), _r12_step),
    Mutant("R12", "an answer leaves before its commit", ("reads",), _r12_answer),
    Mutant("R13", "outcomes expire by the clock", ("brief",), _r13),
    Mutant("R14", "leases are ordered for dedupe", ("early",), _r14),
    Mutant("R15", "an outage counts as a failure of the work", ("outages",), _r15),
    Mutant("R16", "a call that became a dead letter is not answered", ("crashes", "calm"), _r16),
    Mutant("R17", "records of an older assignment are taken", ("early", "idle"), _r17),
    Mutant("feed", "an offset without the outbox entries of its records", ("feeds",), _feed_outbox),
    Mutant("feed", "ids of others than the place of the record", ("refed",), _feed_id),
    Mutant("F37", "a call is looked at once, before it is in the store", ("knots",), _look_early),
    Mutant("F37", "a new owner does not look", ("knots",), _look_of_heirs),
    Mutant("F37", "a call that spilled is not looked at", ("knots",), _look_of_spilled),
    Mutant("F37", "a look without an answer is not made again", ("knots",), _look_unanswered),
    Mutant("F37", "who sends counts as one who waits", ("knots",), _look_at_sends),
]
