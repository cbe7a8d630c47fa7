"""What travels on the topics, as plain values. `codec` turns them into bytes and back; nothing here knows Avro.

The classes are mutable only because frozen dataclasses cost three times as much to build on the hot path:
treat an instance as a value once it was made. Times are milliseconds since the epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

#: The latest due time, ms: a store's scores are doubles. `timedelta.max` is longer.
LATEST_DUE: Final = 2**53 - 1


@dataclass(slots=True)
class Label:
    """Whose outbox a record comes from, so that the receiver can drop what it has accepted before (R1, R14)."""

    shard: str  # the sending shard, "Service/partition"
    lease: bytes  # lease under which the entry was committed
    number: int  # position in the shard's outbox, rising by one over the shard's whole life
    take: int  # take counter of `lease`
    oldest_take: int  # take counter of the oldest lease that still has entries in the sender's outbox


@dataclass(slots=True, unsafe_hash=True)  # a value, see above
class Caller:
    """A handler that waits for the result: which invocation, and at which position of its journal."""

    id: bytes
    service: str
    key: str  # partition key of the calling invocation, the record key of the completion
    position: int


@dataclass(slots=True, unsafe_hash=True)
class ReplyTo:
    """A client that only speaks Kafka and waits for the result on the replies topic."""

    client: str
    request: bytes  # the client's own identity for this request


@dataclass(slots=True)
class Failure:
    """A terminal error as it travels: HTTP-like status code, message, and what the handler attached to it."""

    code: int
    message: str
    metadata: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Invocation:
    """A request to run one handler once."""

    id: bytes
    service: str
    handler: str
    key: str | None  # object or workflow key; None for a service
    payload: bytes
    headers: dict[str, str] = field(default_factory=dict)
    caller: Caller | None = None
    reply_to: ReplyTo | None = None
    idempotency_key: str | None = None
    due: int | None = None
    label: Label | None = None  # None: from outside
    waiters: list[Caller | ReplyTo] = field(default_factory=list)  # who attached while it waited in the delays topic


class SignalKind(Enum):
    """What a signal says. The values are the symbols of the Avro enum, which only ever grows at its end."""

    COMPLETION = "COMPLETION"
    CANCEL = "CANCEL"
    KILL = "KILL"
    RESOLVE = "RESOLVE"
    ATTACH = "ATTACH"
    PAUSE = "PAUSE"
    RESUME = "RESUME"
    PURGE = "PURGE"
    PURGE_JOURNAL = "PURGE_JOURNAL"
    RESTART = "RESTART"


@dataclass(slots=True)
class Signal:
    """Something that running work waits for, or that is done to it."""

    kind: SignalKind
    invocation: bytes  # the invocation it is about
    position: int | None = None  # journal position that the result belongs to
    call_id: bytes | None = None  # id of the invocation that produced the result (R9)
    result: bytes | None = None
    failure: Failure | None = None
    label: Label | None = None
    caller: Caller | None = None  # ATTACH: the handler that wants the result
    reply_to: ReplyTo | None = None  # ATTACH: the client that wants it; else the one to be told what came of the signal
    name: str | None = None  # RESOLVE: of the signal; an awakeable has a position instead


@dataclass(slots=True)
class Reply:
    """A result for a client on the replies topic; exactly one of `result` and `failure` is set."""

    client: str
    request: bytes
    invocation: bytes
    result: bytes | None = None
    failure: Failure | None = None


@dataclass(slots=True)
class DeadLetter:
    """A record that nobody could read or deliver, with where it was and why it ended here."""

    reason: str  # a fixed word for programs: "undecodable", "unaddressed", "stale-label", "undeliverable", ...
    detail: str  # a sentence for people
    topic: str
    partition: int
    offset: int  # -1 for a record that never reached its topic
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)
