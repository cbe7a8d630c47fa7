"""What people do to invocations and to state: pause, resume, purge, restart, and a patch of an object's state.

Each comes as a signal (the patch as an invocation of a reserved handler) and is answered, where somebody waits for an
answer, with the status that the admin API gives (docs/design/doors.md). Cancel and kill are `ending.py`'s; here they
are answered. Called by the engine (`signals.py`, `shard.py`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Failure, Signal, SignalKind
from barnabas.runtime import effects as fx
from barnabas.runtime import journal as j
from barnabas.runtime import live as states_of
from barnabas.runtime.answers import (
    ACCEPTED,
    CONFLICT,
    DONE,
    GONE,
    TOO_EARLY,
    UNPROCESSABLE,
    answer,
    refuse,
)
from barnabas.runtime.kept import KeptOutcome
from barnabas.runtime.live import Live
from barnabas.runtime.ring import RingEntry, unpack_ring_entry, without_journal
from barnabas.store import keys

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine

#: The handler that a patch of state names. No handler of people's can: names of theirs begin with a letter or "_".
STATE_PATCH: Final = "@state"


class Operating:
    """What is done to the invocations of one shard by hand."""

    def __init__(self, engine: ShardEngine) -> None:
        self._engine = engine

    # -- an invocation that is not over

    def on_live(self, live: Live, signal: Signal) -> None:
        """Do it, and say what came of it."""
        match signal.kind:
            case SignalKind.CANCEL:
                self.answer(signal, DONE if self._engine.ending.never_began(live) else ACCEPTED)
                self._engine.ending.cancel(live)
            case SignalKind.KILL:
                self.answer(signal, DONE)
                self._engine.ending.kill(live)
            case SignalKind.PAUSE:
                self._pause(live, signal)
            case SignalKind.RESUME:
                self._resume(live, signal)
            case _:
                self.refuse(signal, CONFLICT, "it is not over: cancel or kill it first")

    def _pause(self, live: Live, signal: Signal) -> None:
        if live.status == states_of.SCHEDULED:
            self.refuse(signal, CONFLICT, "it is scheduled and has not begun: cancel it, or wait until it is due")
        elif live.status == states_of.PAUSED:
            self.answer(signal, DONE)
        else:
            self._engine.pause(live)
            self.answer(signal, ACCEPTED)

    def _resume(self, live: Live, signal: Signal) -> None:
        engine = self._engine
        if live.status == states_of.SCHEDULED:
            self.refuse(signal, TOO_EARLY, "it is scheduled and has not begun")
            return
        if live.status == states_of.PAUSED:
            # Its steps are begun by the attempt that follows, but for those that are at work.
            live.steps = {position: step for position, step in (live.steps or {}).items() if step.at_work}
        if live.status in (states_of.PAUSED, states_of.BACKING_OFF):
            live.attempts = 0
            if engine.lanes.waits(live):
                live.status = states_of.QUEUED
            else:
                live.status = states_of.RUNNING
                engine.ready(live)
            engine.change_header(live)
        for step in list((live.steps or {}).values()):
            if step.attempts and not step.at_work:
                engine.stepping.run(step)
        self.answer(signal, DONE)

    # -- one that is over

    def on_kept(self, signal: Signal, kept: KeptOutcome) -> None:
        """It is about an invocation with an idempotency key, or a workflow's run, whose outcome is kept."""
        engine, id_ = self._engine, signal.invocation
        match signal.kind:
            case SignalKind.PURGE:
                if not engine.keeping.forget(id_, kept):
                    self.refuse(signal, CONFLICT, "other handlers of the workflow are at work")
                    return
                self.answer(signal, DONE)
            case SignalKind.PURGE_JOURNAL:
                engine.kept.replace(id_, kept._replace(entry=without_journal(kept.entry)), engine.next_commit)
                self.answer(signal, DONE)
            case SignalKind.RESTART:
                self._restart(signal, unpack_ring_entry(kept.entry))
            case _:
                self.refuse(signal, CONFLICT, "it is completed")

    def on_in_ring(self, signal: Signal) -> None:
        """It is about a plain invocation that is in the ring: what stands there has to be read for some of it."""
        if signal.kind in (SignalKind.PURGE, SignalKind.PURGE_JOURNAL, SignalKind.RESTART):
            self._engine.effects.append(fx.ReadRing(signal))
        else:
            self.refuse(signal, CONFLICT, "it is completed")

    def on_ring(self, signal: Signal, entries: Sequence[bytes]) -> None:
        """The ring as the store has it."""
        engine, id_ = self._engine, signal.invocation
        outcome = engine.ring.get(id_)
        packed = next((one for one in entries if unpack_ring_entry(one).id == id_), None)
        if outcome is None:
            self.refuse(signal, 404, "it is not known any more")
        elif packed is None:
            engine.effects.append(fx.ReadRing(signal))  # it is on its way to the store
        elif signal.kind is SignalKind.RESTART:
            self._restart(signal, unpack_ring_entry(packed))
        else:
            engine.ops.append(("LREM", keys.RING, packed))
            engine.ring.remove(id_)
            if signal.kind is SignalKind.PURGE_JOURNAL:
                engine.ring.put(id_, outcome, without_journal(packed))
            self.answer(signal, DONE)

    def _restart(self, signal: Signal, old: RingEntry) -> None:
        engine, new_id = self._engine, signal.call_id
        kind = engine.directory.services[engine.shard.service].handlers.get(old.handler)
        if new_id is None or not self._owns(new_id):
            self.refuse(signal, 400, "the new invocation's id does not belong to this shard")
        elif kind == "workflow":
            self.refuse(signal, UNPROCESSABLE, "a workflow runs once a key: purge it, and submit it again")
        elif old.journal is None:
            self.refuse(signal, GONE, "its journal, and with it its input, was purged")
        elif (prefix := _prefix(old.journal, signal.position or 0)) is None:
            detail = "there are not so many commands, or the result of one of them is not in the journal"
            self.refuse(signal, 400, f"cannot keep the journal up to command {signal.position}: {detail}")
        else:
            if new_id not in engine.live and new_id not in engine.ring:  # else the record of the signal came twice
                self._start(old, new_id, prefix)
            self.answer(signal, DONE, new_invocation_id=str(InvocationId(new_id)))

    def _owns(self, id_: bytes) -> bool:
        """Whether an invocation with this id belongs to this shard."""
        shard = self._engine.shard
        service = self._engine.directory.services[shard.service]
        invocation = InvocationId(id_)
        return invocation.of_service(service.name) and invocation.partition(service.partitions) == shard.partition

    def _start(self, old: RingEntry, id_: bytes, journal: list[j.Entry]) -> None:
        """Run again what is over, as another invocation, which has this much of the journal already."""
        engine = self._engine
        service = engine.shard.service
        kinds = engine.directory.services[service].handlers
        exclusive = old.key is not None and kinds.get(old.handler) == "exclusive"
        engine.accepted += 1
        live = Live(id_, service, old.handler, old.key, exclusive, engine.accepted, engine.now)
        live.payload, live.headers, live.journal = old.payload, old.headers, journal
        live.seed = old.id if journal else id_
        engine.accept(live)

    # -- state

    def patch(self, live: Live) -> None:
        """Run a patch of state in place of a handler: it holds its key, and the key's state is in memory."""
        engine = self._engine
        assert live.key is not None
        try:
            wanted = json.loads(live.payload)
            values = {str(name): base64.b64decode(value, validate=True) for name, value in wanted["state"].items()}
            version = wanted.get("version")
            for name in values:
                name.encode()  # the state has it as bytes
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            engine.finish(live, None, Failure(400, f"this is no patch of state: {type(error).__name__} {error}"))
            return
        if version is not None and version != state_version(engine.state_of(live.key)):
            engine.finish(live, None, Failure(CONFLICT, "the state has changed since it was read: read it again"))
            return
        engine.clear_state(live)
        for name, value in values.items():
            engine.set_state(live, name, value)
        engine.finish(live, json.dumps({"status": ACCEPTED}).encode(), None)

    def answer(self, signal: Signal, status: int, **more: str) -> None:
        """It was done."""
        answer(self._engine.sender, signal, status, **more)

    def refuse(self, signal: Signal, code: int, why: str) -> None:
        """It was not."""
        self._engine.counts["signals refused"] += 1
        refuse(self._engine.sender, signal, code, why)


def state_version(values: Mapping[str, bytes]) -> str:
    """A text that is another one whenever the state is another one, for patches that expect a certain state."""
    digest = blake2b(digest_size=16)
    for name, value in sorted(values.items()):
        for part in (name.encode(), value):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _prefix(journal: list[j.Entry], length: int) -> list[j.Entry] | None:
    """The journal up to that many commands, with what answers them. None: it cannot be cut there."""
    commands = j.commands(journal)[:length]
    if len(commands) < length or any(command.is_open for command in commands):
        return None
    kept = {command.at for command in commands} | {command.answered_at for command in commands}
    return [entry for at, entry in enumerate(journal) if at in kept]
