"""Hands the records of a subscribed topic to its engines, in order, once they can be taken.

That is when their schemas are known, the handler is there, and what was read before has left the outbox. Until then
they wait here, and nothing is lost.

Called by the driver.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from barnabas.log.port import Record
from barnabas.runtime import effects as fx
from barnabas.runtime.engine import Engine
from barnabas.runtime.subscribing.effects import Halt
from barnabas.runtime.subscribing.intake import SubscriptionIntake
from barnabas.runtime.subscribing.schemas import Schemas
from barnabas.runtime.subscribing.subscriber import Subscriber
from barnabas.runtime.tenure import Tenure
from barnabas.subscriptions.registry import RegistryUnavailable, SchemaNotUsable, SchemaRegistry

log = logging.getLogger("barnabas.subscriptions")

#: Entries of a shard's outbox at which its next records wait. A batch that is taken may exceed it by its own size.
OUTBOX: Final = 2_000
AGAIN_SECONDS: Final = 0.5
ROOM_SECONDS: Final = 0.01
#: The same complaint is repeated after this time.
COMPLAIN_SECONDS: Final = 30.0
#: A schema that the registry does not have is asked for again after this time.
REFUSED_SECONDS: Final = 60.0
#: What a record costs in memory beside its value.
RECORD_BYTES: Final = 250


class SubscriptionLoader:
    """What waits in this process, for one subscription."""

    def __init__(self, schemas: Schemas, registry: SchemaRegistry | None, outbox: int = OUTBOX) -> None:
        self._schemas = schemas
        self._registry = registry
        self._outbox = outbox
        self._waiting: dict[Subscriber, deque[tuple[SubscriptionIntake, list[Record]]]] = {}
        self._waiting_bytes = 0
        self._asking = asyncio.Lock()
        self._complained: dict[str, float] = {}
        self._halts: list[tuple[Subscriber, str]] = []
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
        """Bytes of records that wait here."""
        return self._waiting_bytes

    def holds_back(self, engine: Engine | None) -> bool:
        """Nothing that a commit could hold waits for a read."""
        return False

    # -- what engines ask

    def ask(self, tenure: Tenure, effect: fx.Read) -> None:
        """Take a question of this engine; `flush` deals with it."""
        assert isinstance(effect, Halt), effect
        self._halts.append((_both(tenure)[0], effect.why))

    def flush(self) -> None:
        """Deal with what was asked since the last call."""
        halts, self._halts = self._halts, []
        for engine, why in halts:
            self._halt(engine, why)

    # -- records that come in

    def take_in(self, tenure: Tenure, records: list[Record]) -> None:
        """Hand records to the intake, at once or when their time has come."""
        engine, intake = _both(tenure)
        waiting = self._waiting.get(engine)
        if waiting is None and self._is_ready(engine, intake, records):
            intake.on_records(records)
            return
        self._waiting_bytes += _bytes_of(records)
        if waiting is not None:
            waiting.append((intake, records))
        else:
            self._waiting[engine] = deque([(intake, records)])
            self._spawn(self._take_waiting(engine))

    def _is_ready(self, engine: Subscriber, intake: SubscriptionIntake, records: Sequence[Record]) -> bool:
        return (
            len(engine.outbox) < self._outbox
            and intake.obstacle() is None
            and next(iter(intake.schemas_wanted(records)), None) is None
        )

    async def _take_waiting(self, engine: Subscriber) -> None:
        waiting = self._waiting[engine]
        try:
            while waiting:
                intake, records = waiting[0]
                if not await self._become_ready(engine, intake, records):
                    return
                waiting.popleft()
                self._waiting_bytes -= _bytes_of(records)
                with self._between_turns():
                    intake.on_records(records)
                self._touch(engine)
        finally:
            self._waiting_bytes -= sum(_bytes_of(records) for _, records in waiting)
            del self._waiting[engine]

    async def _become_ready(self, engine: Subscriber, intake: SubscriptionIntake, records: Sequence[Record]) -> bool:
        """Wait until the records can be taken. False: nobody wants them any more."""
        while not engine.closed:
            obstacle = intake.obstacle()
            if obstacle is not None:
                what = f"subscription {engine.source.subscription.name} waits, nothing is lost: {obstacle}"
                self._complain(what, logging.ERROR)
                await asyncio.sleep(AGAIN_SECONDS)
            elif not await self._load_schemas(intake, records):
                await asyncio.sleep(AGAIN_SECONDS)
            elif len(engine.outbox) >= self._outbox:
                await asyncio.sleep(ROOM_SECONDS)
            elif not engine.closed and self._is_ready(engine, intake, records):
                return True
        return False

    # -- schemas

    async def _load_schemas(self, intake: SubscriptionIntake, records: Sequence[Record]) -> bool:
        """Have all of them asked for that these records want. False: the registry does not answer."""
        for id_ in intake.schemas_wanted(records):
            async with self._asking:  # shards mostly want the same ones
                if id_ not in self._schemas and not await self._load(id_):
                    return False
        return True

    async def _load(self, id_: int) -> bool:
        assert self._registry is not None, "a process without a registry refuses to start"
        try:
            self._schemas.add(id_, await self._registry.schema(id_))
        except (SchemaNotUsable, ValueError) as error:
            why = f"the schema {id_} cannot be used: {error}"
            log.warning("records become dead letters: %s", why)
            self._schemas.refuse(id_, why)
            asyncio.get_running_loop().call_later(REFUSED_SECONDS, self._schemas.ask_again, id_)
        except RegistryUnavailable as error:
            self._complain(f"records wait, nothing is lost: {error}", logging.WARNING)
            return False
        return True

    def _complain(self, what: str, level: int) -> None:
        now = time.monotonic()
        if now - self._complained.get(what, -COMPLAIN_SECONDS) >= COMPLAIN_SECONDS:
            self._complained = {other: at for other, at in self._complained.items() if now - at < COMPLAIN_SECONDS}
            self._complained[what] = now
            log.log(level, "%s", what)


def _bytes_of(records: Sequence[Record]) -> int:
    return sum(len(record.value or b"") + RECORD_BYTES for record in records)


def _both(tenure: Tenure) -> tuple[Subscriber, SubscriptionIntake]:
    engine, intake = tenure.engine, tenure.intake
    assert isinstance(engine, Subscriber)
    assert isinstance(intake, SubscriptionIntake)
    return engine, intake
