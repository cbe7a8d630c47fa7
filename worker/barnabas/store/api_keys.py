"""The API keys of a namespace as the store has them: a hash, a key's id -> what `ingress.access.keys` writes of it.

Nothing here knows a key itself. Made by the composition root; used by the doors and by `barnabas keys`.
"""

from __future__ import annotations

from typing import Any, Protocol

from barnabas.store.keys import Keys
from barnabas.store.port import StoreCorrupt, StoreUnavailable
from barnabas.store.wire import Command, CommandRefused, Wire


class ApiKeys(Protocol):
    """Entries by id. All methods may raise StoreUnavailable and StoreCorrupt."""

    async def entries(self) -> dict[str, bytes]:
        """All of them."""
        ...

    async def put(self, id_: str, entry: bytes) -> None:
        """Write one down."""
        ...

    async def remove(self, id_: str) -> bool:
        """Take one away. False: it was not there."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class RedisApiKeys:
    """`ApiKeys` on a Redis or Valkey server, over a connection of their own."""

    def __init__(self, url: str, namespace: str, *, timeout_seconds: float = 5.0) -> None:
        self._key = Keys(namespace).api_keys
        self._wire = Wire(url, timeout_seconds=timeout_seconds)

    async def entries(self) -> dict[str, bytes]:
        """See `ApiKeys.entries`."""
        parts = iter(await self._ask("HGETALL", self._key))
        return {id_.decode(): entry for id_, entry in zip(parts, parts, strict=True)}

    async def put(self, id_: str, entry: bytes) -> None:
        """See `ApiKeys.put`."""
        await self._ask("HSET", self._key, id_, entry)

    async def remove(self, id_: str) -> bool:
        """See `ApiKeys.remove`."""
        return bool(await self._ask("HDEL", self._key, id_))

    async def aclose(self) -> None:
        """See `ApiKeys.aclose`."""
        await self._wire.aclose()

    async def _ask(self, *command: bytes | str | int) -> Any:
        asked: Command = command
        [reply] = await self._wire.exchange([asked])
        if isinstance(reply, StoreUnavailable):
            raise reply
        if isinstance(reply, CommandRefused):
            raise StoreCorrupt(f"the API keys cannot be used as they stand in the store: {reply}")
        return reply


class MemoryApiKeys:
    """`ApiKeys` of one process."""

    def __init__(self) -> None:
        self._entries: dict[str, bytes] = {}
        self.down = False  # for tests

    async def entries(self) -> dict[str, bytes]:
        """See `ApiKeys.entries`."""
        if self.down:
            raise StoreUnavailable("the store is down")
        return dict(self._entries)

    async def put(self, id_: str, entry: bytes) -> None:
        """See `ApiKeys.put`."""
        self._entries[id_] = entry

    async def remove(self, id_: str) -> bool:
        """See `ApiKeys.remove`."""
        return self._entries.pop(id_, None) is not None

    async def aclose(self) -> None:
        """See `ApiKeys.aclose`."""
