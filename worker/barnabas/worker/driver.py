"""The driver of the engines: feeds every tenure with what the log, the store and the clock bring, and executes its
effects.

All of it happens in *turns*: callbacks of the event loop that take everything that has gathered, let the engines work,
and send out what they ask for: one store round trip for the commits of all shards, one for the reads, one list of
records to produce. Nothing awaits per record. Handlers run inside a turn, so it is no task: the probe stands for the
current task (`attempt.py`).
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from typing import Any

from barnabas.log.port import BEGINNING, Batch, Consumer, Position
from barnabas.runtime import effects as fx
from barnabas.runtime.engine import Engine
from barnabas.runtime.live import Step
from barnabas.runtime.shard import ShardEngine
from barnabas.runtime.tenure import LINGER_MS, State, Tenure
from barnabas.store.port import Applied, Commit, Query, Refused, Shard, Store, StoreCorrupt, StoreUnavailable
from barnabas.worker.current_task import CurrentTask
from barnabas.worker.failpoints import Failpoints
from barnabas.worker.places import Places
from barnabas.worker.production import OpenSession, Production
from barnabas.worker.reads import Reads
from barnabas.worker.steps import StepRunner

log = logging.getLogger("barnabas.worker")

TIDY_SECONDS = 1.0
#: What a fetched record costs in memory beside its value: many small ones count, too.
RECORD_BYTES = 250


class Driver:
    """Everything that runs between the servers and the engines of one process."""

    def __init__(
        self,
        store: Store,
        loader: Reads,
        open_session: OpenSession,
        places: Places,
        owner: str,
        clock: Callable[[], int],
        step_threads: int,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.tenures: dict[Shard, Tenure] = {}
        self.stopping = False
        self._store = store
        self._loader = loader
        self._places = places
        self._owner = owner
        self._clock = clock
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self.current_task = CurrentTask(self._loop)
        self._context = contextvars.copy_context()  # of every turn, whoever asked for it
        self._failpoints = failpoints = Failpoints()
        self.production = Production(
            open_session, self._start_over, self._on_undeliverable, self.touch_later, fail, failpoints
        )
        self.steps = StepRunner(step_threads, self._on_step_done, self._is_sure, self._put_off, failpoints, fail)
        self._inbox: list[tuple[Batch, int]] = []  # with their bytes in memory
        self._touched: dict[Tenure, None] = {}  # for the next turn, in order
        self._due: dict[Tenure, int] = {}  # when it is to be looked at, if nothing happens before
        self._backlog = 0
        self._scheduled = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._last_tidy = 0
        self.after_turn: Callable[[], None] = lambda: None
        self.group: Consumer | None = None
        self.signals: Consumer | None = None  # stays None where the shards have no such topic

    # -- from the consumers

    def on_batches(self, batches: list[Batch]) -> None:
        """Records of either topic."""
        self._failpoints.reach("batch.taken")
        self._inbox += [(batch, _bytes_of(batch)) for batch in batches]
        self._schedule()

    def on_assigned(self, shard: Shard, make: Callable[[], Tenure]) -> None:
        """The group gave us the shard."""
        if shard not in self.tenures and not self.stopping:
            self.tenures[shard] = make()
            self.wake()

    def on_revoked(self, shard: Shard) -> None:
        """The shard is no longer ours."""
        tenure = self.tenures.pop(shard, None)
        if tenure is not None:
            self._due.pop(tenure, None)
            self._end(tenure)

    def halt(self, tenure: Tenure, why: str) -> None:
        """Stop a shard for good, loudly: it stays assigned to us, and untouched, until a person has looked."""
        if tenure.state not in (State.HALTED, State.OVER):
            log.critical("%s has stopped and needs a person: %s", tenure.shard, why)
            tenure.halt()
            self.wake()

    def halt_engine(self, engine: Engine, why: str) -> None:
        """As `halt`, for whoever knows the engine alone. One that is no longer in use is left."""
        tenure = self.tenures.get(engine.shard)
        if tenure is not None and tenure.engine is engine:
            self.halt(tenure, why)

    def _end(self, tenure: Tenure) -> None:
        if tenure.engine is not None:
            self.steps.abandon(tenure.engine)
        tenure.end()
        self._execute(tenure, [], [])

    # -- turns

    def wake(self) -> None:
        """Have a turn soon that looks at every shard."""
        self._touched.update(dict.fromkeys(self.tenures.values()))
        self._schedule()

    def touch(self, engine: Engine) -> None:
        """Have a turn soon that looks at this engine's shard."""
        tenure = self.tenures.get(engine.shard)
        if tenure is not None and tenure.engine is engine:
            self._touched[tenure] = None
            self._schedule()

    def touch_later(self, engine: Engine) -> None:
        """Have a turn look at this engine's shard within a moment: nobody waits for it."""
        tenure = self.tenures.get(engine.shard)
        if tenure is not None and tenure.engine is engine:
            due = self._clock() + LINGER_MS
            self._due[tenure] = min(due, self._due.get(tenure, due))
            self._set_alarm()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._turn, context=self._context)

    @property
    def backlog_bytes(self) -> int:
        """Bytes of records that were fetched and wait for something to be read from the store first."""
        return self._backlog + self._loader.waiting_bytes

    def woken_by_task(self, shard: Shard) -> None:
        """A handler that runs as a task does something between turns."""
        tenure = self.tenures.get(shard)
        if tenure is not None and tenure.engine is not None:
            tenure.engine.now = self._clock()
            self.touch(tenure.engine)

    def _turn(self) -> None:
        self._scheduled = False  # what asks for a turn during this one gets another
        try:
            with self.current_task.is_probe():
                self._work()
            self.after_turn()
        except BaseException as error:
            self._fail(error)
            if not isinstance(error, Exception):
                raise

    def _work(self) -> None:
        now = self._clock()
        inbox, self._inbox = self._inbox, []
        for batch, size in inbox:
            self._take_in(batch, size, now)
        self._backlog = sum(size for _, size in self._inbox)
        if now - self._last_tidy >= TIDY_SECONDS * 1000:
            self._last_tidy = now
            for tenure in self.tenures.values():
                if tenure.engine is not None:
                    tenure.engine.tidy()
                    self._touched[tenure] = None
        self._touched.update((tenure, None) for tenure, due in self._due.items() if due <= now)
        touched, self._touched = self._touched, {}
        commits: list[tuple[Tenure, Commit]] = []
        reads: list[Coroutine[Any, Any, None]] = []
        for tenure in touched:
            tenure.on_tick(now)
            self._execute(tenure, commits, reads)
            if not self._loader.holds_back(tenure.engine):
                tenure.gather(now)
                self._execute(tenure, commits, reads)
            self._note_due(tenure)
        if commits:
            self.spawn(self._commit(commits))
        for read in reads:
            self.spawn(read)
        self._loader.flush()
        self._set_alarm()

    def _take_in(self, batch: Batch, size: int, now: int) -> None:
        place = self._places.of(batch.topic, batch.partition)
        if place is None:
            return
        tenure = self.tenures.get(place.shard)
        if tenure is None or not tenure.takes_in(batch.epoch):
            return
        self._touched[tenure] = None
        if not place.is_intake:
            tenure.on_signals(batch.epoch, batch.records, now)
            return
        engine = tenure.engine
        assert engine is not None
        if self._loader.holds_back(engine) or tenure.is_behind():
            # What waits for its state would fill the queues with what comes behind it, for a moment, and what a slow
            # store has not taken yet would grow into a commit without bounds: let it wait here.
            self._inbox.append((batch, size))
            return
        engine.now = now
        self._loader.take_in(tenure, batch.records)

    def _set_alarm(self) -> None:
        """Have a turn when the first shard is due.

        An alarm that rings too early does no harm, so it is seldom set anew.
        """
        if not self._due:
            return
        due = min(self._due.values())
        if self._alarm is not None:
            if self._alarm_at <= due:
                return
            self._alarm.cancel()
        self._alarm_at = due
        delay = max(0, min(due - self._clock(), TIDY_SECONDS * 1000)) / 1000
        self._alarm = self._loop.call_later(delay, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._schedule()

    def _note_due(self, tenure: Tenure) -> None:
        due = tenure.next_due()
        if due is None or tenure.state is State.OVER:
            self._due.pop(tenure, None)
        else:
            self._due[tenure] = due

    # -- effects

    def _execute(
        self,
        tenure: Tenure,
        commits: list[tuple[Tenure, Commit]],
        reads: list[Coroutine[Any, Any, None]],
    ) -> None:
        while effects := tenure.drain():
            for effect in effects:
                match effect:
                    case fx.Produce(entries):
                        assert tenure.engine is not None
                        self.production.produce(tenure.engine, entries)
                    case fx.SendCommit(commit):
                        commits.append((tenure, commit))
                    case fx.StartStep(step):
                        assert isinstance(tenure.engine, ShardEngine), "no other kind has handlers"
                        self.steps.start(tenure.engine, step)
                    case fx.Read():
                        self._loader.ask(tenure, effect)
                    case fx.Take(lease):
                        reads.append(self._take(tenure, lease))
                    case fx.Load(lease, questions):
                        reads.append(self._load(tenure, lease, questions))
                    case fx.ReadFrom(invocations, signals, epoch):
                        self._read_from(tenure.shard, invocations, signals, epoch)
                    case fx.StopReading():
                        self._stop_reading(tenure.shard)

    def _read_from(self, shard: Shard, invocations: int | None, signals: int | None, epoch: int) -> None:
        assert self.group is not None
        log.info("owning %s from invocations %s, signals %s", shard, invocations, signals)
        topic = self._places.signals(shard)
        if topic is not None:
            assert self.signals is not None
            at = BEGINNING if signals is None else signals
            self.signals.read_from(Position(topic, shard.partition, at), epoch)
        if not self.stopping:
            at = BEGINNING if invocations is None else invocations
            self.group.read_from(Position(self._places.intake(shard), shard.partition, at), epoch)

    def _stop_reading(self, shard: Shard) -> None:
        assert self.group is not None
        self.group.stop_reading(self._places.intake(shard), shard.partition)
        topic = self._places.signals(shard)
        if topic is not None:
            assert self.signals is not None
            self.signals.stop_reading(topic, shard.partition)

    async def _commit(self, commits: list[tuple[Tenure, Commit]]) -> None:
        self._failpoints.reach("commit.ready")
        try:
            outcomes: Sequence[object] = await self._store.commit([commit for _, commit in commits])
        except StoreCorrupt as error:
            outcomes = error.outcomes
        self._failpoints.reach("commit.replied")
        now = self._clock()
        with self.between_turns():
            for (tenure, commit), outcome in zip(commits, outcomes, strict=True):
                engine = tenure.engine
                if isinstance(outcome, StoreCorrupt):
                    self.halt(tenure, str(outcome))
                else:
                    assert isinstance(outcome, (Applied, Refused, StoreUnavailable))
                    tenure.on_commit(commit, outcome, now)
                if engine is not None and engine.closed:
                    self.steps.abandon(engine)
                self._touched[tenure] = None
            if any(isinstance(outcome, StoreUnavailable) for outcome in outcomes):
                for tenure in self.tenures.values():  # taken again at reconnect, not at their next commit (R4)
                    tenure.doubt(now)
                self.wake()
            self._work()  # now, not in a turn to come: what was committed is waited for

    async def _take(self, tenure: Tenure, lease: bytes) -> None:
        try:
            self._failpoints.reach("take.sent")
            taken = await self._store.take(tenure.shard, lease, self._owner)
            self._failpoints.reach("take.replied")
        except StoreUnavailable as error:
            log.warning("cannot take %s, trying again: %s", tenure.shard, error)
            tenure.on_store_unavailable(lease, self._clock())
        except StoreCorrupt as error:
            self.halt(tenure, str(error))
        else:
            with self.between_turns():
                tenure.on_taken(lease, taken, self._clock())
        self.wake()

    async def _load(self, tenure: Tenure, lease: bytes, questions: Sequence[Query]) -> None:
        try:
            answers = await self._store.read([(tenure.shard, question) for question in questions])
            self._failpoints.reach("load.replied")
        except StoreUnavailable as error:
            log.warning("cannot load %s, trying again: %s", tenure.shard, error)
            tenure.on_store_unavailable(lease, self._clock())
        except StoreCorrupt as error:
            self.halt(tenure, str(error))
        else:
            with self.between_turns():
                tenure.on_loaded(lease, answers, self._clock())
        self.wake()

    def _on_step_done(self, engine: ShardEngine, step: Step, raw: bytes | None, error: BaseException | None) -> None:
        with self.between_turns():
            engine.on_step_done(step, raw, error)
        self.touch(engine)

    def _is_sure(self, engine: ShardEngine) -> bool:
        tenure = self.tenures.get(engine.shard)
        return tenure is not None and tenure.engine is engine and tenure.is_sure(self._clock())

    def _put_off(self, engine: ShardEngine, step: Step) -> None:
        tenure = self.tenures.get(engine.shard)
        if tenure is not None and tenure.engine is engine:
            tenure.put_off(step)
            self.touch(engine)

    def _on_undeliverable(self, engine: Engine, number: int, why: str) -> None:
        self._tell_time()
        with self.current_task.is_probe():
            engine.on_undeliverable(number, why)
        self.touch(engine)

    def _start_over(self) -> None:
        for tenure in self.tenures.values():
            tenure.on_session_over()
        self.wake()

    # -- tasks

    def between_turns(self) -> AbstractContextManager[None]:
        """Let engines work from inside one of our tasks, at the right time; handlers must not take ours for theirs."""
        self._tell_time()
        return self.current_task.is_probe_instead()

    def _tell_time(self) -> None:
        now = self._clock()
        for tenure in self.tenures.values():
            if tenure.engine is not None:
                tenure.engine.now = now

    def drain(self) -> None:
        """Take no new work, begin nothing that waits; results of what runs still come in."""
        self._failpoints.reach("drain.begun")
        self.stopping = True
        assert self.group is not None
        for shard, tenure in self.tenures.items():
            self.group.stop_reading(self._places.intake(shard), shard.partition)
            if tenure.engine is not None:
                tenure.engine.draining = True

    def is_quiet(self) -> bool:
        """Whether nothing is at work and everything is in the store and delivered."""
        return all(tenure.is_quiet() for tenure in self.tenures.values())

    async def aclose(self) -> None:
        """End all tenures and what they have under way."""
        for tenure in list(self.tenures.values()):
            self._end(tenure)
        self.tenures.clear()
        if self._alarm is not None:
            self._alarm.cancel()
        await self.steps.aclose()
        await self.production.aclose(2.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coro)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)


def _bytes_of(batch: Batch) -> int:
    return sum(len(record.value or b"") + RECORD_BYTES for record in batch.records)
