"""Records that commits of this shard promised to produce, in order (DESIGN.md 6.3, R2, R14).

An entry is added with the changes that cause it, becomes producible when its commit is through, and leaves one by one
after its own acknowledgement. After any trouble what is left is produced again from the head, labels unchanged.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgpack

from barnabas.contract.records import Label
from barnabas.log.port import OutRecord

pack = msgpack.Packer(autoreset=True).pack


class Entry(NamedTuple):
    """A promised record, the take counter of the lease that its label names, and the invocation that it carries."""

    record: OutRecord
    take: int
    invocation: bytes | None


class Outbox:
    """The outbox of one shard."""

    def __init__(self, shard: str) -> None:
        self._shard = shard
        self._entries: dict[int, Entry] = {}  # by number, rising
        self._uncommitted: list[int] = []
        self._gone: list[int] = []
        self._invocations: dict[bytes, int] = {}  # ids of the invocations among them
        self._held: dict[int, set[bytes]] = {}  # entries that wait for the acknowledgement of these invocations
        self._holders: dict[bytes, list[int]] = {}  # the same, by invocation
        self._wanted: set[int] = set()  # of those, the ones that would have been produced
        self._released: list[int] = []
        self.last = 0  # number of the latest entry ever added

    def __len__(self) -> int:
        return len(self._entries)

    def label(self, lease: bytes, take: int) -> Label:
        """The label of the entry that is added next."""
        oldest = next(iter(self._entries.values())).take if self._entries else take
        return Label(self._shard, lease, self.last + 1, take, oldest)

    def add(self, record: OutRecord, take: int, invocation: bytes | None = None) -> None:
        """Promise a record; it was made with `label`, where its kind has labels. `invocation`: the one it carries."""
        self.last += 1
        self._entries[self.last] = Entry(record, take, invocation)
        self._uncommitted.append(self.last)
        if invocation is not None:
            self._invocations[invocation] = self.last

    def carries(self, id_: bytes) -> bool:
        """Whether the record of this invocation has not been acknowledged yet (R6)."""
        return id_ in self._invocations

    def carried(self, ids: Iterable[bytes]) -> set[bytes]:
        """Those of these invocations whose records have not been acknowledged yet."""
        return {id_ for id_ in ids if id_ in self._invocations} if self._invocations else set()

    def hold_last(self, ids: set[bytes]) -> None:
        """Produce the entry that was added last only once the records of these invocations were acknowledged.

        For entries without a label alone, whose order does not matter. After a crash nobody holds it any more.
        """
        self._held[self.last] = ids
        for id_ in ids:
            self._holders.setdefault(id_, []).append(self.last)

    def remove(self, number: int) -> Entry | None:
        """The entry was acknowledged, or can never be delivered. None: it had left before."""
        entry = self._entries.pop(number, None)
        if entry is not None:
            self._gone.append(number)
            if entry.invocation is not None and self._invocations.get(entry.invocation) == number:
                del self._invocations[entry.invocation]
                self._let_go(entry.invocation)
        return entry

    def _let_go(self, id_: bytes) -> None:
        for number in self._holders.pop(id_, ()):
            ids = self._held[number]
            ids.discard(id_)
            if not ids:
                del self._held[number]
                if number in self._wanted:
                    self._wanted.discard(number)
                    self._released.append(number)

    def released(self) -> list[int]:
        """Entries that were held, and are to be produced since the last call."""
        released, self._released = self._released, []
        return released

    def seal(self) -> tuple[list[int], list[bytes | int], list[int]]:
        """What the next commit must store: numbers added, fields and values alternating to set, numbers to delete."""
        added, self._uncommitted = self._uncommitted, []
        gone, self._gone = self._gone, []
        put: list[bytes | int] = []
        for number in added:
            record, *rest = self._entries[number]
            put += (number, pack((*record, *rest)))
        return added, put, gone

    @property
    def news(self) -> int:
        """How many entries were added since the last `seal`."""
        return len(self._uncommitted)

    @property
    def has_gone(self) -> bool:
        """Whether entries have left since the last `seal`."""
        return bool(self._gone)

    def get(self, numbers: list[int]) -> list[tuple[int, OutRecord]]:
        """Those of the entries that are still here, and may be produced now."""
        if self._held:
            held = self._held.keys() & numbers
            self._wanted |= held
            numbers = [number for number in numbers if number not in held]
        return [(n, self._entries[n].record) for n in numbers if n in self._entries]

    def committed(self, uncommitted_from: int | None = None) -> list[int]:
        """Numbers of all entries whose commit is through, from the head; `uncommitted_from`: first one under way."""
        first = self._uncommitted[0] if self._uncommitted else self.last + 1
        if uncommitted_from is not None:
            first = min(first, uncommitted_from)
        return [n for n in self._entries if n < first]

    def restore(self, last: int, fields: dict[bytes, bytes]) -> None:
        """Take the outbox as the store has it."""
        self.last = last
        for number, packed in sorted((int(field), packed) for field, packed in fields.items()):
            topic, partition, key, value, headers, take, invocation = msgpack.unpackb(packed, use_list=False)
            record = OutRecord(topic, partition, key, value, None if headers is None else list(headers))
            self._entries[number] = Entry(record, take, invocation)
            if invocation is not None:
                self._invocations[invocation] = number
