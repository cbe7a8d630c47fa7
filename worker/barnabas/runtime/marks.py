"""What a shard has accepted from whom: the highest outbox number per (receiving topic, sending shard, lease) (R1, R14).

A sender produces its outbox again after every trouble, labels unchanged; a record that is not above the mark of its
label was accepted before. Marks of a sender are kept for its last leases, told apart by the take counter, which orders
leases for this purpose alone: after a store fell back it may repeat.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgpack

from barnabas.contract.records import Label

#: Leases kept per sender and topic. Marks that the sender's outbox may still need are kept beyond it.
KEPT_LEASES: Final = 64

pack = msgpack.Packer(autoreset=True).pack


class Verdict(Enum):
    """What a label says about its record."""

    NEW = "new"
    SEEN = "seen"
    STALE = "stale"  # from a lease so old that nobody knows whether it was accepted


class Marks:
    """The marks of one receiving shard."""

    def __init__(self) -> None:
        self._senders: dict[tuple[str, str], dict[bytes, list[int]]] = {}
        self._floors: dict[tuple[str, str], int] = {}  # highest take counter whose mark was dropped
        self._changed: set[tuple[str, str, bytes]] = set()
        self._dropped: set[tuple[str, str, bytes]] = set()

    def judge(self, topic: str, label: Label) -> Verdict:
        """Look the label up, and raise its mark if the record is new.

        `topic`: a letter for the receiving topic (R1).
        """
        sender = (topic, label.shard)
        leases = self._senders.get(sender)
        if leases is None:
            leases = self._senders[sender] = {}
        mark = leases.get(label.lease)
        if mark is None:
            if label.take <= self._floors.get(sender, 0):
                return Verdict.STALE
            leases[label.lease] = [label.take, label.number]
            self._changed.add((*sender, label.lease))
            if len(leases) > KEPT_LEASES:
                self._drop_old(sender, leases, label)
            return Verdict.NEW
        if label.number <= mark[1]:
            return Verdict.SEEN
        mark[1] = label.number
        self._changed.add((*sender, label.lease))
        return Verdict.NEW

    def _drop_old(self, sender: tuple[str, str], leases: dict[bytes, list[int]], label: Label) -> None:
        droppable = [(mark[0], lease) for lease, mark in leases.items() if mark[0] < label.oldest_take]
        for take, lease in sorted(droppable)[: len(leases) - KEPT_LEASES]:
            del leases[lease]
            self._floors[sender] = max(take, self._floors.get(sender, 0))
            self._changed.discard((*sender, lease))
            self._dropped.add((*sender, lease))

    def changes(self) -> tuple[list[bytes], list[bytes]]:
        """What changed since the last call: fields and values alternating to set, and fields to delete."""
        put: list[bytes] = []
        floors = {(topic, shard) for topic, shard, _ in self._dropped}
        for topic, shard, lease in self._changed:
            put += (_field(topic, shard, lease), pack(self._senders[topic, shard][lease]))
        for sender in floors:
            put += (_field(*sender, b""), pack([self._floors[sender]]))
        gone = [_field(*field) for field in self._dropped]
        self._changed.clear()
        self._dropped.clear()
        return put, gone

    def restore(self, fields: dict[bytes, bytes]) -> None:
        """Take the marks as the store has them."""
        for field, value in fields.items():
            topic, shard, lease = msgpack.unpackb(field)
            numbers = msgpack.unpackb(value)
            if lease:
                self._senders.setdefault((topic, shard), {})[lease] = numbers
            else:
                self._floors[topic, shard] = numbers[0]


def _field(topic: str, shard: str, lease: bytes) -> bytes:
    packed: bytes = pack((topic, shard, lease))
    return packed
