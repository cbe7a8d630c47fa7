"""When kept outcomes expire, and what goes with them (R13).

By append time: a repeat that lies in a backlog finds the outcome, however old it is. While nothing is read, the end of
the invocations topic, asked for, says how far it was read. A workflow's state and promises go with its outcome. The
engine (`shard.py`) has it look once a second; what was asked comes back through the loader.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from barnabas.runtime import effects as fx
from barnabas.runtime.kept import KeptOutcome

if TYPE_CHECKING:
    from barnabas.runtime.shard import ShardEngine

#: How far the broker's clock, which stamps records, and the store's, which says when work ended, may lie apart.
CLOCK_SLACK_MS: Final = 5_000


class Keeping:
    """The expiry of one shard's kept outcomes."""

    def __init__(self, engine: ShardEngine) -> None:
        self._engine = engine
        self.read_time = 0  # append time up to which the invocations topic was read, ms
        self._asked = False  # the store, or the log, is being asked

    def read(self, append_time: int) -> None:
        """A record of that time was read."""
        self.read_time = max(self.read_time, append_time)

    def expire(self) -> None:
        """Ask for what has expired, or, while nothing is read, whether the topic's end says so."""
        engine = self._engine
        earliest = engine.kept.earliest
        if earliest is None or self._asked:
            return
        if earliest <= self.read_time:
            self._asked = True
            engine.effects.append(fx.Expire(self.read_time))
        elif earliest + CLOCK_SLACK_MS <= engine.now:
            self._asked = True
            engine.effects.append(fx.ReadEnd())

    def on_end(self, asked_at: int, end: int) -> None:
        """The invocations topic ended at `end` when the clock said `asked_at`, or a little later."""
        self._asked = False
        if (self._engine.next_invocation or 0) >= end:  # what is appended from then on is all that is left to read
            self.read(asked_at - CLOCK_SLACK_MS)

    def on_expired(self, expired: Mapping[bytes, KeptOutcome | None], earliest: int | None) -> None:
        """These kept outcomes have expired; `earliest`: when the next one does.

        A workflow whose other handlers are still at work stays until they have ended.
        """
        engine = self._engine
        self._asked = False
        busy = {live.key for live in engine.live.values()}
        gone: list[bytes] = []
        for id_, outcome in expired.items():
            key = self._key_of_run(outcome)
            if outcome is not None and key is not None and key in busy:
                earliest = min(outcome.expires_at, earliest or outcome.expires_at)
                continue
            if key is not None:
                engine.ops += engine.states.remove(key)
            gone.append(id_)
        engine.counts["expired"] += len(gone)
        engine.kept.expire(gone, earliest)

    def forget(self, id_: bytes, outcome: KeptOutcome) -> bool:
        """Forget an outcome before its time, a workflow whole. False: that has handlers at work."""
        engine = self._engine
        key = self._key_of_run(outcome)
        if key is not None:
            if any(live.key == key for live in engine.live.values()):
                return False
            engine.ops += engine.states.remove(key)
        engine.kept.expire([id_], engine.kept.earliest)
        return True

    def _key_of_run(self, outcome: KeptOutcome | None) -> str | None:
        """The key of the workflow whose run this is the outcome of; None if it is no run's."""
        engine = self._engine
        if outcome is None:
            return None
        kinds = engine.directory.services[engine.shard.service].handlers
        return outcome.key if kinds.get(outcome.handler) == "workflow" else None
