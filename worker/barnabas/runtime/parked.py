"""Signals about invocations that this shard does not know (yet) (R7).

A cancel may overtake its invocation, since signals are a topic of their own. Such a signal is kept in the store until
the invocations topic has been read past the end that it had when the signal was read; then nobody will come, and the
signal is dropped. One about an invocation whose input waits in the store or in Kafka (R11) is kept until that is read.
Called by the engine (`shard.py`, `signals.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from barnabas.contract import codec
from barnabas.contract.records import Signal
from barnabas.store import keys
from barnabas.store.port import Op

#: Ends of the invocations topic: not known yet; of no interest, since the invocation is known to come.
_ASKED: Final = -1
_WILL_COME: Final = -2


class Parked:
    """The parked signals of one shard."""

    def __init__(self) -> None:
        self._signals: dict[int, Signal] = {}
        self._by_id: dict[bytes, list[int]] = {}
        self._until: dict[int, int] = {}
        self._asked: set[int] = set()
        self._last = 0
        self._ops: list[Op] = []

    def __len__(self) -> int:
        return len(self._signals)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._by_id

    def add(self, signal: Signal) -> int:
        """Keep it; returns its number, by which `wait_until` or `will_come` say more."""
        self._last += 1
        self._keep(self._last, signal)
        self._ops.append(("HSET", keys.PARKED, self._last, codec.encode_signal(signal)))
        return self._last

    def _keep(self, number: int, signal: Signal) -> None:
        self._signals[number] = signal
        self._by_id.setdefault(signal.invocation, []).append(number)
        self._until[number] = _ASKED

    def get(self, number: int) -> Signal | None:
        """The signal, while it is parked."""
        return self._signals.get(number)

    def wait_until(self, number: int, end: int) -> None:
        """It waits until the invocations topic was read up to this offset.

        Unless its invocation has gone to the store since that was asked, and so will come.
        """
        if self._until.get(number) == _ASKED:
            self._until[number] = end

    def asked_before(self, number: int) -> bool:
        """Whether this is not the first answer about it; from now on it is not."""
        known = number in self._asked
        self._asked.add(number)
        return known

    def ask_again(self, number: int) -> None:
        """Where its invocation is has changed: nothing is known of it until the next answer."""
        if number in self._until:
            self._until[number] = _ASKED

    def will_come(self, number: int) -> None:
        """Its invocation waits in the store alone, or in Kafka alone, and comes in its turn."""
        if number in self._until:
            self._until[number] = _WILL_COME

    def pop(self, id_: bytes) -> Sequence[Signal]:
        """The signals about this invocation, in the order in which they came."""
        numbers = self._by_id.get(id_)
        return [] if numbers is None else [self.drop(number) for number in list(numbers)]

    def pop_overdue(self, next_offset: int) -> Sequence[Signal]:
        """Those whose invocation can no longer come, as everything before this offset was read."""
        overdue = [number for number, until in self._until.items() if 0 <= until <= next_offset]
        return [self.drop(number) for number in overdue]

    def drop(self, number: int) -> Signal:
        """It waits no longer."""
        signal = self._signals.pop(number)
        del self._until[number]
        self._asked.discard(number)
        numbers = self._by_id[signal.invocation]
        numbers.remove(number)
        if not numbers:
            del self._by_id[signal.invocation]
        self._ops.append(("HDEL", keys.PARKED, number))
        return signal

    @property
    def numbers(self) -> list[int]:
        """All of them."""
        return list(self._signals)

    def of(self, ids: Sequence[bytes]) -> list[int]:
        """Those about these invocations."""
        return [number for id_ in ids for number in self._by_id.get(id_, ())]

    @property
    def changed(self) -> bool:
        """Whether the next commit has something to store."""
        return bool(self._ops)

    def seal(self) -> list[Op]:
        """The operations that store all changes since the last call."""
        ops, self._ops = self._ops, []
        return ops

    def restore(self, fields: Mapping[bytes, bytes]) -> None:
        """Take them as the store has them; where they stand in time has to be asked anew."""
        for number, packed in sorted((int(field), packed) for field, packed in fields.items()):
            self._keep(number, codec.decode_signal(packed))
            self._last = number
