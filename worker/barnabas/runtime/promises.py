"""The promises of one workflow key: values that its handlers wait for and one of them sets, once.

Part of the key's state (`state.py`): loaded with it, gone with it. Called by the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgpack

from barnabas.contract.records import Failure
from barnabas.store import keys
from barnabas.store.port import Op

pack = msgpack.Packer(autoreset=True).pack


class Waiting(NamedTuple):
    """A handler that waits for a promise: which invocation, at which position of its journal."""

    invocation: bytes
    position: int


class Promise:
    """One promise, completed or not."""

    __slots__ = ("failure", "result", "waiting")

    def __init__(
        self, result: bytes | None = None, failure: Failure | None = None, waiting: list[Waiting] | None = None
    ) -> None:
        self.result = result
        self.failure = failure
        self.waiting = waiting or []

    @property
    def completed(self) -> bool:
        """Whether it has its value or its error."""
        return self.result is not None or self.failure is not None

    def outcome(self) -> list[Any] | None:
        """`[result]`, `[code, message, metadata]`, or None."""
        if self.failure is not None:
            return [self.failure.code, self.failure.message, self.failure.metadata]
        return None if self.result is None else [self.result]


class Promises:
    """The promises of one key."""

    __slots__ = ("_changed", "_promises")

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        """`fields`: as the store has them."""
        self._promises = {name.decode(): _unpacked(packed) for name, packed in fields.items()}
        self._changed: set[str] = set()

    def get(self, name: str) -> Promise:
        """The promise of that name; nobody has to make one."""
        promise = self._promises.get(name)
        if promise is None:
            promise = self._promises[name] = Promise()
        return promise

    def changed(self, name: str) -> None:
        """It goes into the next commit."""
        self._changed.add(name)

    def seal(self, key: str) -> list[Op]:
        """The operations that store all changes since the last call."""
        if not self._changed:
            return []
        put: list[Any] = []
        for name in sorted(self._changed):
            promise = self._promises[name]
            failure = promise.failure
            failed = None if failure is None else (failure.code, failure.message, failure.metadata)
            put += (name, pack((promise.result, failed, promise.waiting)))
        self._changed = set()
        return [("HSET", keys.promises(key), *put)]


def _unpacked(packed: bytes) -> Promise:
    result, failed, waiting = msgpack.unpackb(packed)
    return Promise(result, None if failed is None else Failure(*failed), [Waiting(*one) for one in waiting])
