"""Reads from the store what the scheduler's engines ask for: the next page of what waits, records, looked-up ids.

Everything asked for in one turn is one round trip, or two where headers follow ids. Batches whose ids must be looked
up wait here, in order. Called by the driver; an outage puts the questions off, it does not lose them.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from barnabas.log.port import Record
from barnabas.runtime import effects as fx
from barnabas.runtime.engine import Engine
from barnabas.runtime.scheduling.effects import ReadRecords, ReadStranded, ReadWindow
from barnabas.runtime.scheduling.intake import Decoded, DelayIntake
from barnabas.runtime.scheduling.scheduler import Scheduler
from barnabas.runtime.scheduling.waiting import Waiting, id_of_member, unpack_waiting
from barnabas.runtime.tenure import Tenure
from barnabas.store import keys
from barnabas.store.port import Query, Store, StoreCorrupt, StoreUnavailable

log = logging.getLogger("barnabas.scheduler")

AGAIN_SECONDS = 0.2
#: What a decoded record costs in memory beside its value.
DECODED_BYTES = 650


class DelayLoader:
    """The reads under way in this process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._questions: list[tuple[Scheduler, fx.Read]] = []
        self._lookups: dict[Scheduler, deque[tuple[DelayIntake, Decoded]]] = {}
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
        """How to run a coroutine, how to enter engines from it, and how to stop one for good. Called once."""
        self._spawn = spawn
        self._between_turns = between_turns
        self._touch = touch
        self._halt = halt

    @property
    def waiting_bytes(self) -> int:
        """Bytes of records that wait for a look-up."""
        batches = [decoded for waiting in self._lookups.values() for _, decoded in waiting]
        return sum(len(record.value or b"") + DECODED_BYTES for decoded in batches for record, _ in decoded)

    def holds_back(self, engine: Engine | None) -> bool:
        """Nothing that a commit could hold waits for a read."""
        return False

    # -- what engines ask

    def ask(self, tenure: Tenure, effect: fx.Read) -> None:
        """Take a question of this engine; `flush` sends it."""
        self._questions.append((_both(tenure)[0], effect))

    def flush(self) -> None:
        """Send what was asked since the last call."""
        questions, self._questions = self._questions, []
        for engine, effect in questions:
            self._spawn(self._answer(engine, effect))

    async def _answer(self, engine: Scheduler, effect: fx.Read) -> None:
        match effect:
            case ReadWindow(token, count):
                page = await self._page(engine, keys.DUE, count)
                if page is not None:
                    with self._between_turns():
                        engine.on_window(token, page[1], whole=page[0] < count)
            case ReadStranded(token, service, count):
                page = await self._page(engine, keys.stranded(service), count)
                if page is not None:
                    with self._between_turns():
                        engine.on_stranded(token, service, page[1])
            case ReadRecords(token, ids):
                records = await self._read(engine, ("HMGET", keys.WAITING_INPUTS, *ids))
                if records is not None:
                    with self._between_turns():
                        engine.on_records_read(token, dict(zip(ids, records, strict=True)))
        self._touch(engine)

    async def _page(self, engine: Scheduler, place: bytes, count: int) -> tuple[int, list[Waiting]] | None:
        """The first ones of a sorted set, in order, and how many members it gave; some may have no header any more."""
        members = await self._read(engine, ("ZRANGE", place, 0, count - 1))
        if not members:
            return None if members is None else (0, [])
        ids = [id_of_member(member) for member, _ in members]
        waiting = await self._waiting(engine, ids)
        if waiting is None:
            return None
        pairs = [(member, waiting.get(id_)) for (member, _), id_ in zip(members, ids, strict=True)]
        return len(ids), [one for member, one in pairs if one is not None and one.member == member]

    async def _waiting(self, engine: Scheduler, ids: Sequence[bytes]) -> dict[bytes, Waiting] | None:
        if not ids:
            return {}
        headers = await self._read(engine, ("HMGET", keys.WAITING, *ids))
        if headers is None:
            return None
        return {id_: unpack_waiting(id_, header) for id_, header in zip(ids, headers, strict=True) if header}

    async def _read(self, engine: Scheduler, query: Query) -> Any:
        """The answer, however long it takes; None when nobody wants it any more."""
        while not engine.closed:
            try:
                [answer] = await self._store.read([(engine.shard, query)])
            except StoreUnavailable as error:
                log.warning("cannot read what waits, trying again: %s", error)
                await asyncio.sleep(AGAIN_SECONDS)
            except StoreCorrupt as error:
                self._halt(engine, str(error))
            else:
                return None if engine.closed else answer
        return None

    # -- records that come in

    def take_in(self, tenure: Tenure, records: list[Record]) -> None:
        """Hand records to the intake: at once, or in order after the store has said which of their ids wait there."""
        engine, intake = _both(tenure)
        decoded = intake.read(records)
        waiting = self._lookups.get(engine)
        if waiting is not None:
            waiting.append((intake, decoded))
        elif intake.ids_to_look_up(decoded):
            self._lookups[engine] = deque([(intake, decoded)])
            self._spawn(self._look_up_all(engine))
        else:
            intake.on_records(decoded)

    async def _look_up_all(self, engine: Scheduler) -> None:
        waiting = self._lookups[engine]
        while waiting:
            intake = waiting[0][0]
            batches = len(waiting)  # what has gathered goes together: many small batches must not queue up
            decoded = [one for _, batch in waiting for one in batch]
            token = engine.window.asked(engine.number)
            found = await self._waiting(engine, intake.ids_to_look_up(decoded))
            if found is None:
                break
            for _ in range(batches):
                waiting.popleft()
            with self._between_turns():
                intake.on_records(decoded, found)
                engine.window.answered(token, engine.number)
            self._touch(engine)
        del self._lookups[engine]


def _both(tenure: Tenure) -> tuple[Scheduler, DelayIntake]:
    engine, intake = tenure.engine, tenure.intake
    assert isinstance(engine, Scheduler)
    assert isinstance(intake, DelayIntake)
    return engine, intake
