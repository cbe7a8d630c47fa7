"""The store in this process's memory: for unit tests, the simulator and `barnabas.testing`. It behaves as the real one.

`MemoryCore` is synchronous and free of clock and I/O, so a simulator can drive it step by step and let it fall back
(`snapshot`, `restore`). `MemoryStore` puts the port's coroutines over a core.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, cast

from barnabas.store import forms, registry
from barnabas.store.keys import META
from barnabas.store.port import (
    Applied,
    Commit,
    Query,
    Refused,
    Service,
    Shard,
    StoreCorrupt,
    StoreUnavailable,
    Taken,
)

_Hash = dict[bytes, bytes]
_List = list[bytes]
_Scores = dict[bytes, float]
_Set = set[bytes]


class _SortedSet(_Scores):
    """A class of its own, so that a key of another type is noticed."""


_Structure = _Hash | _List | _SortedSet | _Set
_APPLIED = Applied()
_Snapshot = tuple[dict[Shard, dict[bytes, _Structure]], dict[str, Service]]


class MemoryCore:
    """The store as plain dicts. One method call is one atomic step, as one script call is on the server."""

    def __init__(self) -> None:
        self._shards: dict[Shard, dict[bytes, _Structure]] = {}
        self._services: dict[str, Service] = {}
        self._public: dict[str, bool] = {}

    def take(self, shard: Shard, lease: bytes, owner: str) -> Taken:
        """See `port.Store.take`."""
        meta = self._meta(shard)
        _refuse_broken(shard, meta)
        takes = int(meta.get(b"takes", b"0")) + 1
        meta |= {b"lease": lease, b"owner": owner.encode(), b"takes": b"%d" % takes}
        return Taken(int(meta.get(b"number", b"0")), takes)

    def commit(self, commit: Commit) -> Applied | Refused:
        """Apply one commit or refuse it. Raises StoreCorrupt for a closed shard, ValueError for a malformed op."""
        meta = cast(_Hash, self._shards.get(commit.shard, {}).get(META, {}))
        _refuse_broken(commit.shard, meta)
        number = int(meta.get(b"number", b"0"))
        if meta.get(b"lease") != commit.lease:
            return Refused("lease", number)
        if not commit.ops and commit.number == number:
            return _APPLIED
        if not commit.ops or commit.number != number + 1:
            return Refused("number", number)
        ops = [forms.op(op) for op in commit.ops]
        shard = self._shards[commit.shard]
        try:
            for verb, suffix, arguments in ops:
                _apply(shard, verb, suffix, arguments)
        except _WrongTypeError as error:
            broken = f"commit {commit.number} failed midway: {error}"
            meta[b"broken"] = broken.encode()
            raise StoreCorrupt(f"{commit.shard} cannot be used as it stands in the store: {broken}") from None
        self._meta(commit.shard)[b"number"] = b"%d" % commit.number
        return _APPLIED

    def read(self, shard: Shard, query: Query) -> Any:
        """Answer one question. Raises ValueError for a malformed one, StoreCorrupt for a key of another type."""
        verb, suffix, arguments = forms.question(query)
        structures = self._shards.get(shard, {})
        try:
            return _answer(structures, verb, suffix, arguments)
        except _WrongTypeError as error:
            raise StoreCorrupt(f"{shard} cannot be used as it stands in the store: {error}") from None

    def suffixes(self) -> list[tuple[Shard, bytes]]:
        """All keys there are, by shard."""
        return [(shard, suffix) for shard, structures in self._shards.items() for suffix in structures]

    def register(self, services: Sequence[Service]) -> None:
        """See `port.Store.register`."""
        for service in services:
            standing = self._services.get(service.name)
            if standing and registry.contradicts(standing, service):
                raise registry.conflict(standing, service)
        self._services |= {service.name: service for service in services}

    def services(self) -> dict[str, Service]:
        """See `port.Store.services`."""
        return {name: registry.with_public(one, self._public.get(name)) for name, one in self._services.items()}

    def set_public(self, service: str, public: bool) -> None:
        """See `port.Store.set_public`."""
        self._public[service] = public

    def snapshot(self) -> _Snapshot:
        """Everything in the store now, untouched by what comes later."""
        return _copied(self._shards), dict(self._services)

    def restore(self, snapshot: _Snapshot) -> None:
        """Be again what the store was at the snapshot, as a server is that lost its last second."""
        shards, services = snapshot
        self._shards, self._services = _copied(shards), dict(services)

    def _meta(self, shard: Shard) -> _Hash:
        return cast(_Hash, self._shards.setdefault(shard, {}).setdefault(META, {}))


class MemoryStore:
    """A `Store` over a `MemoryCore`. Every call lets other tasks run once after its step, as a server's reply would."""

    def __init__(self, core: MemoryCore | None = None, *, clock_ms: Callable[[], int] | None = None) -> None:
        self.core = core or MemoryCore()
        self._clock_ms = clock_ms or (lambda: time.time_ns() // 1_000_000)

    async def take(self, shard: Shard, lease: bytes, owner: str) -> Taken:
        """See `port.Store.take`."""
        taken = self.core.take(shard, lease, owner)
        await asyncio.sleep(0)
        return taken

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Refused | StoreUnavailable]:
        """See `port.Store.commit`."""
        outcomes: list[Applied | Refused | StoreUnavailable | StoreCorrupt] = []
        for commit in commits:
            try:
                outcomes.append(self.core.commit(commit))
            except StoreCorrupt as error:
                outcomes.append(error)
        await asyncio.sleep(0)
        for outcome in outcomes:
            if isinstance(outcome, StoreCorrupt):
                raise StoreCorrupt(str(outcome), outcomes)
        return cast(list[Applied | Refused | StoreUnavailable], outcomes)

    async def read(self, questions: Sequence[tuple[Shard, Query]]) -> list[Any]:
        """See `port.Store.read`."""
        answers = [self.core.read(shard, query) for shard, query in questions]
        await asyncio.sleep(0)
        return answers

    async def time_ms(self) -> int:
        """See `port.Store.time_ms`."""
        return self._clock_ms()

    async def register(self, services: Sequence[Service]) -> None:
        """See `port.Store.register`."""
        self.core.register(services)
        await asyncio.sleep(0)

    async def set_public(self, service: str, public: bool) -> None:
        """See `port.Store.set_public`."""
        await asyncio.sleep(0)
        self.core.set_public(service, public)

    async def services(self) -> dict[str, Service]:
        """See `port.Store.services`."""
        await asyncio.sleep(0)
        return self.core.services()

    async def aclose(self) -> None:
        """Nothing to close; what is in the core stays."""


class _WrongTypeError(Exception):
    """A key holds another kind of structure than the verb is for."""


def _refuse_broken(shard: Shard, meta: _Hash) -> None:
    if b"broken" in meta:
        raise StoreCorrupt(f"{shard} cannot be used as it stands in the store: {meta[b'broken'].decode()}")


def _apply(shard: dict[bytes, _Structure], verb: str, suffix: bytes, arguments: list[bytes]) -> None:
    if verb == "DEL":
        shard.pop(suffix, None)
        return
    kind = _KINDS[verb]
    structure = shard.get(suffix)
    if structure is None:
        structure = shard[suffix] = kind()
    elif type(structure) is not kind:
        raise _WrongTypeError(f"{verb} on {suffix!r}, which is of another type")
    _CHANGES[verb](structure, arguments)
    if not structure:
        del shard[suffix]


def _answer(shard: dict[bytes, _Structure], verb: str, suffix: bytes, arguments: list[bytes]) -> Any:
    kind = _KINDS[verb]
    structure = shard.get(suffix)
    if structure is None:
        structure = kind()
    elif type(structure) is not kind:
        raise _WrongTypeError(f"{verb} on {suffix!r}, which is of another type")
    return _ANSWERS[verb](structure, arguments)


def _between(length: int, arguments: list[bytes]) -> slice:
    """The slice that Redis means by two bounds, both inclusive, negative ones counted from the end."""
    first, last = (max(bound + length, 0) if bound < 0 else bound for bound in map(int, arguments))
    # a `last` so far before the beginning that it was cut to 0 means nothing at all
    if int(arguments[1]) < -length:
        return slice(0, 0)
    return slice(first, last + 1)


def _trim(values: _List, arguments: list[bytes]) -> None:
    values[:] = values[_between(len(values), arguments)]


def _drop(fields: dict[bytes, Any], arguments: list[bytes]) -> None:
    for field in arguments:
        fields.pop(field, None)


def _ranked(scores: _Scores, arguments: list[bytes]) -> list[tuple[bytes, float]]:
    ranked = sorted(scores.items(), key=lambda item: (item[1], item[0]))
    return ranked[_between(len(ranked), arguments)]


def _copied(shards: dict[Shard, dict[bytes, _Structure]]) -> dict[Shard, dict[bytes, _Structure]]:
    return {
        shard: {suffix: copy(structure) for suffix, structure in structures.items()}
        for shard, structures in shards.items()
    }


_KINDS: dict[str, Callable[[], _Structure]] = {
    **dict.fromkeys(("HSET", "HDEL", "HGETALL", "HGET", "HMGET", "HLEN"), dict),
    **dict.fromkeys(("RPUSH", "LTRIM", "LREM", "LRANGE", "LLEN"), list),
    **dict.fromkeys(("ZADD", "ZREM", "ZRANGE"), _SortedSet),
    **dict.fromkeys(("SADD", "SREM", "SMEMBERS"), set),
}
_CHANGES: dict[str, Callable[[Any, list[bytes]], object]] = {
    "HSET": lambda fields, a: fields.update(zip(a[::2], a[1::2], strict=True)),
    "HDEL": _drop,
    "RPUSH": list.extend,
    "LTRIM": _trim,
    "LREM": lambda values, a: values.remove(a[0]) if a[0] in values else None,
    "ZADD": lambda scores, a: scores.update(zip(a[1::2], map(float, a[::2]), strict=True)),
    "ZREM": _drop,
    "SADD": set.update,
    "SREM": set.difference_update,
}
_ANSWERS: dict[str, Callable[[Any, list[bytes]], Any]] = {
    "HGETALL": lambda fields, _: dict(fields),
    "HGET": lambda fields, a: fields.get(a[0]),
    "HMGET": lambda fields, a: [fields.get(field) for field in a],
    "HLEN": lambda fields, _: len(fields),
    "LRANGE": lambda values, a: values[_between(len(values), a)],
    "LLEN": lambda values, _: len(values),
    "ZRANGE": _ranked,
    "SMEMBERS": lambda members, _: set(members),
}
