"""The latest invocations that have left the scheduler, and how: what arrives twice is recognised (R10).

Capped. The store has it as a list, under the suffix that other shards have their ring at.
"""

from __future__ import annotations

from typing import Final

from barnabas.contract.ids import ID_BYTES

#: How one has left; part of the stored form.
RELEASED: Final = b"released"
CANCELLED: Final = b"cancelled"
KILLED: Final = b"killed"
LOST: Final = b"lost"

KEPT: Final = 1_000


class Ended:
    """Those of one shard."""

    def __init__(self) -> None:
        self._how: dict[bytes, bytes] = {}  # by id, the oldest first
        self._unsealed: list[bytes] = []

    def get(self, id_: bytes) -> bytes | None:
        """How this one has left, while it is kept."""
        return self._how.get(id_)

    def add(self, id_: bytes, how: bytes) -> None:
        """Keep one that has left."""
        self._keep(id_, how)
        self._unsealed.append(how + id_)

    def _keep(self, id_: bytes, how: bytes) -> None:
        self._how.pop(id_, None)
        self._how[id_] = how
        if len(self._how) > KEPT:
            del self._how[next(iter(self._how))]

    @property
    def news(self) -> int:
        """How many were added since the last `seal`."""
        return len(self._unsealed)

    def seal(self) -> list[bytes]:
        """Entries for the next commit to append to a list that keeps `KEPT`."""
        unsealed, self._unsealed = self._unsealed, []
        return unsealed[-KEPT:]

    def restore(self, entries: list[bytes]) -> None:
        """Take them as the store has them."""
        for entry in entries:
            self._keep(entry[-ID_BYTES:], entry[:-ID_BYTES])
