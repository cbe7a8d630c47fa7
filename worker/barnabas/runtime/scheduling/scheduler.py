"""The engine of one partition of `delays`: keeps what waits, releases what is due, ends what is cancelled (R8).

A shard as every other: lease, numbered commits, outbox, marks, offset; the same tenure and driver work it. What it has
of its own is `Window` (what is next), `Ended` (what has left lately) and `Stranded` (what nobody can take yet). Plain
code without I/O and without a clock.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from barnabas.contract import codec
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.records import DeadLetter, Failure, Signal
from barnabas.runtime import effects as fx
from barnabas.runtime.directory import Directory
from barnabas.runtime.marks import Marks
from barnabas.runtime.outbox import Outbox
from barnabas.runtime.outsiders import is_shut_out, refusal
from barnabas.runtime.scheduling import storing
from barnabas.runtime.scheduling.effects import ReadRecords, ReadWindow
from barnabas.runtime.scheduling.ended import CANCELLED, KILLED, LOST, RELEASED, Ended
from barnabas.runtime.scheduling.stranded import Stranded
from barnabas.runtime.scheduling.waiting import Waiting
from barnabas.runtime.scheduling.window import Window
from barnabas.runtime.sender import Sender, partition_key
from barnabas.store.port import Op, Shard

#: What the scheduler's shards are called where others have the name of a service; no service can have it.
FAMILY: Final = "@delays"

#: Waiting invocations in memory, to twice as many.
WINDOW: Final = 5_000
#: Released in one commit, and unacknowledged at a time.
BATCH: Final = 500
UNACKNOWLEDGED: Final = 5_000
#: Records are read so long before they are due, so many at a time.
AHEAD_MS: Final = 1_000
READ_RECORDS: Final = 500
READ_BYTES: Final = 1 << 20
#: Records in memory. What is due sooner than `AHEAD_MS` may exceed it.
RECORD_BYTES: Final = 4 << 20
#: A record that the store does not have is asked for again, since another owner may have released it; a lease that has
#: gone shows in that time. Then it is lost.
AGAIN_MS: Final = 1_000
LOST_MS: Final = 10_000

FAILURES: Final = {CANCELLED: Failure(409, "cancelled"), KILLED: Failure(409, "killed")}


class Scheduler:
    """Everything that one shard of the scheduler does between a take and the loss of it."""

    def __init__(self, shard: Shard, directory: Directory, partitions: int, window: int = WINDOW) -> None:
        self.shard = shard
        self.directory = directory
        self.partitions = partitions  # of delays
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

        self.marks = Marks()
        self.outbox = Outbox(str(shard))
        self.sender = Sender(self.outbox, directory, is_scheduler=True)
        self.to_delays = Sender(self.outbox, directory)  # for what lies in the wrong partition
        self.window = Window(window)
        self.ended = Ended()
        self.stranded = Stranded(self)
        self.touched: dict[Waiting, None] = {}  # changed since the last seal
        self.over: list[Waiting] = []  # gone since the last seal, and in the store
        self._reading_window = False
        self._reading_records = False
        self._read_at: int | None = None  # when records have to be read next
        self._missing_since: int | None = None

    @property
    def held_bytes(self) -> int:
        """Bytes of records in memory."""
        return self.window.record_bytes

    def hold_under(self, lease: bytes, take: int) -> None:
        """From now on commits and labels are made under this lease."""
        for sender in (self.sender, self.to_delays):
            sender.lease, sender.take = lease, take

    # -- what comes in

    def accept(self, waiting: Waiting) -> None:
        """Let a new one wait."""
        self.change(waiting)
        self.window.add(waiting)
        self.counts["accepted"] += 1

    def change(self, waiting: Waiting) -> None:
        """Store its header with the next commit."""
        waiting.commit = self.next_commit
        self.touched[waiting] = None

    def changed(self, waiting: Waiting) -> None:
        """As `change`, for one that may have been shown by a read alone."""
        self.change(waiting)
        self.window.touch(waiting)

    def end(self, waiting: Waiting, how: bytes) -> None:
        """It is not to run: tell everyone who waits for it."""
        self._leave(waiting, how)
        for waiter in waiting.waiters:
            self.sender.outcome(waiter, waiting.id, None, FAILURES[how])
        for signal in waiting.held:  # a release in the time that a store has lost runs after all, and may wait for them
            self.pass_on(codec.decode_signal(signal), waiting.service)

    def pass_on(self, signal: Signal, service: str) -> None:
        """A signal about an invocation that has left: its target has it, or will have, or nobody."""
        self.sender.signal_about(signal, service)

    def _leave(self, waiting: Waiting, how: bytes) -> None:
        self.window.remove(waiting, self.next_commit)
        self.touched.pop(waiting, None)
        if waiting.place is not None:
            self.over.append(waiting)
        self.ended.add(waiting.id, how)
        self.counts[how.decode()] += 1

    # -- time

    def on_tick(self, now: int) -> None:
        """Release what is due, and have read what will be."""
        self.now = now
        if self.draining:
            return
        self._release()
        self._ask()

    def _release(self) -> None:
        for _ in range(BATCH):
            waiting = self.window.first
            if waiting is None or waiting.due > self.now or not self._has_room():
                return
            if self.stranded.must_hold(waiting):
                self.stranded.hold(waiting)
            elif waiting.record is None:
                return
            else:
                self._send(waiting, waiting.record)

    def _has_room(self) -> bool:
        return self.outbox.news < BATCH and len(self.outbox) < UNACKNOWLEDGED

    def _send(self, waiting: Waiting, record: bytes) -> None:
        invocation = codec.decode_invocation(record)
        if waiting.freed and is_shut_out(self.directory.services, invocation):  # nobody knew that when it came
            poison, failure = refusal(invocation)
            self._bury(waiting, RELEASED, poison, failure, record)
            return
        invocation.due = None
        known = (invocation.caller, invocation.reply_to)
        invocation.waiters = [waiter for waiter in waiting.waiters if waiter not in known]
        self._leave(waiting, RELEASED)
        self.sender.invocation(invocation)
        for signal in waiting.held:
            self.pass_on(codec.decode_signal(signal), waiting.service)

    def _ask(self) -> None:
        if not self._reading_window and (wanted := self.window.wanted):
            self._reading_window = True
            self.effects.append(ReadWindow(self.window.asked(self.number), wanted))
        if not self._reading_records:
            self._ask_for_records()
        self.stranded.ask()

    def _ask_for_records(self) -> None:
        if self._missing_since is not None and self._read_at is not None and self.now < self._read_at:
            return
        self._read_at = None
        ids: list[bytes] = []
        size = 0
        for waiting in self.window.front(2 * READ_RECORDS):
            if waiting.record is not None or self.stranded.must_hold(waiting):
                continue
            if waiting.due > self.now + AHEAD_MS:
                self._read_at = waiting.due - AHEAD_MS
                break
            size += waiting.size
            if ids and (len(ids) == READ_RECORDS or size > READ_BYTES):
                break
            ids.append(waiting.id)
        if ids:
            self._reading_records = True
            self.effects.append(ReadRecords(self.window.asked(self.number), ids))

    def next_due(self) -> int | None:
        """When `on_tick` has something to do, if nothing happens before."""
        if self.draining:
            return None
        due = None if self._reading_records else self._read_at
        first = self.window.first
        if first is not None and self._has_room() and (first.record is not None or self.stranded.must_hold(first)):
            due = first.due if due is None else min(due, first.due)
        return due

    # -- answers of the store

    def on_window(self, token: int, read: list[Waiting], *, whole: bool) -> None:
        """The front of what waits, in order, as the store has it; `whole`: there is nothing behind it."""
        self._reading_window = False
        self.window.merge(read, whole=whole)
        self.window.answered(token, self.number)
        self.on_tick(self.now)

    def on_stranded(self, token: int, service: str, read: list[Waiting]) -> None:
        """The first ones that waited for this service, in order, as the store has them."""
        self.stranded.on_read(service, read, self.window.seen(token))
        self.window.answered(token, self.number)
        self.on_tick(self.now)

    def on_records_read(self, token: int, records: dict[bytes, bytes | None]) -> None:
        """Records, by id; None: the store does not have it."""
        self._reading_records = False
        self.window.answered(token, self.number)
        missing: list[Waiting] = []
        for id_, record in records.items():
            waiting = self.window.get(id_)
            if waiting is None or waiting.record is not None:
                continue
            if record is None:
                missing.append(waiting)
            else:
                self.window.loaded_record(waiting, record)
        self._miss(missing)
        self.on_tick(self.now)

    def _miss(self, missing: list[Waiting]) -> None:
        if not missing:
            self._missing_since = None
            return
        if self._missing_since is None:
            self._missing_since = self.now
        self._read_at = self.now + AGAIN_MS
        if self.now - self._missing_since >= LOST_MS:
            for waiting in missing:
                self._lose(waiting)
            self._missing_since = None

    def _lose(self, waiting: Waiting) -> None:
        poison = PoisonRecord("expired", "it waited for its due time, and its record is not in the store any more")
        self._bury(waiting, LOST, poison, Failure(500, f"dead letter: {poison.detail}"), None)

    def _bury(self, waiting: Waiting, how: bytes, poison: PoisonRecord, failure: Failure, record: bytes | None) -> None:
        """It becomes a dead letter, and who waits for it is told."""
        topic, partition = self.directory.delay_place(waiting.id)
        key = partition_key(waiting.id, None).encode()
        self._leave(waiting, how)
        self.sender.dead_letter(
            DeadLetter(poison.reason, poison.detail, topic, partition, waiting.arrival, 0, key, record)
        )
        for waiter in waiting.waiters:
            self.sender.outcome(waiter, waiting.id, None, failure)

    # -- commits

    def restore(self, answers: list[Any], now: int) -> None:
        """Take the shard as the store has it, and go on."""
        storing.restore(self, answers, now)
        self.produce(self.outbox.committed())
        self.sender.restored()
        self.on_tick(now)

    def is_due(self) -> bool:
        """Whether something waits for the next commit."""
        return storing.is_due(self)

    def is_worthwhile(self) -> bool:
        """Whether there is anything to commit that nobody waits for."""
        return self.offsets_moved or self.outbox.has_gone

    def gathered(self) -> int:
        """How much the next commit would hold, roughly, in invocations."""
        return len(self.touched) + len(self.over) + self.outbox.news

    def seal(self) -> tuple[list[Op], list[int]]:
        """The operations of the next commit, and the outbox entries that it promises."""
        return storing.seal(self)

    def on_committed(self, number: int, promised: list[int]) -> None:
        """The sealed changes are in the store."""
        self.number = number
        self.window.forget(number)
        self.window.forget_records(RECORD_BYTES, self.now + AHEAD_MS, number)
        self.produce(promised)

    def produce(self, numbers: list[int]) -> None:
        """Ask for these outbox entries to be produced, in order."""
        entries = self.outbox.get(numbers)
        if entries:
            self.effects.append(fx.Produce(entries))

    def on_delivered(self, numbers: list[int]) -> None:
        """These records were acknowledged: they leave the outbox (R2), and what waited for them goes (R6)."""
        for number in numbers:
            entry = self.outbox.remove(number)
            if entry is not None:
                self.sender.gone(entry)

    def on_undeliverable(self, number: int, why: str) -> None:
        """This record can never be delivered: it becomes a dead letter, and who waits for it is told (R16)."""
        entry = self.outbox.remove(number)
        if entry is None:
            return
        self.counts["dead letters"] += 1
        call = self.sender.undeliverable(entry, why)
        if call is not None:
            self.sender.outcome(call.caller, call.id, None, Failure(500, f"the call could not be delivered: {why}"))
        self.sender.gone(entry)

    def nothing_under_way(self) -> bool:
        """What waits is in the store, or in the next commit."""
        return True

    def tidy(self) -> None:
        """Send what waited for services that are known now."""
        self.sender.retry_stranded(self.now)

    def close(self) -> None:
        """Stop; what is not in the store is forgotten."""
        self.closed = True
        self.effects.clear()
