"""Calls of one shard that wait for their key, and whose service wants them to fail if they would wait for themselves.

Each is looked at (`CheckDeadlock`) after the commit that queued it, by whoever owns the shard then. One that spilled is
not in memory: what a look needs of it is kept, here and in the store, until somebody has looked. Called by the engine
(`shard.py`, `intake.py`) and by the look (`worker/deadlocks.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from barnabas.contract.records import Caller, Failure, ReplyTo, Signal, SignalKind
from barnabas.runtime import effects as fx
from barnabas.runtime.live import QUEUED, Live, unpack_live
from barnabas.store import keys
from barnabas.store.port import Op

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine


class Deadlocks:
    """Those of one shard."""

    def __init__(self, engine: ShardEngine) -> None:
        self._engine = engine
        self._to_check: list[tuple[int, Live]] = []  # by the commit that queues them
        self._spilled: dict[bytes, Live] = {}  # that nobody has looked at yet

    def concern(self, handler: str, waiters: Sequence[Caller | ReplyTo]) -> bool:
        """Whether this is a handler's call, to a service that wants it to fail if it would wait for itself."""
        known = self._engine.handlers.get(handler)
        calls = any(isinstance(waiter, Caller) for waiter in waiters)
        return calls and known is not None and known.settings.on_deadlock == "fail"

    # -- calls that begin to wait

    def queued(self, live: Live) -> None:
        """It waits for its key in memory."""
        if self.concern(live.handler, live.waiters):
            self._to_check.append((self._engine.next_commit, live))

    def spilled(self, live: Live) -> None:
        """This call concerns us, and waits for its key in the store alone."""
        live.forget_input()
        self._spilled[live.id] = live
        self._engine.ops.append(("HSET", keys.UNCHECKED, live.id, live.header()))
        self._to_check.append((self._engine.next_commit, live))

    def refilled(self, live: Live) -> None:
        """It waits in memory from here on."""
        if self._spilled.pop(live.id, None) is not None:
            self._engine.ops.append(_forget(live))
            self.queued(live)

    def restore(self, fields: Mapping[bytes, bytes]) -> None:
        """Take those that spilled as the store has them. Whoever queued them may have died before the look."""
        for id_, packed in fields.items():
            live = self._spilled[id_] = unpack_live(id_, self._engine.shard.service, packed)
            self._engine.effects.append(fx.CheckDeadlock(live))

    def restored(self, live: Live) -> None:
        """As `restore`, for one that waits in memory."""
        if self.concern(live.handler, live.waiters):
            self._engine.effects.append(fx.CheckDeadlock(live))

    def on_committed(self, number: int) -> None:
        """What waits from this commit on is looked at."""
        if self._to_check and self._to_check[0][0] <= number:
            self._engine.effects += [fx.CheckDeadlock(live) for commit, live in self._to_check if commit <= number]
            self._to_check = [(commit, live) for commit, live in self._to_check if commit > number]

    # -- what a look has come to

    def waits(self, live: Live) -> bool:
        """Whether it still waits for its key."""
        engine = self._engine
        if engine.closed:
            return False
        known = engine.live.get(live.id)
        return live.status == QUEUED if known is live else known is None and self._spilled.get(live.id) is live

    def fail(self, live: Live, text: str) -> None:
        """It waits for itself, as `text` says: end it."""
        engine = self._engine
        if not self.waits(live):
            return
        engine.counts["deadlocks"] += 1
        failure = Failure(409, text)
        if live.id not in self._spilled:
            engine.withdraw(live, failure)
            engine.run_ready()
            return
        # Its turn does not come before its caller has gone on, so that one is told now; nobody runs it then.
        for waiter in live.waiters:
            engine.sender.outcome(waiter, live.id, None, failure)
        engine.signals.take(Signal(SignalKind.KILL, live.id))
        engine.signals.trace()

    def looked_at(self, live: Live) -> bool:
        """Nobody needs to look again. Returns whether the store is to know that."""
        if self._engine.closed or self._spilled.get(live.id) is not live:
            return False
        del self._spilled[live.id]
        self._engine.ops.append(_forget(live))
        return True


def _forget(live: Live) -> Op:
    return ("HDEL", keys.UNCHECKED, live.id)
