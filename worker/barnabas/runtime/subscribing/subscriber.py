"""The engine of one partition of a subscribed topic: each of its records becomes one invocation, or one dead letter.

A shard as every other: lease, numbered commits, outbox, offset; the same tenure and driver work it. Nothing comes back
to it, so it keeps no marks. Plain code without I/O and without a clock.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from barnabas.contract.records import DeadLetter, Invocation
from barnabas.runtime import effects as fx
from barnabas.runtime.directory import Directory
from barnabas.runtime.outbox import Outbox
from barnabas.runtime.sender import Sender
from barnabas.runtime.subscribing.effects import Halt
from barnabas.runtime.subscribing.source import Source
from barnabas.runtime.subscribing.standing import Standing, begin, remedy, standing_of
from barnabas.store import keys
from barnabas.store.port import Op, Query, Shard

#: Everything of a shard in the store.
QUESTIONS: Final[list[Query]] = [("HGETALL", keys.META), ("HGETALL", keys.OUTBOX)]
#: What an entry of the outbox takes in memory beside its value.
_ENTRY_BYTES: Final = 600


class Subscriber:
    """Everything that one shard of a subscription does between a take and the loss of it."""

    def __init__(self, shard: Shard, directory: Directory, source: Source) -> None:
        self.shard = shard
        self.directory = directory
        self.source = source
        self.effects: list[fx.Effect] = []
        self.counts: Counter[str] = Counter()
        self.now = 0
        self.number = 0
        self.next_commit = 1
        self.next_invocation: int | None = None
        self.next_signal: int | None = None  # there is one topic
        self.offsets_moved = False
        self.closed = False
        self.draining = False
        self.active = 0  # nothing here takes time
        self.outbox = Outbox(str(shard))
        self.round = 0
        self._sender = Sender(self.outbox, directory)
        self._begins = False  # the store does not know the subscription here yet
        self._bytes: dict[int, int] = {}  # in memory, by outbox entry
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Bytes of records that were not delivered yet."""
        return self._held_bytes

    def hold_under(self, lease: bytes, take: int) -> None:
        """From now on commits and labels are made under this lease."""
        self._sender.lease, self._sender.take = lease, take

    # -- what comes in

    def invoke(self, invocation: Invocation) -> None:
        """Promise the invocation that a record has become."""
        self.counts["invocations"] += 1
        self._sender.invocation(invocation)
        self._hold(self.outbox.last)

    def dead_letter(self, letter: DeadLetter) -> None:
        """Promise the dead letter of a record that nobody can read."""
        self.counts["dead letters"] += 1
        self._sender.dead_letter(letter)
        self._hold(self.outbox.last)

    def read_up_to(self, offset: int) -> None:
        """The record before this one has become what it becomes."""
        self.next_invocation = offset
        self.offsets_moved = True

    def _hold(self, number: int) -> None:
        [(_, record)] = self.outbox.get([number])
        size = len(record.value or b"") + _ENTRY_BYTES
        self._bytes[number] = size
        self._held_bytes += size

    def on_tick(self, now: int) -> None:
        """Nothing here waits for a time."""
        self.now = now

    def next_due(self) -> int | None:
        """Never."""
        return None

    # -- commits

    def restore(self, answers: list[Any], now: int) -> None:
        """Take the shard as the store has it, and go on."""
        meta, outbox = answers
        self.now = now
        self.number = int(meta.get(b"number", 0))
        self.next_commit = self.number + 1
        self.outbox.restore(int(meta.get(b"out", 0)), outbox)
        for number in self.outbox.committed():
            self._hold(number)
        self._stand(standing_of(meta))
        self.produce(self.outbox.committed())

    def _stand(self, standing: Standing | None) -> None:
        subscription = self.source.subscription
        if standing is None:
            self._begins = True
            self.next_invocation = self.source.starts.get(self.shard.partition)
            return
        self.round = standing.round
        self.next_invocation = standing.next
        mismatch = standing.mismatch(subscription.topic, self.source.topic_id)
        if mismatch is not None:
            self.effects.append(Halt(f"subscription {subscription.name}: {mismatch}. {remedy(subscription.name)}"))

    def is_due(self) -> bool:
        """Whether something waits for the next commit."""
        return self._begins or bool(self.outbox.news)

    def is_worthwhile(self) -> bool:
        """Whether there is anything to commit that nobody waits for."""
        return self.offsets_moved or self.outbox.has_gone

    def gathered(self) -> int:
        """How much the next commit would hold, in invocations."""
        return self.outbox.news

    def seal(self) -> tuple[list[Op], list[int]]:
        """The operations of the next commit, and the outbox entries that it promises."""
        ops: list[Op] = []
        promised, added, gone = self.outbox.seal()
        if added:
            ops.append(("HSET", keys.OUTBOX, *added))
        if gone:
            ops.append(("HDEL", keys.OUTBOX, *gone))
        if self._begins:
            self._begins = self.offsets_moved = False
            ops.append(begin(self._standing()))
        if promised:
            ops.append(("HSET", keys.META, b"out", self.outbox.last))
        if self.offsets_moved:
            self.offsets_moved = False
            ops.append(("HSET", keys.META, b"inv", self.next_invocation))
        self.next_commit += 1
        return ops, promised

    def _standing(self) -> Standing:
        source = self.source
        return Standing(source.subscription.topic, source.topic_id, source.partitions, self.round, self.next_invocation)

    def on_committed(self, number: int, promised: list[int]) -> None:
        """The sealed changes are in the store."""
        self.number = number
        self.produce(promised)

    def produce(self, numbers: list[int]) -> None:
        """Ask for these outbox entries to be produced, in order."""
        entries = self.outbox.get(numbers)
        if entries:
            self.effects.append(fx.Produce(entries))

    def on_delivered(self, numbers: list[int]) -> None:
        """These records were acknowledged: they leave the outbox (R2)."""
        for number in numbers:
            self.outbox.remove(number)
            self._held_bytes -= self._bytes.pop(number, 0)

    def on_undeliverable(self, number: int, why: str) -> None:
        """This record can never be delivered: it becomes a dead letter."""
        entry = self.outbox.remove(number)
        self._held_bytes -= self._bytes.pop(number, 0)
        if entry is not None:
            self.counts["dead letters"] += 1
            self._sender.undeliverable(entry, why)
            self._hold(self.outbox.last)

    def nothing_under_way(self) -> bool:
        """What was read is in the store, or in the next commit."""
        return True

    def tidy(self) -> None:
        """Nothing gathers."""

    def close(self) -> None:
        """Stop; what is not in the store is forgotten, and read again."""
        self.closed = True
        self.effects.clear()
