"""An invocation that has been accepted and is not over: what the shard keeps of it in memory, and its form in the
store.

In the store it is a header (changes with every retry), an input (never changes) and a journal (only grows). In memory
the input and the journal may be missing: a queued or suspended invocation costs a few hundred bytes here, the rest is
read again when it goes on.
"""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any, Final

import msgpack

from barnabas.contract.records import Caller, ReplyTo
from barnabas.runtime.journal import Entry

if TYPE_CHECKING:
    from barnabas.runtime.attempt import Attempt
    from barnabas.sdk.retry_policy import ResolvedRetryPolicy
    from barnabas.sdk.serde import Serde

SCHEDULED: Final = "scheduled"  # waits for its due time, before it joins its key's queue
QUEUED: Final = "queued"  # waits for its key, or for its input or state to be read
RUNNING: Final = "running"
SUSPENDED: Final = "suspended"  # waits for a notification, without a coroutine
BACKING_OFF: Final = "backing-off"
PAUSED: Final = "paused"

#: How an invocation is to end; decided, and put off until its journal is read or its steps have ended.
CANCEL: Final = "cancel"
KILL: Final = "kill"

_HEADER_VERSION: Final = 2
_MANY_WAITERS: Final = 16
_FIELDS_OF_VERSION_1: Final = 11
_NO_HEADERS: Final[dict[str, str]] = {}

pack = msgpack.Packer(autoreset=True).pack


class Live:
    """One accepted invocation of a shard."""

    __slots__ = (
        "_known_waiters",
        "accepted",
        "accepted_at",
        "attempt",
        "attempts",
        "dirty",
        "due",
        "ending",
        "exclusive",
        "handler",
        "header_changed",
        "headers",
        "hold",
        "id",
        "idempotency_key",
        "journal",
        "journal_loaded",
        "journal_sealed",
        "keep",
        "key",
        "last_failure",
        "payload",
        "payload_loaded",
        "retry_at",
        "sealed",
        "seed",
        "service",
        "status",
        "steps",
        "waiters",
    )

    def __init__(
        self, id_: bytes, service: str, handler: str, key: str | None, exclusive: bool, accepted: int, now: int
    ) -> None:
        self.id = id_
        self.service = service
        self.handler = handler
        self.key = key
        self.exclusive = exclusive
        self.accepted = accepted  # place in the order of acceptance of the shard
        self.accepted_at = now
        self.status = QUEUED
        self.waiters: list[Caller | ReplyTo] = []
        self._known_waiters: set[Caller | ReplyTo] | None = None  # the same, where they are many
        self.keep = False  # its outcome is kept for a time: it has an idempotency key, or is a workflow's run
        self.due = 0  # SCHEDULED: when it joins its key's queue, ms
        self.ending = ""  # CANCEL or KILL
        self.seed = id_  # of its random numbers: one that goes on with another's journal has that one's
        self.attempts = 0  # that failed
        self.retry_at = 0
        self.last_failure = ""
        self.payload = b""
        self.headers = _NO_HEADERS
        self.idempotency_key: str | None = None
        self.payload_loaded = True
        self.journal: list[Entry] = []
        self.journal_loaded = True
        self.journal_sealed = 0  # entries that a commit has taken along
        self.sealed = False  # whether a commit has taken the invocation itself along
        self.header_changed = False
        self.dirty = 0  # number of the commit that holds its last change
        self.hold = 0  # notifications are delivered once this commit is through (a step's result)
        self.attempt: Attempt | None = None
        self.steps: dict[int, Step] | None = None  # under way, by position

    def header(self) -> bytes:
        """The header as it is stored."""
        fields = (
            _HEADER_VERSION,
            self.handler,
            self.key,
            self.exclusive,
            self.accepted,
            self.accepted_at,
            self.status,
            self.attempts,
            self.retry_at,
            self.last_failure,
            [pack_waiter(w) for w in self.waiters],
            self.keep,
            self.due,
            self.ending,
            None if self.seed == self.id else self.seed,
        )
        packed: bytes = pack(fields)
        return packed

    def input(self) -> bytes:
        """The input as it is stored."""
        packed: bytes = pack((self.payload, self.headers, self.idempotency_key))
        return packed

    def load_input(self, raw: bytes) -> None:
        """Take the input as it was stored."""
        self.payload, self.headers, self.idempotency_key = msgpack.unpackb(raw)
        self.payload_loaded = True

    def forget_input(self) -> None:
        """Keep the input in the store alone."""
        self.payload, self.headers, self.payload_loaded = b"", _NO_HEADERS, False

    def add_waiter(self, waiter: Caller | ReplyTo) -> bool:
        """Let someone more wait for the outcome. False: they do already."""
        if len(self.waiters) > _MANY_WAITERS:
            if self._known_waiters is None:
                self._known_waiters = set(self.waiters)
            if waiter in self._known_waiters:
                return False
            self._known_waiters.add(waiter)
        elif waiter in self.waiters:
            return False
        self.waiters.append(waiter)
        return True

    def forget_journal(self) -> None:
        """Keep the journal in the store alone; all of it must be there."""
        self.journal, self.journal_sealed, self.journal_loaded = [], 0, False


def unpack_live(id_: bytes, service: str, raw: bytes) -> Live:
    """An invocation as the store has it: input and journal are still there alone."""
    fields = msgpack.unpackb(raw)
    _, handler, key, exclusive, accepted, accepted_at, status, attempts, retry_at, last_failure, waiters = fields[
        :_FIELDS_OF_VERSION_1
    ]
    live = Live(id_, service, handler, key, exclusive, accepted, accepted_at)
    live.status = status
    live.attempts = attempts
    live.retry_at = retry_at
    live.last_failure = last_failure
    live.waiters = [unpack_waiter(w) for w in waiters]
    if len(fields) > _FIELDS_OF_VERSION_1:
        live.keep, live.due, live.ending, seed = fields[_FIELDS_OF_VERSION_1:]
        live.seed = seed or id_
    live.sealed = True
    live.journal_loaded = False
    live.forget_input()
    return live


def pack_waiter(waiter: Caller | ReplyTo) -> list[Any]:
    """Who waits, as a list of plain values."""
    if isinstance(waiter, Caller):
        return [waiter.id, waiter.service, waiter.key, waiter.position]
    return [waiter.client, waiter.request]


def unpack_waiter(fields: list[Any]) -> Caller | ReplyTo:
    """The inverse of `pack_waiter`."""
    return Caller(*fields) if len(fields) == 4 else ReplyTo(*fields)


class Step:
    """One `ctx.run` action of an invocation, from its command until its result is in the journal."""

    __slots__ = (
        "action",
        "args",
        "at_work",
        "attempts",
        "context",
        "first_failed_at",
        "kwargs",
        "live",
        "name",
        "policy",
        "position",
        "serde",
    )

    def __init__(
        self,
        live: Live,
        position: int,
        name: str,
        action: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        serde: Serde[Any],
        policy: ResolvedRetryPolicy | None,
    ) -> None:
        self.live = live
        self.position = position
        self.name = name
        self.action = action
        self.args = args
        self.kwargs = kwargs
        self.serde = serde
        self.policy = policy  # None: the invocation's
        self.context = contextvars.copy_context()  # the handler's variables, as they are when it starts the step
        self.at_work = False  # begun, or about to; as opposed to waiting for a commit or its next attempt
        self.attempts = 0  # that failed
        self.first_failed_at = 0
