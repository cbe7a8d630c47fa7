"""More that waits than fits into memory: pages of the store, records read ahead, look-ups; and random histories."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from barnabas.contract.ids import random_id
from barnabas.contract.records import Failure, Invocation, Label, ReplyTo, Signal, SignalKind
from barnabas.runtime.scheduling import scheduler as module
from barnabas.runtime.scheduling.effects import ReadRecords
from barnabas.runtime.scheduling.ended import CANCELLED
from barnabas.runtime.scheduling.scheduler import Scheduler
from barnabas.runtime.scheduling.waiting import Waiting, unpack_waiting
from barnabas.store import keys
from barnabas.store.memory import MemoryCore
from tests.unit.runtime.delay_bench import DelayBench

SIZE = 4


def test_what_is_behind_the_window_is_in_the_store_alone_and_comes_in_time() -> None:
    bench = DelayBench(window=SIZE)
    ids = [bench.send(1_000 * n) for n in range(1, 30)]
    assert len(bench.engine.window) <= 2 * SIZE
    assert bench.engine.window.get(ids[-1]) is None
    bench.crash()
    assert len(bench.engine.window) <= 2 * SIZE
    for n in range(1, 30):
        bench.pass_time(1_000)
        assert bench.released_ids == ids[:n]


def test_what_comes_before_the_window_pushes_others_out_of_it() -> None:
    bench = DelayBench(window=SIZE)
    ids = [bench.send(1_000 * n) for n in range(30, 0, -1)]
    assert len(bench.engine.window) <= 2 * SIZE
    bench.pass_time(100_000)
    assert bench.released_ids == ids[::-1]


@pytest.mark.parametrize("kind", [SignalKind.CANCEL, SignalKind.ATTACH])
def test_one_behind_the_window_is_found(kind: SignalKind) -> None:
    bench = DelayBench(window=SIZE)
    ids = [bench.send(1_000 * n) for n in range(1, 30)]
    bench.send(29_000, id_=ids[-1])  # once more
    bench.signal(kind, ids[-1], reply_to=ReplyTo("other", b"r"))
    bench.pass_time(100_000)
    if kind is SignalKind.CANCEL:
        assert bench.released_ids == ids[:-1]
        assert bench.replies[ids[-1]].failure == Failure(409, "cancelled")
    else:
        assert bench.released_ids == ids
        assert bench.released[-1].waiters == [ReplyTo("other", b"r")]


def test_records_leave_the_memory_and_are_read_a_little_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECORD_BYTES", 3_000)
    bench = DelayBench()
    ids = [bench.send(10_000 * n, payload=b"x" * 1_000) for n in range(1, 10)]
    assert bench.engine.held_bytes <= 3_000
    bench.crash()
    assert bench.engine.held_bytes == 0
    assert bench.engine.next_due() == bench.now + 10_000 - module.AHEAD_MS
    bench.reads_wait = True
    bench.pass_time(10_000 - module.AHEAD_MS)
    assert len(bench.reads) == 1
    bench.reads.pop()()()
    bench.work()
    assert bench.released == []
    assert bench.engine.held_bytes > 1_000
    bench.reads_wait = False
    bench.pass_time(module.AHEAD_MS)
    assert bench.released_ids == ids[:1]
    assert bench.engine.held_bytes == 0
    bench.pass_time(1_000_000)
    assert bench.released_ids == ids


def test_the_next_page_is_asked_for_before_the_window_is_empty() -> None:
    bench = DelayBench(window=SIZE)
    for n in range(1, 30):
        bench.send(1_000 * n)
    bench.reads_wait = True
    while not bench.reads:
        bench.pass_time(1_000)
    assert len(bench.engine.window) == SIZE // 2


def test_what_is_accepted_while_a_page_is_read_is_not_lost() -> None:
    """The read does not show it, since its commit came later; and it lies before the page's end."""
    bench = DelayBench(window=SIZE)
    ids = [bench.send(10_000 * n) for n in range(1, 20)]
    bench.reads_wait = True
    while not bench.reads:
        bench.pass_time(1_000)
    answer = bench.reads.pop()()
    between = bench.send(ids_due(bench, ids[8]) + 1 - bench.now)
    bench.work()  # its commit is through, and memory might let go of it
    answer()
    bench.reads_wait = False
    bench.pass_time(10_000_000)
    assert bench.released_ids == [*ids[:9], between, *ids[9:]]


def ids_due(bench: DelayBench, id_: bytes) -> int:
    waiting = bench._headers([id_])[id_]
    return waiting.due


def test_a_record_that_the_store_has_lost_becomes_a_dead_letter_in_the_end() -> None:
    bench = DelayBench()
    id_, other = bench.send(10_000), bench.send(10_001)
    bench.crash()
    structure = bench.core._shards[bench.shard][keys.WAITING_INPUTS]
    del structure[id_]  # type: ignore[union-attr, arg-type]
    bench.pass_time(10_000)
    assert bench.dead_letters == []
    for _ in range(module.LOST_MS // module.AGAIN_MS + 1):
        bench.pass_time(module.AGAIN_MS)
    assert [letter.reason for letter in bench.dead_letters] == ["expired"]
    failure = bench.replies[id_].failure
    assert failure is not None
    assert failure.code == 500
    assert bench.released_ids == [other]


def test_a_record_is_asked_for_once() -> None:
    bench = DelayBench()
    bench.send(500, payload=b"x")
    bench.crash()
    bench.reads_wait = True
    bench.crash()
    bench.reads.pop(0)()()
    asked = [effect for effect in bench.tenure.drain() if isinstance(effect, ReadRecords)]
    bench.pass_time(1)
    assert len(asked) == 1
    assert bench.reads == []


# -- random histories


class InOrder(Scheduler):
    """Looks at every release: nothing that was accepted, and waits, is due before it."""

    core: MemoryCore

    def restore(self, answers: list[Any], now: int) -> None:
        super().restore(answers, now)
        headers = self.core.read(self.shard, ("HGETALL", keys.WAITING))
        self.orders = {id_: unpack_waiting(id_, header).order for id_, header in headers.items()}

    def accept(self, waiting: Waiting) -> None:
        self.orders[waiting.id] = waiting.order
        super().accept(waiting)

    def _leave(self, waiting: Waiting, how: bytes) -> None:
        order = self.orders.pop(waiting.id)
        assert how == CANCELLED or order < min(self.orders.values(), default=(2**60, 0)), "released out of order"
        super()._leave(waiting, how)


class History:
    """Random deeds against a small window, with reads and commits that take their time, and a model to compare with."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        core = MemoryCore()
        engine = type("InOrder", (InOrder,), {"core": core})
        self.bench = DelayBench(window=SIZE, core=core, make_engine=engine)
        self.due: dict[bytes, tuple[int, int]] = {}
        self.cancelled: set[bytes] = set()
        self.attached: dict[bytes, ReplyTo] = {}
        self.number = 0
        self.lookups: list[Callable[[], None]] = []
        self.taken = 0  # records given to the engine, or waiting for a look-up

    def run(self, steps: int) -> None:
        deeds: list[tuple[Callable[[], None], int]] = [
            (self.send, 30), (self.cancel, 8), (self.attach, 6), (self.repeat, 3), (self.pass_time, 20),
            (self.commit, 40), (self.read, 30), (self.look_up, 30), (self.acknowledge, 10), (self.crash, 2),
        ]  # fmt: skip
        bench = self.bench
        bench.commits_wait = bench.reads_wait = bench.acks_wait = True
        for deed in self.random.choices([deed for deed, _ in deeds], [weight for _, weight in deeds], k=steps):
            deed()
            bench.work()
        self.settle()

    def settle(self) -> None:
        bench = self.bench
        for _ in range(200):
            bench.now += 5_000
            for _ in range(50):
                self.look_up()
                self.read()
                self.commit()
                self.acknowledge()
                bench.work()
        expected = sorted((order, id_) for id_, order in self.due.items() if id_ not in self.cancelled)
        assert len(set(bench.released_ids)) == len(bench.released_ids), "released twice"
        assert set(bench.released_ids) | self.ended_here() == set(self.due), "lost"
        assert {id_ for _, id_ in expected} <= set(bench.released_ids)
        assert bench.in_store() == 0
        assert bench.stored("ZRANGE", keys.DUE, 0, -1) == []
        assert bench.stored("HLEN", keys.OUTBOX) == 0
        for invocation in bench.released:
            wanted = self.attached.get(invocation.id)
            late = [signal.reply_to for signal in bench.signals if signal.invocation == invocation.id]
            assert wanted is None or wanted in [*invocation.waiters, *late], "who attached was forgotten"
        for id_ in self.cancelled & set(bench.released_ids):
            kinds = [signal.kind for signal in bench.signals if signal.invocation == id_]
            assert SignalKind.CANCEL in kinds, "a cancel was lost"

    def ended_here(self) -> set[bytes]:
        replies = self.bench.replies
        ended = {id_ for id_, reply in replies.items() if reply.failure == Failure(409, "cancelled")}
        return ended & self.cancelled

    # -- deeds

    def write(self, content: Invocation | Signal) -> None:
        self.number += 1
        content.label = Label("Greeter/0", b"l" * 12, self.number, 1, 1)
        bench = self.bench
        before = len(bench.log)
        engine, bench_take_in = bench.engine, bench.take_in
        bench.take_in = lambda records: None  # type: ignore[method-assign]
        bench.feed(content, work=False)
        bench.take_in = bench_take_in  # type: ignore[method-assign]
        assert len(bench.log) == before + 1
        assert engine is bench.engine

    def send(self) -> None:
        id_ = random_id("Greeter", "k", delayed=True)
        due = self.bench.now + self.random.choice([-5, 0, 10, 50, 50, 500, 2_000, 2_000, 20_000])
        self.due[id_] = (due, len(self.bench.log))
        self.write(Invocation(id_, "Greeter", "greet", "k", b"", {}, None, ReplyTo("client", id_), None, due))

    def any_id(self) -> bytes | None:
        return self.random.choice(list(self.due)) if self.due else None

    def cancel(self) -> None:
        id_ = self.any_id()
        if id_ is not None:
            self.cancelled.add(id_)
            self.write(Signal(SignalKind.CANCEL, id_))

    def attach(self) -> None:
        id_ = self.any_id()
        if id_ is not None and id_ not in self.attached and id_ not in self.cancelled:
            waiter = self.attached[id_] = ReplyTo("other", id_)
            self.write(Signal(SignalKind.ATTACH, id_, reply_to=waiter))

    def repeat(self) -> None:
        id_ = self.any_id()
        if id_ is not None:
            due = self.due[id_][0]
            self.write(Invocation(id_, "Greeter", "greet", "k", b"", {}, None, ReplyTo("client", id_), None, due))

    def pass_time(self) -> None:
        self.bench.now += self.random.choice([1, 10, 100, 1_000])

    def commit(self) -> None:
        if self.bench.commits:
            self.bench.commit()

    def read(self) -> None:
        """Read for a question, or deliver what was read: the store may change in between."""
        bench = self.bench
        if not bench.reads:
            return
        at = self.random.randrange(len(bench.reads))
        took = bench.reads.pop(at)
        answer = took()
        if answer is not None:
            bench.reads.insert(at, lambda: answer())  # type: ignore[arg-type, return-value]

    def look_up(self) -> None:
        """Ask for the ids of the next records, or take them in: one batch at a time, in order."""
        bench = self.bench
        if self.lookups:
            self.lookups.pop()()
            return
        engine, intake = bench.engine, bench.intake
        records = bench.log[max(self.taken, engine.next_invocation or 0) :]
        if not records:
            return
        decoded = intake.read(records)
        self.taken = len(bench.log)
        token = engine.window.asked(engine.number)
        found = bench.found(decoded)

        def take_in() -> None:
            if not engine.closed:
                engine.now = bench.now
                intake.on_records(decoded, found)
                engine.window.answered(token, engine.number)

        self.lookups.append(take_in)

    def acknowledge(self) -> None:
        self.bench.acknowledge(self.random.randint(1, 5))

    def crash(self) -> None:
        bench = self.bench
        if bench.tenure.engine is not None:
            bench.tenure.engine.close()
        bench.commits, bench.reads, bench.unacknowledged = [], [], []
        self.lookups, self.taken = [], 0
        bench.tenure = bench.make_tenure()


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_random_histories_lose_and_double_nothing(first: int) -> None:
    for seed in range(first, first + 20):
        try:
            History(seed).run(300)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
