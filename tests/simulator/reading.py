"""What a simulated process reads for its engines while they run (worker/loading.py, scheduler/loading.py).

Every question is a request of its own on the wire: it takes time, in which engine and store go on, and a line that
breaks puts it off. Called by `member.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from barnabas.log.port import Record
from barnabas.runtime import effects as fx
from barnabas.runtime.intake import Intake
from barnabas.runtime.kept import Found, KeptOutcome, unpack_kept
from barnabas.runtime.scheduling.effects import ReadRecords, ReadStranded, ReadWindow
from barnabas.runtime.scheduling.intake import DelayIntake
from barnabas.runtime.scheduling.scheduler import Scheduler
from barnabas.runtime.scheduling.waiting import Waiting, id_of_member, unpack_waiting
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.spilled import Spilled, unpack_spilled
from barnabas.runtime.tenure import Tenure
from barnabas.store import keys
from barnabas.store.port import Query

if TYPE_CHECKING:
    from tests.simulator.member import Member

#: Kept outcomes that are removed in one go.
EXPIRED = 2

Tell = Callable[[list[Any]], None]


class Reads(Protocol):
    """What a member needs of the reads of its kind of engines."""

    def holds_back(self, engine: Any) -> bool: ...

    def take_in(self, tenure: Tenure, records: list[Record]) -> None: ...

    def ask(self, tenure: Tenure, effect: Any) -> None: ...


def question(member: Member, engine: Any, what: str, queries: list[Query], tell: Tell) -> None:
    """Ask the store until it has answered; now and then something comes in between two of the queries."""
    store, shard, random = member.world.store, engine.shard, member.world.random

    def part(some: list[Query]) -> Callable[[], list[Any]]:
        return lambda: [store.read(shard, query) for query in some]

    def answer(results: list[list[Any]]) -> None:
        tell([one for result in results for one in result])

    def send() -> None:
        cut = len(queries) if random.random() < 0.7 else random.randint(0, len(queries))
        parts = [part(some) for some in (queries[:cut], queries[cut:]) if some] or [list]
        member.send(f"{what} {shard}", parts, answer, lost)

    def lost() -> None:
        if engine.closed:
            tell([None] * len(queries))
        else:
            send()

    send()


class WorkerReads:
    """Those of the shards of services."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._states_under_way: dict[ShardEngine, int] = {}
        self._lookups: dict[ShardEngine, deque[tuple[Intake, Any]]] = {}

    def holds_back(self, engine: Any) -> bool:
        return engine in self._states_under_way

    def take_in(self, tenure: Tenure, records: list[Record]) -> None:
        engine, intake = _both(tenure)
        decoded = intake.read(records)
        waiting = self._lookups.get(engine)
        if waiting is not None:
            waiting.append((intake, decoded))
        elif any(intake.wanted(decoded)):
            self._lookups[engine] = deque([(intake, decoded)])
            self._look_up(engine)
        else:
            intake.on_invocations(decoded)

    def _look_up(self, engine: ShardEngine) -> None:
        waiting = self._lookups[engine]
        if not waiting or engine.closed:
            del self._lookups[engine]
            return
        intake, decoded = waiting[0]

        def tell(found: Found) -> None:
            waiting.popleft()
            if not engine.closed:
                intake.on_invocations(decoded, found)
            self._look_up(engine)

        self._find(engine, "look up", *intake.wanted(decoded), tell)

    def _find(
        self, engine: ShardEngine, what: str, spilled: list[bytes], kept: list[bytes], tell: Callable[[Found], None]
    ) -> None:
        known, fresh = set(engine.spilling), dict(engine.kept.fresh)
        queries: list[Query] = [("HMGET", keys.SPILL, *spilled)] if spilled else []
        queries += [("HMGET", keys.KEPT, *kept)] if kept else []

        def found(answers: list[Any]) -> None:
            waiting = (answers.pop(0) if spilled else None) or []
            outcomes = (answers.pop(0) if kept else None) or []
            spilled_ids = {id_ for id_, value in zip(spilled, waiting, strict=False) if value is not None}
            tell(Found(known | spilled_ids, _outcomes(kept, outcomes) | fresh))

        question(self._member, engine, what, queries, found)

    # -- what engines ask

    def ask(self, tenure: Tenure, effect: Any) -> None:
        engine, intake = _both(tenure)
        match effect:
            case fx.LoadStates(names):
                self._load_states(engine, names)
            case fx.LoadInvocation(live):
                queries: list[Query] = [("HGET", keys.INPUTS, live.id), ("LRANGE", keys.journal(live.id), 0, -1)]
                self._question(engine, effect, queries, lambda found: engine.on_invocation_loaded(live, *found))
            case fx.Refill(key, count):
                self._question(
                    engine, effect, [("LRANGE", keys.spilled(key), 0, count - 1)],
                    lambda found: intake.on_refilled(key, [self._record(engine, packed) for packed in found[0]]),
                )  # fmt: skip
            case fx.TraceSignals(numbers):
                self._trace(engine, numbers)
            case fx.ReadEnd():
                asked_at = engine.now
                self._end(engine, lambda end: engine.keeping.on_end(asked_at, end))
            case fx.Expire(before):
                self._expire(engine, before)
            case fx.CheckDeadlock(live):
                self._member.looks.ask(engine, live)

    def _question(self, engine: ShardEngine, effect: Any, queries: list[Query], tell: Tell) -> None:
        def told(answers: list[Any]) -> None:
            if not engine.closed:
                tell(answers)
                engine.run_ready()

        question(self._member, engine, type(effect).__name__, queries, told)

    def _load_states(self, engine: ShardEngine, names: list[str]) -> None:
        self._states_under_way[engine] = self._states_under_way.get(engine, 0) + 1
        queries: list[Query] = [("HGETALL", keys.state(name)) for name in names]
        if engine.directory.services[engine.shard.service].kind == "workflow":
            queries += [("HGETALL", keys.promises(name)) for name in names]

        def told(answers: list[Any]) -> None:
            left = self._states_under_way.pop(engine, 1) - 1
            if engine.closed:
                return
            if left:
                self._states_under_way[engine] = left
            promises = dict(zip(names, answers[len(names) :], strict=False))
            engine.on_states(dict(zip(names, answers, strict=False)), promises)

        question(self._member, engine, "LoadStates", queries, told)

    def _record(self, engine: ShardEngine, packed: bytes) -> Spilled:
        entry = unpack_spilled(packed)
        if entry.stored:
            return entry
        world, shard = self._member.world, engine.shard
        found = world.log.read((world.names.invocations(shard.service), shard.partition), entry.offset, 1)
        return entry._replace(record=found[0] if found and found[0].offset == entry.offset else None)

    def _trace(self, engine: ShardEngine, numbers: list[int]) -> None:
        signals = [(number, engine.parked.get(number)) for number in numbers]
        ids = list({signal.invocation: None for _, signal in signals if signal is not None})

        def found(what: Found) -> None:
            def told(end: int) -> None:
                engine.signals.on_traced(numbers, what, end)
                engine.run_ready()

            if any(id_ not in what.spilled and id_ not in what.kept for id_ in ids):
                self._end(engine, told)
            elif not engine.closed:
                told(0)

        self._find(engine, "TraceSignals", ids, ids, found)

    def _end(self, engine: ShardEngine, tell: Callable[[int], None]) -> None:
        """Ask the log where the invocations of the shard end."""
        world, shard = self._member.world, engine.shard
        place = world.names.invocations(shard.service), shard.partition

        def answer(results: list[Any]) -> None:
            if not engine.closed:
                tell(results[0])

        def send() -> None:
            self._member.send(f"end of {place[0]}[{place[1]}]", [lambda: world.log.end(place)], answer, send)

        send()

    def _expire(self, engine: ShardEngine, before: int) -> None:
        def page(answers: list[Any]) -> None:
            entries = answers[0] or []
            ids = [id_ for id_, expires in entries[:EXPIRED] if expires <= before]
            later = entries[len(ids) :]
            earliest = int(later[0][1]) if later else None

            def outcomes(found: list[Any]) -> None:
                if not engine.closed:
                    kept = _outcomes(ids, found[0] if ids else [])
                    engine.keeping.on_expired({id_: kept.get(id_) for id_ in ids}, earliest)

            queries: list[Query] = [("HMGET", keys.KEPT, *ids)] if ids else []
            question(self._member, engine, "Expire", queries, outcomes)

        question(self._member, engine, "Expire", [("ZRANGE", keys.EXPIRY, 0, EXPIRED)], page)


class SchedulerReads:
    """Those of the shards of `delays`."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._lookups: dict[Scheduler, deque[tuple[DelayIntake, Any]]] = {}

    def holds_back(self, engine: Any) -> bool:
        return False

    def take_in(self, tenure: Tenure, records: list[Record]) -> None:
        engine, intake = _scheduling(tenure)
        decoded = intake.read(records)
        waiting = self._lookups.get(engine)
        if waiting is not None:
            waiting.append((intake, decoded))
        elif intake.ids_to_look_up(decoded):
            self._lookups[engine] = deque([(intake, decoded)])
            self._look_up(engine)
        else:
            intake.on_records(decoded)

    def _look_up(self, engine: Scheduler) -> None:
        waiting = self._lookups[engine]
        if not waiting or engine.closed:
            del self._lookups[engine]
            return
        intake, decoded = waiting[0]
        token = engine.window.asked(engine.number)

        def tell(found: dict[bytes, Waiting]) -> None:
            waiting.popleft()
            intake.on_records(decoded, found)
            engine.window.answered(token, engine.number)
            self._look_up(engine)

        self._headers(engine, intake.ids_to_look_up(decoded), tell)

    def ask(self, tenure: Tenure, effect: Any) -> None:
        engine, _ = _scheduling(tenure)
        match effect:
            case ReadWindow(token, count):
                self._page(
                    engine, keys.DUE, count, lambda given, read: engine.on_window(token, read, whole=given < count)
                )
            case ReadStranded(token, service, count):
                self._page(
                    engine, keys.stranded(service), count,
                    lambda given, read: engine.on_stranded(token, service, read),
                )  # fmt: skip
            case ReadRecords(token, ids):
                self._question(
                    engine, "ReadRecords", [("HMGET", keys.WAITING_INPUTS, *ids)],
                    lambda found: engine.on_records_read(token, dict(zip(ids, found[0], strict=True))),
                )  # fmt: skip

    def _question(self, engine: Scheduler, what: str, queries: list[Query], tell: Tell) -> None:
        def told(answers: list[Any]) -> None:
            if not engine.closed:
                tell(answers)

        question(self._member, engine, what, queries, told)

    def _page(self, engine: Scheduler, place: bytes, count: int, tell: Callable[[int, list[Waiting]], None]) -> None:
        def page(answers: list[Any]) -> None:
            members = [member for member, _ in answers[0]]
            ids = [id_of_member(member) for member in members]

            def headers(found: dict[bytes, Waiting]) -> None:
                waiting = [found.get(id_) for id_ in ids]
                pairs = zip(members, waiting, strict=True)
                tell(len(ids), [one for member, one in pairs if one is not None and one.member == member])

            self._headers(engine, ids, headers)

        self._question(engine, "ReadPage", [("ZRANGE", place, 0, count - 1)], page)

    def _headers(self, engine: Scheduler, ids: list[bytes], tell: Callable[[dict[bytes, Waiting]], None]) -> None:
        def told(answers: list[Any]) -> None:
            found = answers[0] if ids else []
            tell({id_: unpack_waiting(id_, header) for id_, header in zip(ids, found, strict=True) if header})

        self._question(engine, "ReadHeaders", [("HMGET", keys.WAITING, *ids)] if ids else [], told)


def _outcomes(ids: list[bytes], values: list[Any]) -> dict[bytes, KeptOutcome]:
    return {id_: unpack_kept(value) for id_, value in zip(ids, values or (), strict=False) if value is not None}


def _both(tenure: Tenure) -> tuple[ShardEngine, Intake]:
    assert isinstance(tenure.engine, ShardEngine)
    assert isinstance(tenure.intake, Intake)
    return tenure.engine, tenure.intake


def _scheduling(tenure: Tenure) -> tuple[Scheduler, DelayIntake]:
    assert isinstance(tenure.engine, Scheduler)
    assert isinstance(tenure.intake, DelayIntake)
    return tenure.engine, tenure.intake
