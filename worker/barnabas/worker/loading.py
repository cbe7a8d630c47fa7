"""Reads from the store and from Kafka what engines ask for while they run: states, suspended work, spilled inputs.

Everything asked for in one turn is one round trip. Records whose ids must be looked up among spilled ones (R10, R11)
wait here, in order, until the store has answered. Called by the driver; an outage puts the questions off, it does not
lose them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any

from barnabas.contract.errors import PoisonRecord
from barnabas.contract.records import Invocation
from barnabas.contract.topics import TopicNames
from barnabas.log.port import LogUnavailableError, Reader, Record
from barnabas.runtime import effects as fx
from barnabas.runtime.engine import Engine
from barnabas.runtime.intake import Intake
from barnabas.runtime.kept import NOTHING, Found, KeptOutcome, unpack_kept
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.spilled import Spilled, unpack_record, unpack_spilled
from barnabas.runtime.tenure import Tenure
from barnabas.store import keys
from barnabas.store.port import Query, Service, Shard, Store, StoreCorrupt, StoreUnavailable
from barnabas.worker.deadlocks import DeadlockCheck

log = logging.getLogger("barnabas.worker")

AGAIN_SECONDS = 0.2
PAGE = 100  # spilled entries looked at together
PRESERVED = 500  # records copied to the store in one go
GAP = 16  # offsets at the end of a topic that may hold no record
EXPIRED = 500  # kept outcomes removed in one go

Asked = (
    fx.LoadStates | fx.LoadInvocation | fx.Refill | fx.Preserve | fx.TraceSignals | fx.ReadEnd | fx.ReadRing | fx.Expire
)
Decoded = list[tuple[Record, Invocation | PoisonRecord]]


class Loader:
    """The reads under way in this process."""

    def __init__(
        self, store: Store, reader: Reader, names: TopicNames, services: Callable[[], Mapping[str, Service]] = dict
    ) -> None:
        """`services` gives all that are registered, each time it is called."""
        self._deadlocks = DeadlockCheck(store, services)
        self._store = store
        self._reader = reader
        self._names = names
        self._questions: list[_Question] = []
        self._states_under_way: dict[ShardEngine, int] = {}
        self._lookups: dict[ShardEngine, deque[tuple[Intake, Decoded]]] = {}
        self._spawn: Callable[[Any], None] = lambda _: None
        self._between_turns: Callable[[], AbstractContextManager[None]]
        self._touch: Callable[[Engine], None]
        self._halt: Callable[[Engine, str], None]

    def bind(
        self,
        spawn: Callable[[Any], None],
        between_turns: Callable[[], AbstractContextManager[None]],
        touch: Callable[[Engine], None],
        halt: Callable[[Engine, str], None],
    ) -> None:
        """How to run a coroutine, and how to enter engines from it."""
        self._spawn = spawn
        self._between_turns = between_turns
        self._touch = touch
        self._halt = halt
        self._deadlocks.bind(spawn, between_turns, touch)

    def holds_back(self, engine: Engine | None) -> bool:
        """Whether the next commit had better wait for a read: what waits for its state may well end in that commit."""
        return engine is not None and engine in self._states_under_way

    def take_in(self, tenure: Tenure, records: list[Record]) -> None:
        """Hand records to the intake: at once, or in order after the store has said which of their ids it knows."""
        engine, intake = _both(tenure)
        decoded = intake.read(records)
        if self.looks_up(engine) or any(intake.wanted(decoded)):
            self.look_up(engine, intake, decoded)
        else:
            intake.on_invocations(decoded)

    def ask(self, tenure: Tenure, effect: fx.Read) -> None:
        """Take a question of this engine; `flush` sends it."""
        engine, intake = _both(tenure)
        if isinstance(effect, fx.CheckDeadlock):
            self._deadlocks.ask(engine, effect.live)
            return
        assert isinstance(effect, Asked)
        if isinstance(effect, fx.LoadStates):
            self._states_under_way[engine] = self._states_under_way.get(engine, 0) + 1
        self._questions.append(_Question(engine, intake, effect))

    def flush(self) -> None:
        """Send what was asked since the last call."""
        if self._questions:
            questions, self._questions = self._questions, []
            self._spawn(self._answer(questions))

    async def _answer(self, questions: list[_Question]) -> None:
        asked = [(one.engine.shard, query) for one in questions for query in one.queries()]
        try:
            answers = iter(await self._read(asked, questions))
        except StoreCorrupt as error:
            self._separate(questions, error)
            return
        refills: list[tuple[_Question, list[bytes]]] = []
        with self._between_turns():
            for one in questions:
                mine = [next(answers) for _ in one.queries()]
                if one.engine.closed:
                    self._states_under_way.pop(one.engine, None)
                elif isinstance(one.effect, fx.LoadStates):
                    self._loaded_states(one.engine, one.effect.keys, mine)
                elif isinstance(one.effect, fx.LoadInvocation):
                    one.engine.on_invocation_loaded(one.effect.live, mine[0], mine[1])
                elif isinstance(one.effect, fx.Preserve):
                    self._spawn(self._or_halt(one, self._preserve(one)))
                elif isinstance(one.effect, fx.Refill):
                    refills.append((one, mine[0]))
                else:
                    self._spawn(self._or_halt(one, self._look(one)))
                self._touch(one.engine)
        for one, packed in refills:
            self._spawn(self._or_halt(one, self._refill(one, packed)))

    def _separate(self, questions: list[_Question], error: StoreCorrupt) -> None:
        """One of the questions met something that is not ours. Stop the shard that asked it, and no other."""
        by_engine: dict[ShardEngine, list[_Question]] = {}
        for one in questions:
            by_engine.setdefault(one.engine, []).append(one)
        if len(by_engine) == 1:
            [engine] = by_engine
            self._states_under_way.pop(engine, None)
            self._halt(engine, str(error))
            return
        for mine in by_engine.values():
            self._spawn(self._answer(mine))

    def _loaded_states(self, engine: ShardEngine, names: list[str], answers: list[dict[bytes, bytes]]) -> None:
        left = self._states_under_way[engine] - 1
        if left:
            self._states_under_way[engine] = left
        else:
            del self._states_under_way[engine]
        states = dict(zip(names, answers, strict=False))
        promises = dict(zip(names, answers[len(names) :], strict=False))
        engine.on_states(states, promises)

    async def _read(self, asked: list[tuple[Shard, Query]], questions: list[_Question]) -> list[Any]:
        while True:
            try:
                return await self._store.read(asked)
            except StoreUnavailable as error:
                if all(one.engine.closed for one in questions):
                    return [None] * len(asked)
                log.warning("cannot read from the store, trying again: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _or_halt(self, one: _Question, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreCorrupt as error:
            self._halt(one.engine, str(error))

    async def _refill(self, one: _Question, packed: list[bytes]) -> None:
        """Hand spilled work back, with its records."""
        assert isinstance(one.effect, fx.Refill)
        entries = [unpack_spilled(entry) for entry in packed]
        records = await self._records(one, [entry for entry in entries if not entry.stored])
        entries = [entry if entry.stored else entry._replace(record=records.get(entry.id)) for entry in entries]
        with self._between_turns():
            if not one.engine.closed:
                one.intake.on_refilled(one.effect.key, entries)
                self._touch(one.engine)

    async def _records(self, one: _Question, wanted: list[Spilled]) -> dict[bytes, Record]:
        """Records that the spilled list does not have: kept by the store since, or still in Kafka."""
        kept = await self._kept(one, wanted)
        return kept | await self._in_kafka(one, [entry for entry in wanted if entry.id not in kept])

    async def _kept(self, one: _Question, wanted: list[Spilled]) -> dict[bytes, Record]:
        if not wanted:
            return {}
        ids = [entry.id for entry in wanted]
        [values] = await self._read([(one.engine.shard, ("HMGET", keys.SPILL_RECORDS, *ids))], [one])
        return {id_: unpack_record(value) for id_, value in zip(ids, values or (), strict=False) if value is not None}

    async def _in_kafka(self, one: _Question, wanted: list[Spilled]) -> dict[bytes, Record]:
        shard = one.engine.shard
        topic = self._names.invocations(shard.service)
        while wanted and not one.engine.closed:
            try:
                records = await self._reader.read(topic, shard.partition, [entry.offset for entry in wanted])
            except LogUnavailableError as error:
                log.warning("cannot read %s[%d] again, trying again: %s", topic, shard.partition, error)
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            return {entry.id: records[entry.offset] for entry in wanted if entry.offset in records}
        return {}

    async def _preserve(self, one: _Question) -> None:
        """Look through a key's spilled work, oldest first, for what only Kafka has and will not have much longer."""
        assert isinstance(one.effect, fx.Preserve)
        key, before = one.effect.key, one.effect.before
        found: list[tuple[bytes, Record]] = []
        since = start = 0
        while not one.engine.closed and not since:
            place = (one.engine.shard, ("LRANGE", keys.spilled(key), start, start + PAGE - 1))
            [packed] = await self._read([place], [one])
            if not packed:
                break
            start += PAGE
            elsewhere = [entry for entry in map(unpack_spilled, packed) if not entry.stored]
            kept = await self._kept(one, elsewhere)
            records = await self._in_kafka(one, [entry for entry in elsewhere if entry.id not in kept])
            old = {id_: record for id_, record in records.items() if record.timestamp <= before}
            found += old.items()
            if len(old) < len(records) or len(found) >= PRESERVED:  # the rest is younger, or waits for the next look
                since = next((r.timestamp for r in records.values() if r.timestamp > before), before)
        with self._between_turns():
            if not one.engine.closed:
                one.intake.on_preserved(key, found, since)
                self._touch(one.engine)

    # -- outcomes, and signals that nobody was here for

    async def _look(self, one: _Question) -> None:
        """Trace parked signals, look at the end of the topic, or find what has expired."""
        engine, effect = one.engine, one.effect
        match effect:
            case fx.TraceSignals(numbers):
                asked = {number: signal.invocation for number in numbers if (signal := engine.parked.get(number))}
                known, fresh = set(engine.spilling), dict(engine.kept.fresh)
                ids = list(dict.fromkeys(asked.values()))
                found = await self._found(one, ids, ids)
                found = Found(known | found.spilled, {**found.kept, **fresh})
                unknown = any(id_ not in found.spilled and id_ not in found.kept for id_ in ids)
                end = await self._end(one) if unknown else 0
                self._enter(one, lambda: engine.signals.on_traced(numbers, found, end))
            case fx.ReadRing(signal):
                [entries] = await self._read([(engine.shard, ("LRANGE", keys.RING, 0, -1))], [one])
                self._enter(one, lambda: engine.operating.on_ring(signal, entries or []))
            case fx.ReadEnd():
                asked_at = engine.now
                end = await self._end(one)
                self._enter(one, lambda: engine.keeping.on_end(asked_at, end))
            case fx.Expire(before):
                expired, earliest = await self._expired(one, before)
                self._enter(one, lambda: engine.keeping.on_expired(expired, earliest))

    def _enter(self, one: _Question, tell: Callable[[], None]) -> None:
        if not one.engine.closed:
            with self._between_turns():
                tell()
                one.engine.run_ready()
            self._touch(one.engine)

    async def _found(self, one: _Question, spilled: list[bytes], kept: list[bytes]) -> Found:
        """What the store knows of these ids."""
        queries: list[Query] = []
        if spilled:
            queries.append(("HMGET", keys.SPILL, *spilled))
        if kept:
            queries.append(("HMGET", keys.KEPT, *kept))
        answers = await self._read([(one.engine.shard, query) for query in queries], [one]) if queries else []
        waiting = answers.pop(0) or [] if spilled else []
        outcomes = answers.pop(0) or [] if kept else []
        return Found(
            {id_ for id_, value in zip(spilled, waiting, strict=False) if value is not None},
            {id_: unpack_kept(value) for id_, value in zip(kept, outcomes, strict=False) if value is not None},
        )

    async def _end(self, one: _Question) -> int:
        shard = one.engine.shard
        topic = self._names.invocations(shard.service)
        while not one.engine.closed:
            try:
                end = await self._reader.end(topic, shard.partition)
                rest = range(one.engine.next_invocation or 0, end)
                if 0 < len(rest) <= GAP and not await self._reader.read(topic, shard.partition, rest):
                    return rest.start  # markers of transactions, which nobody will ever read
                return end
            except LogUnavailableError as error:
                log.warning("cannot ask for the end of %s[%d], trying again: %s", topic, shard.partition, error)
                await asyncio.sleep(AGAIN_SECONDS)
        return 0

    async def _expired(self, one: _Question, before: int) -> tuple[dict[bytes, KeptOutcome | None], int | None]:
        """The first page of what has expired, and when the next one of all does."""
        [entries] = await self._read([(one.engine.shard, ("ZRANGE", keys.EXPIRY, 0, EXPIRED))], [one])
        ids = [id_ for id_, expires in (entries or [])[:EXPIRED] if expires <= before]
        later = (entries or [])[len(ids) :]
        earliest = int(later[0][1]) if later else None
        found = await self._found(one, [], ids)
        return {id_: found.kept.get(id_) for id_ in ids}, earliest

    # -- ids that may have been spilled, or that outcomes are kept of

    def looks_up(self, engine: ShardEngine) -> bool:
        """Whether batches of this engine wait for an answer; later ones must wait behind them."""
        return engine in self._lookups

    @property
    def waiting_bytes(self) -> int:
        """Bytes of records that wait for a look-up."""
        batches = [decoded for waiting in self._lookups.values() for _, decoded in waiting]
        return sum(len(record.value or b"") for decoded in batches for record, _ in decoded)

    def look_up(self, engine: ShardEngine, intake: Intake, decoded: Decoded) -> None:
        """Hand the batch to `intake` once the store has said which of its ids wait there."""
        waiting = self._lookups.get(engine)
        if waiting is not None:
            waiting.append((intake, decoded))
            return
        self._lookups[engine] = deque([(intake, decoded)])
        self._spawn(self._look_up_all(engine))

    async def _look_up_all(self, engine: ShardEngine) -> None:
        waiting = self._lookups[engine]
        while waiting:
            intake, decoded = waiting[0]
            one = _Question(engine, intake, fx.ReadEnd())
            spilled, kept = intake.wanted(decoded)
            # What is being spilled right now is not in the store yet; asked for before the read, so that nothing falls
            # between. Of outcomes `wanted` has seen to that.
            known = set(engine.spilling)
            try:
                found = NOTHING if engine.closed else await self._found(one, spilled, kept)
            except StoreCorrupt as error:
                self._halt(engine, str(error))
                break
            found = Found(known | found.spilled, found.kept)
            waiting.popleft()
            if not engine.closed:
                with self._between_turns():
                    intake.on_invocations(decoded, found)
                self._touch(engine)
        del self._lookups[engine]


def _both(tenure: Tenure) -> tuple[ShardEngine, Intake]:
    engine, intake = tenure.engine, tenure.intake
    assert isinstance(engine, ShardEngine)
    assert isinstance(intake, Intake)
    return engine, intake


class _Question:
    """One thing that an engine asked for."""

    __slots__ = ("effect", "engine", "intake")

    def __init__(self, engine: ShardEngine, intake: Intake, effect: Asked) -> None:
        self.engine = engine
        self.intake = intake
        self.effect = effect

    def queries(self) -> list[Query]:
        match self.effect:
            case fx.LoadStates(names):
                states: list[Query] = [("HGETALL", keys.state(name)) for name in names]
                is_workflow = self.engine.directory.services[self.engine.shard.service].kind == "workflow"
                return states + [("HGETALL", keys.promises(name)) for name in names if is_workflow]
            case fx.LoadInvocation(live):
                return [("HGET", keys.INPUTS, live.id), ("LRANGE", keys.journal(live.id), 0, -1)]
            case fx.Refill(key, count):
                return [("LRANGE", keys.spilled(key), 0, count - 1)]
            case _:
                return []  # asks by itself
