"""Outcomes that are kept for a time: of invocations with an idempotency key and of workflows' runs (R10, R13).

They lie in the store, under their id and, for their expiry, by append time; the shard has in memory only those that a
read of the store may not show yet. A batch of records asks for all of its ids at once (`Found`). They expire when the
invocations topic was read past their completion and retention: a repeat that lies in a backlog finds them, however old
it is. Called by the engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import msgpack

from barnabas.contract.records import Caller, Failure, ReplyTo
from barnabas.runtime.live import Live, pack_waiter, unpack_waiter
from barnabas.runtime.ring import pack_entry, unpack_ring_entry
from barnabas.sdk.handler import Handler
from barnabas.store import keys
from barnabas.store.port import Op

pack = msgpack.Packer(autoreset=True).pack

DEFAULT_RETENTION: Final = timedelta(hours=24)
_VERSION: Final = 1
#: A request has a caller or a client who waits, or both; they are the first of all who wait.
_SUBMITTERS: Final = 2


class KeptOutcome(NamedTuple):
    """How an invocation ended, and what a repeat of its request needs to know."""

    handler: str
    key: str | None
    result: bytes | None
    failure: Failure | None
    waiters: list[Caller | ReplyTo]  # who asked for it first
    idempotency_key: str | None
    completed_at: int  # ms
    expires_at: int  # append time, ms
    entry: bytes  # the whole invocation, as `ring.unpack_ring_entry` reads it


class Found(NamedTuple):
    """What the store knows of the ids of a batch."""

    spilled: frozenset[bytes] | set[bytes]
    kept: Mapping[bytes, KeptOutcome]


NOTHING: Final = Found(frozenset(), {})


class Kept:
    """The kept outcomes of one shard."""

    def __init__(self) -> None:
        self.fresh: dict[bytes, KeptOutcome] = {}  # that the store may not have yet
        self.earliest: int | None = None  # the next expiry
        self._commits: dict[bytes, int] = {}  # of the fresh ones
        self._committed = 0  # the last commit
        self._held = False
        self._ops: list[Op] = []

    def put(
        self, live: Live, result: bytes | None, failure: Failure | None, now: int, retention: int, commit: int
    ) -> None:
        """Keep an outcome for `retention` ms. `commit`: number of the commit that will hold it."""
        expires = now + retention
        submitters = live.waiters[:_SUBMITTERS]
        entry = pack_entry(live, result, failure, now)
        outcome = KeptOutcome(
            live.handler, live.key, result, failure, submitters, live.idempotency_key, now, expires, entry
        )
        self._ops.append(("ZADD", keys.EXPIRY, expires, live.id))
        self.replace(live.id, outcome, commit)
        if self.earliest is None or expires < self.earliest:
            self.earliest = expires

    def replace(self, id_: bytes, outcome: KeptOutcome, commit: int) -> None:
        """Keep this outcome from now on."""
        self.fresh[id_] = outcome
        self._commits[id_] = commit
        self._ops.append(("HSET", keys.KEPT, id_, _packed(outcome)))

    def expire(self, ids: Sequence[bytes], earliest: int | None) -> None:
        """These have expired; `earliest`: when the next one does."""
        self.earliest = earliest
        if ids:
            self._ops += (("HDEL", keys.KEPT, *ids), ("ZREM", keys.EXPIRY, *ids))
        for id_ in ids:
            self.fresh.pop(id_, None)
            self._commits.pop(id_, None)

    def hold(self) -> None:
        """A read begins, which may not show what is committed meanwhile: nothing is forgotten until `release`."""
        self._held = True

    def release(self) -> None:
        """What the read showed has been taken in."""
        self._held = False
        self.on_committed(self._committed)

    def on_committed(self, number: int) -> None:
        """What this commit holds is in the store."""
        self._committed = number
        if self._held:
            return
        for id_ in [id_ for id_, commit in self._commits.items() if commit <= number]:
            del self.fresh[id_], self._commits[id_]

    @property
    def changed(self) -> bool:
        """Whether the next commit has something to store."""
        return bool(self._ops)

    def seal(self) -> list[Op]:
        """The operations that store all changes since the last call."""
        ops, self._ops = self._ops, []
        return ops


def retention_ms(handler: Handler[Any, Any] | None) -> int:
    """How long outcomes of this handler are kept, where they are."""
    if handler is None:
        retention = None
    elif handler.kind == "workflow":
        retention = handler.settings.workflow_retention
    else:
        retention = handler.settings.idempotency_retention
    return round((DEFAULT_RETENTION if retention is None else retention).total_seconds() * 1000)


def _packed(outcome: KeptOutcome) -> bytes:
    waiters = [pack_waiter(waiter) for waiter in outcome.waiters]
    packed: bytes = pack((_VERSION, waiters, outcome.idempotency_key, outcome.expires_at, outcome.entry))
    return packed


def unpack_kept(packed: bytes) -> KeptOutcome:
    """An outcome as it lies in the store."""
    _, waiters, idempotency_key, expires_at, packed_entry = msgpack.unpackb(packed)
    entry = unpack_ring_entry(packed_entry)
    return KeptOutcome(
        entry.handler,
        entry.key,
        entry.result,
        entry.failure,
        [unpack_waiter(waiter) for waiter in waiters],
        idempotency_key,
        entry.completed_at,
        expires_at,
        packed_entry,
    )
