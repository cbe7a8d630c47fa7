"""The latest finished plain invocations of a shard: people can look at them, what arrives twice is answered again
(R10).

Capped by number and by bytes, so its cost does not grow with the rate. The store's list holds each entry whole; in
memory there are the outcomes alone.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgpack

from barnabas.contract.records import Failure
from barnabas.runtime.journal import Entry
from barnabas.runtime.live import Live

pack = msgpack.Packer(autoreset=True).pack

_ENTRY_VERSION = 1
_PAYLOAD, _HEADERS, _JOURNAL = 4, 5, 8


class Outcome(NamedTuple):
    """How an invocation ended."""

    result: bytes | None
    failure: Failure | None


class RingEntry(NamedTuple):
    """A finished invocation as the store's list has it."""

    id: bytes
    handler: str
    key: str | None
    payload: bytes
    headers: dict[str, str]
    result: bytes | None
    failure: Failure | None
    journal: list[Entry] | None  # None: it and the input are gone
    accepted_at: int  # ms
    completed_at: int  # ms
    attempts: int  # that failed


def pack_entry(live: Live, result: bytes | None, failure: Failure | None, now: int) -> bytes:
    """A finished invocation as the store keeps it."""
    failed = None if failure is None else (failure.code, failure.message, failure.metadata)
    # Input and journal of one that was ended without its handler may be in the store alone; the entry then has neither.
    journal = live.journal if live.journal_loaded and live.payload_loaded else None
    packed: bytes = pack(
        (
            _ENTRY_VERSION,
            live.id,
            live.handler,
            live.key,
            live.payload,
            live.headers,
            result,
            failed,
            journal,
            live.accepted_at,
            now,
            live.attempts,
        )
    )
    return packed


def unpack_ring_entry(packed: bytes) -> RingEntry:
    """An entry as it lies in the store, for people who look at it."""
    _, id_, handler, key, payload, headers, result, failed, journal, accepted_at, completed_at, attempts = (
        msgpack.unpackb(packed)
    )
    failure = None if failed is None else Failure(*failed)
    return RingEntry(id_, handler, key, payload, headers, result, failure, journal, accepted_at, completed_at, attempts)


def without_journal(packed: bytes) -> bytes:
    """The same entry without input and journal."""
    fields = msgpack.unpackb(packed)
    fields[_PAYLOAD], fields[_HEADERS], fields[_JOURNAL] = b"", {}, None
    shortened: bytes = pack(fields)
    return shortened


class Ring:
    """The ring of one shard."""

    def __init__(self, entries: int, size: int) -> None:
        self._max_entries = entries
        self._max_bytes = size
        self._order: deque[tuple[bytes, int]] = deque()
        self._outcomes: dict[bytes, Outcome] = {}
        self._bytes = 0
        self._unsealed: list[bytes] = []

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._outcomes

    def get(self, id_: bytes) -> Outcome | None:
        """The outcome of a finished invocation, while it is kept."""
        return self._outcomes.get(id_)

    def append(self, live: Live, result: bytes | None, failure: Failure | None, now: int) -> None:
        """Keep a finished invocation."""
        self.put(live.id, Outcome(result, failure), pack_entry(live, result, failure, now))

    def put(self, id_: bytes, outcome: Outcome, packed: bytes) -> None:
        """Keep this entry as the latest one."""
        self._unsealed.append(packed)
        self._keep(id_, outcome, len(packed))

    def _keep(self, id_: bytes, outcome: Outcome, size: int) -> None:
        order = self._order
        order.append((id_, size))
        self._outcomes[id_] = outcome
        self._bytes += size
        while len(order) > self._max_entries or self._bytes > self._max_bytes:
            old, old_size = order.popleft()
            self._bytes -= old_size
            self._outcomes.pop(old, None)

    def remove(self, id_: bytes) -> None:
        """Forget one; the store is told by whoever has its packed form."""
        self._outcomes.pop(id_, None)
        for kept in [kept for kept in self._order if kept[0] == id_]:
            self._order.remove(kept)
            self._bytes -= kept[1]

    @property
    def news(self) -> int:
        """How many entries were added since the last `seal`."""
        return len(self._unsealed)

    def seal(self) -> tuple[list[bytes], int]:
        """Entries for the next commit to append, and how many the list then keeps."""
        unsealed, self._unsealed = self._unsealed, []
        kept = len(self._order)
        return unsealed[-kept:] if kept else [], kept

    def restore(self, entries: list[bytes]) -> None:
        """Take the ring as the store has it."""
        for packed in entries:
            fields = msgpack.unpackb(packed)
            failed = fields[7]
            self._keep(fields[1], Outcome(fields[6], None if failed is None else Failure(*failed)), len(packed))
