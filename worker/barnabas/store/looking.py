"""Whole shards as they were at one moment, and which keys there are: for people who look, not for the worker's path.

`port.Store.read` answers many questions in one round trip, but commits come in between; here one script answers all of
them about a shard, so that a header and its journal, or a queue and its head, belong together. Made by the composition
root, used by `introspection`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import msgpack

from barnabas.store import forms
from barnabas.store.keys import META, Keys
from barnabas.store.memory import MemoryCore
from barnabas.store.port import Query, Shard, StoreCorrupt
from barnabas.store.wire import CommandRefused, Script, Wire

#: Question besides those of `read`: ("EACH", suffix of a hash, begin of a suffix): for each field of the hash, the list
#: under that begin and the field, as dict[bytes, list[bytes]].
EACH: Final = "EACH"
#: A look is one call to the store's server, which does nothing else meanwhile.
MOST_BYTES: Final = 64 << 20
_SCAN_COUNT: Final = 5_000


class TooLarge(Exception):
    """A shard has more of what was asked for than one look may take; the message says how much."""


class Looks(Protocol):
    """Looks into the store. All methods may raise StoreUnavailable and StoreCorrupt."""

    async def look(self, shard: Shard, questions: Sequence[Query]) -> list[Any]:
        """Answers that are true together, in the shapes of `port.Store.read`. Raises TooLarge."""
        ...

    async def suffixes(self, begin: bytes, most: int) -> dict[Shard, list[bytes]]:
        """The keys whose suffix begins so, by shard, without that begin. Raises TooLarge if they are more than `most`.

        Goes through all keys of the server, so it takes its time, and keys that come or go meanwhile may be missed.
        """
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class RedisLooks:
    """`Looks` on a Redis or Valkey server, over a connection of their own."""

    def __init__(
        self, url: str, namespace: str, *, timeout_seconds: float = 30.0, most_bytes: int = MOST_BYTES
    ) -> None:
        self._keys = Keys(namespace)
        self._namespace = namespace
        self._most_bytes = most_bytes
        self._script = Script("look")
        self._wire = Wire(url, timeout_seconds=timeout_seconds)

    async def look(self, shard: Shard, questions: Sequence[Query]) -> list[Any]:
        """See `Looks.look`."""
        prefix = self._keys.prefix(shard)
        asked = [_form(question) for question in questions]
        packed: bytes = msgpack.packb(asked, use_bin_type=False)
        [reply] = await self._wire.run(self._script, [(1, prefix + META, prefix, self._most_bytes, packed)])
        if isinstance(reply, CommandRefused) and reply.code == "TOOLARGE":
            raise TooLarge(
                f"what was asked for of {shard} has {int(reply.text) >> 20} MiB or more, and "
                f"{self._most_bytes >> 20} MiB of one shard are read at most"
            )
        answers = _sound(reply, str(shard))
        return [_SHAPES.get(str(q[0]), _as_is)(answer) for q, answer in zip(asked, answers, strict=True)]

    async def suffixes(self, begin: bytes, most: int) -> dict[Shard, list[bytes]]:
        """See `Looks.suffixes`."""
        opening = b"{" + self._namespace.encode() + b"/"
        pattern = _literal(opening) + b"*}:" + _literal(begin) + b"*"
        found: dict[Shard, list[bytes]] = {}
        seen: set[bytes] = set()
        cursor = b"0"
        while True:
            [reply] = await self._wire.exchange([("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_COUNT)])
            cursor, names = _sound(reply, "the keys")
            for name in set(names) - seen:  # a scan may tell of a key twice
                seen.add(name)
                tag, _, suffix = name[len(opening) :].partition(b"}:")
                service, _, partition = tag.decode().rpartition("/")
                if suffix.startswith(begin) and partition.isdecimal():
                    found.setdefault(Shard(service, int(partition)), []).append(suffix[len(begin) :])
            if len(seen) > most:
                raise TooLarge(f"the store has more than {most} keys of this kind")
            if cursor == b"0":
                return found

    async def aclose(self) -> None:
        """See `Looks.aclose`."""
        await self._wire.aclose()


class MemoryLooks:
    """`Looks` into a store in memory, where each call is one step anyway."""

    def __init__(self, core: MemoryCore) -> None:
        self._core = core

    async def look(self, shard: Shard, questions: Sequence[Query]) -> list[Any]:
        """See `Looks.look`."""
        return [self._answer(shard, question) for question in questions]

    def _answer(self, shard: Shard, question: Query) -> Any:
        if question[0] != EACH:
            return self._core.read(shard, question)
        _, suffix, begin = question
        fields: dict[bytes, bytes] = self._core.read(shard, ("HGETALL", suffix))
        return {field: self._core.read(shard, ("LRANGE", begin + field, 0, -1)) for field in fields}

    async def suffixes(self, begin: bytes, most: int) -> dict[Shard, list[bytes]]:
        """See `Looks.suffixes`."""
        found: dict[Shard, list[bytes]] = {}
        for shard, suffix in self._core.suffixes():
            if suffix.startswith(begin):
                found.setdefault(shard, []).append(suffix[len(begin) :])
        if sum(map(len, found.values())) > most:
            raise TooLarge(f"the store has more than {most} keys of this kind")
        return found

    async def aclose(self) -> None:
        """Nothing to close."""


def _form(question: Query) -> tuple[str, bytes, *tuple[bytes, ...]]:
    if question[0] == EACH:
        return EACH, forms.as_bytes(question[1]), forms.as_bytes(question[2])
    verb, suffix, arguments = forms.question(question)
    if verb == "ZRANGE":
        arguments.append(b"WITHSCORES")
    return verb, suffix, *arguments


def _sound(reply: Any, about: str) -> Any:
    if isinstance(reply, CommandRefused):
        raise StoreCorrupt(f"{about} cannot be read as it stands in the store: {reply}")
    if isinstance(reply, Exception):
        raise reply
    return reply


def _as_is(reply: Any) -> Any:
    return reply


def _pairs(reply: list[Any]) -> dict[bytes, Any]:
    parts = iter(reply)
    return dict(zip(parts, parts, strict=True))


def _scored(reply: list[bytes]) -> list[tuple[bytes, float]]:
    return [(member, float(score)) for member, score in _pairs(reply).items()]


_SHAPES: Final[dict[str, Callable[[Any], Any]]] = {
    "HGETALL": _pairs,
    "ZRANGE": _scored,
    "SMEMBERS": set,
    EACH: _pairs,
}


def _literal(text: bytes) -> bytes:
    """Text as part of a SCAN pattern."""
    return re.sub(rb"([*?\[\]^\\])", rb"\\\1", text)
