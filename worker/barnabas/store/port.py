"""What the worker asks of a store, whatever server is behind it. Adapters: `redis`, `memory`; one contract suite.

A shard's keys share one hash tag, so a shard lives in one slot and one script changes it atomically. The engine speaks
of a shard's structures by suffix (`keys`), never by full key.

Errors are sorted by what the caller does next:
- `StoreUnavailable`: an outage (connection, time-out, out of memory, read-only, misconfigured, loading). Keep, try
  again (R15). For a commit this also means "may have been applied" (R3).
- a `Refused` result: lease or number was not the store's (R15); the shard is somebody else's or has fallen back.
- `StoreCorrupt`: what stands in the store is not what Barnabas wrote. Stop the shard loudly; trying again cannot help.
- `UnsafeStore`: the server is set up so that it would lose work. Do not start.
- ValueError: a malformed op or question, a bug of the caller; nothing was changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

#: One change to a shard: (verb, suffix, *arguments). Verbs: HSET HDEL DEL RPUSH LTRIM LREM ZADD ZREM SADD SREM.
#: LREM takes a value alone: the first that equals it leaves the list.
#: Arguments are bytes, str or int (at most 53 bits: a script's numbers are doubles); they arrive in the store as bytes.
Op = tuple[Any, ...]
#: One question about a shard: (verb, suffix, *arguments).
#: Verbs: HGETALL HGET HMGET HLEN LRANGE LLEN ZRANGE (by rank, with scores) SMEMBERS.
Query = tuple[Any, ...]


class StoreUnavailable(Exception):
    """The store did not answer, or cannot take writes now. Nothing is known about what was under way."""


class StoreCorrupt(Exception):
    """The store answered what no store of ours can: a key of another type, a commit that failed midway.

    `outcomes` are those of the whole `commit` call that raised this, in order, with a StoreCorrupt in the place of each
    shard that is closed; empty for other calls.
    """

    def __init__(self, message: str, outcomes: Sequence[object] = ()) -> None:
        super().__init__(message)
        self.outcomes = list(outcomes)


class UnsafeStore(Exception):
    """The server's settings would lose work; the message says which and how to change it."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One partition of one service's topics (or of the scheduler's, later), within the namespace."""

    service: str
    partition: int

    def __str__(self) -> str:
        return f"{self.service}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Taken:
    """What a take found: the store's last commit number, and how often this shard was taken, this time included."""

    number: int
    takes: int


@dataclass(slots=True)
class Commit:
    """A numbered change to one shard under one lease: applied as a whole, or refused as a whole.

    With no `ops` it is a check: nothing changes, and `number` must equal the store's last one. A lost lease or a store
    that fell back, be it by one commit, is noticed (R4).
    """

    shard: Shard
    lease: bytes
    number: int
    ops: list[Op]


@dataclass(frozen=True, slots=True)
class Applied:
    """The commit (or check) went through."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The lease or the number did not match the store's; nothing was changed."""

    reason: str  # "lease" | "number"
    number: int  # the store's last number


@dataclass(frozen=True, slots=True)
class Service:
    """A service as the store's registry knows it, so that any process can address it without its code."""

    name: str
    kind: str  # "service" | "object" | "workflow"
    partitions: int
    group: str  # the consumer group that serves it
    handlers: dict[str, str]  # handler name -> "exclusive" | "shared" | "workflow" | "service"
    about: dict[str, Any] = field(
        default_factory=dict
    )  # what `sdk.describing` tells; empty if an older worker wrote it

    @property
    def public(self) -> bool:
        """Whether callers from outside may reach it, except for handlers that say otherwise (`is_public`)."""
        return bool(self.about.get("public", True))

    def is_public(self, handler: str) -> bool:
        """Whether callers from outside may reach this handler."""
        about = self.about.get("handlers")
        said = about.get(handler) if about else None
        return bool(said["public"]) if said and "public" in said else self.public


class Store(Protocol):
    """A store of many shards. All methods may raise StoreUnavailable."""

    async def take(self, shard: Shard, lease: bytes, owner: str) -> Taken:
        """Give the shard to `lease` at once; what its former owner commits from now on is refused."""
        ...

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Refused | StoreUnavailable]:
        """Apply commits of different shards in one round trip; one outcome each, in order. Never retried inside.

        Raises StoreCorrupt, after all outcomes are known, when a shard is closed.
        """
        ...

    async def read(self, questions: Sequence[tuple[Shard, Query]]) -> list[Any]:
        """Answer many questions in one round trip.

        Hashes come as dict[bytes, bytes], sorted sets as list[(bytes, float)], sets as set[bytes].
        """
        ...

    async def time_ms(self) -> int:
        """The store's clock, milliseconds since the epoch: the one clock of an installation."""
        ...

    async def register(self, services: Sequence[Service]) -> None:
        """Write services down. Raises `RegistryConflict` where one stands with another group, kind or count."""
        ...

    async def services(self) -> dict[str, Service]:
        """All registered services by name."""
        ...

    async def set_public(self, service: str, public: bool) -> None:
        """Say whether callers from outside may reach the service, whatever its workers register."""
        ...

    async def aclose(self) -> None:
        """Close the connections. What is under way may or may not be applied."""
        ...


class RegistryConflict(Exception):
    """A service is registered with another group, kind or partition count; the message says which and what to do."""
