"""Object state as the owner of a shard holds it: it is the only writer, so it reads each key once.

Values are bytes; writes are gathered until the next commit, and of many to one name only the last is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from barnabas.runtime.promises import Promises
from barnabas.store import keys
from barnabas.store.port import Op

_NONE: Mapping[bytes, bytes] = {}


class KeyState:
    """The state of one object key."""

    __slots__ = ("cleared", "dirty", "promises", "size", "values", "writes")

    def __init__(self, values: dict[str, bytes], promises: Mapping[bytes, bytes] = _NONE) -> None:
        self.values = values
        self.promises = Promises(promises)  # of a workflow's key
        self.writes: dict[str, bytes | None] = {}  # not yet sealed
        self.cleared = False  # everything before `writes` goes
        self.dirty = 0  # number of the commit that holds the key's last change (R12)
        self.size = sum(map(len, values.values()))

    def set(self, name: str, value: bytes | None) -> None:
        """Write one value, or clear it with None."""
        self.size += len(value or b"") - len(self.values.get(name, b""))
        if value is None:
            self.values.pop(name, None)
        else:
            self.values[name] = value
        self.writes[name] = value

    def clear(self) -> None:
        """Clear all values."""
        self.size = 0
        self.values.clear()
        self.writes.clear()
        self.cleared = True

    def seal(self, key: str) -> list[Op]:
        """The operations that store what was written since the last call."""
        place = keys.state(key)
        ops: list[Op] = [("DEL", place)] if self.cleared else []
        put: list[Any] = []
        gone: list[str] = []
        for name, value in self.writes.items():
            if value is None:
                gone.append(name)
            else:
                put += (name, value)
        if gone and not self.cleared:
            ops.append(("HDEL", place, *gone))
        if put:
            ops.append(("HSET", place, *put))
        ops += self.promises.seal(key)
        self.writes = {}
        self.cleared = False
        return ops


class States:
    """The states that a shard holds in memory, the least recently loaded dropped first when they grow too large."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._keys: dict[str, KeyState] = {}
        self.changed: dict[str, KeyState] = {}  # with unsealed writes

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: str) -> KeyState | None:
        """The key's state, if it is in memory."""
        return self._keys.get(key)

    def load(self, key: str, values: Mapping[bytes, bytes], promises: Mapping[bytes, bytes] = _NONE) -> KeyState:
        """Take a key's state and promises as the store has them."""
        state = self._keys[key] = KeyState({name.decode(): value for name, value in values.items()}, promises)
        return state

    def remove(self, key: str) -> list[Op]:
        """The operations that end a key: state and promises are gone."""
        self._keys.pop(key, None)
        self.changed.pop(key, None)
        return [("DEL", keys.state(key)), ("DEL", keys.promises(key))]

    def seal(self) -> list[Op]:
        """The operations that store all writes since the last call."""
        ops: list[Op] = []
        for key, state in self.changed.items():
            ops += state.seal(key)
        self.changed = {}
        return ops

    def shrink(self, committed: int, in_use: set[str | None]) -> None:
        """Forget the states that nobody uses, oldest first, until they fit; what is not committed yet stays."""
        held = sum(state.size + 200 for state in self._keys.values())
        if held <= self._max_bytes:
            return
        for key, state in list(self._keys.items()):
            if key not in in_use and state.dirty <= committed and key not in self.changed:
                del self._keys[key]
                held -= state.size + 200
                if held <= self._max_bytes // 2:
                    return
