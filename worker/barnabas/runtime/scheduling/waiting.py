"""An invocation that waits for its due time: what the scheduler keeps of it, and its form in the store.

In the store it is a header (changes when somebody attaches), its record (never changes) and a member of a sorted set.
In memory the record may be missing: it is read again a little before it is due.
"""

from __future__ import annotations

from typing import Final

import msgpack

from barnabas.contract.ids import ID_BYTES
from barnabas.contract.records import LATEST_DUE, Caller, Invocation, ReplyTo
from barnabas.runtime.live import pack_waiter, unpack_waiter
from barnabas.store import keys

pack = msgpack.Packer(autoreset=True).pack

_HEADER_VERSION: Final = 1
_ARRIVAL_BYTES: Final = 8


class Waiting:
    """One invocation that waits. `arrival` is the offset of its record, which breaks ties of due times."""

    __slots__ = (
        "arrival",
        "commit",
        "due",
        "freed",
        "held",
        "id",
        "member",
        "place",
        "record",
        "service",
        "size",
        "stranded",
        "waiters",
    )

    def __init__(self, id_: bytes, service: str, due: int, arrival: int, size: int) -> None:
        self.id = id_
        self.service = service
        self.due = due
        self.arrival = arrival
        self.size = size  # bytes of its record
        self.member = arrival.to_bytes(_ARRIVAL_BYTES, "big") + id_  # of sorted sets: equal due times go by arrival
        self.waiters: list[Caller | ReplyTo] = []  # everyone who wants its outcome
        self.held: list[bytes] = []  # signals that its target gets after it
        self.record: bytes | None = None
        self.stranded = False  # due, and nobody has registered its service
        self.freed = False  # was stranded, and goes as soon as it can
        self.place: bytes | None = None  # the sorted set that has it, for all that a commit has said
        self.commit = 0  # number of the commit that holds its last change

    @property
    def order(self) -> tuple[int, int]:
        """Its place in the order of release."""
        return self.due, self.arrival

    @property
    def wanted_place(self) -> bytes:
        """The sorted set that it belongs into."""
        return keys.stranded(self.service) if self.stranded else keys.DUE

    def add_waiter(self, waiter: Caller | ReplyTo) -> bool:
        """Let someone more wait for the outcome. False: they do already."""
        if waiter in self.waiters:
            return False
        self.waiters.append(waiter)
        return True

    def header(self) -> bytes:
        """The header as it is stored."""
        waiters = [pack_waiter(waiter) for waiter in self.waiters]
        fields = (_HEADER_VERSION, self.service, self.due, self.arrival, self.size, self.stranded, waiters, self.held)
        packed: bytes = pack(fields)
        return packed


def accepted(invocation: Invocation, due: int, arrival: int, record: bytes) -> Waiting:
    """A new one, from its record at offset `arrival`."""
    waiting = Waiting(invocation.id, invocation.service, min(max(due, 0), LATEST_DUE), arrival, len(record))
    waiting.record = record
    for waiter in waiters_of(invocation):
        waiting.add_waiter(waiter)
    return waiting


def unpack_waiting(id_: bytes, header: bytes) -> Waiting:
    """One as the store has it; its record is there alone."""
    _, service, due, arrival, size, stranded, waiters, held = msgpack.unpackb(header)
    waiting = Waiting(id_, service, due, arrival, size)
    waiting.stranded = stranded
    waiting.waiters = [unpack_waiter(waiter) for waiter in waiters]
    waiting.held = held
    waiting.place = waiting.wanted_place
    return waiting


def id_of_member(member: bytes) -> bytes:
    """Whose member of a sorted set this is."""
    return member[-ID_BYTES:]


def waiters_of(invocation: Invocation) -> list[Caller | ReplyTo]:
    """Everyone who waits for an invocation, by its record."""
    first: list[Caller | ReplyTo | None] = [invocation.caller, invocation.reply_to]
    return [waiter for waiter in (*first, *invocation.waiters) if waiter is not None]
