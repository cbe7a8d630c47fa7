"""Signals that cannot go yet: about what this shard has sent and Kafka has not acknowledged (R6), or to nobody known.

Such a signal becomes an outbox entry, with a number and a label of its own, once the invocation's record has left the
outbox. Given its number at once and held back, it could be overtaken by a later entry for the same partition, and the
receiver, who keeps the highest number, would drop it.

A signal whose service is not registered is *stranded*: a new service may call before others have heard of it, and its
results must not be lost. Called by `sender.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from barnabas.contract import codec
from barnabas.contract.records import Signal
from barnabas.store import keys
from barnabas.store.port import Op


class Deferred:
    """The signals of one shard that wait for an acknowledgement."""

    def __init__(self) -> None:
        self._signals: dict[bytes, dict[int, Signal]] = {}  # by invocation, and by number
        self._stranded: dict[int, Signal] = {}
        self._tried: dict[int, int] = {}  # when it was first tried again, ms
        self._last = 0
        self._ops: list[Op] = []

    def __len__(self) -> int:
        return sum(map(len, self._signals.values())) + len(self._stranded)

    def add(self, signal: Signal) -> None:
        """Keep it until `pop`."""
        self._last += 1
        self._signals.setdefault(signal.invocation, {})[self._last] = signal
        self._ops.append(("HSET", keys.DEFERRED, self._last, codec.encode_signal(signal)))

    def pop(self, id_: bytes) -> Iterable[Signal]:
        """The signals about this invocation, in order: its record was acknowledged."""
        signals = self._signals.pop(id_, None)
        if not signals:
            return ()
        self._ops.append(("HDEL", keys.DEFERRED, *signals))
        return signals.values()

    def strand(self, signal: Signal) -> None:
        """Keep it until its service is known."""
        self._last += 1
        self._stranded[self._last] = signal
        self._ops.append(("HSET", keys.DEFERRED, self._last, codec.encode_signal(signal)))

    def pop_stranded(self, is_known: Callable[[bytes], bool], now: int, longest: int) -> list[Signal]:
        """Those whose service is known now, and those that have been tried for longer than `longest` ms."""
        gone = [
            number
            for number, signal in self._stranded.items()
            if self._tried.setdefault(number, now) + longest < now or is_known(signal.invocation)
        ]
        if gone:
            self._ops.append(("HDEL", keys.DEFERRED, *gone))
        for number in gone:
            del self._tried[number]
        return [self._stranded.pop(number) for number in gone]

    @property
    def ids(self) -> list[bytes]:
        """The invocations that signals wait for."""
        return list(self._signals)

    @property
    def changed(self) -> bool:
        """Whether the next commit has something to store."""
        return bool(self._ops)

    def seal(self) -> list[Op]:
        """The operations that store all changes since the last call."""
        ops, self._ops = self._ops, []
        return ops

    def restore(self, fields: Mapping[bytes, bytes]) -> None:
        """Take them as the store has them."""
        for number, packed in sorted((int(field), packed) for field, packed in fields.items()):
            signal = codec.decode_signal(packed)
            self._signals.setdefault(signal.invocation, {})[number] = signal
            self._last = number
