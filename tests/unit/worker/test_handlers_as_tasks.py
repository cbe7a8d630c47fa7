"""Handlers that use asyncio: what they may do; replay, suspension and cancellation treat them as any other handler.

The first invocation shows that the handler needs a task, the second one is a task from its beginning. Both must be
the same, so every handler here is called twice (`both`).
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
from asyncio import tasks
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from barnabas import Context, ObjectContext, Service, TerminalError, VirtualObject
from barnabas.contract import codec
from barnabas.contract.records import Signal, SignalKind
from barnabas.log.port import OutRecord
from barnabas.runtime import journal as j
from barnabas.runtime import live as statuses
from barnabas.runtime.futures import JournalFuture
from barnabas.runtime.limits import Limits
from tests.unit.worker.harness import NAMES, Cluster, LocalWorker, clock, until, working


def helper_service() -> Service:
    service = Service("Other")

    @service.handler()
    async def double(ctx: Context, value: int) -> int:
        return value * 2

    @service.handler()
    async def slow(ctx: Context, value: int) -> int:
        await ctx.sleep(timedelta(milliseconds=30))
        return value

    @service.handler()
    async def never(ctx: Context) -> None:
        await ctx.sleep(timedelta(days=1))

    return service


def cluster_of(fn: Any) -> Cluster:
    service = Service("Svc")
    service.handler(name="run")(fn)
    return Cluster(service, helper_service())


async def both(fn: Any, arg: Any = None) -> list[Any]:
    """The results of the first and the second invocation of a handler."""
    cluster = cluster_of(fn)
    async with working(cluster):
        first = await cluster.result(cluster.call("Svc", "run", arg))
        assert cluster.services["Svc"].handlers["run"].needs_task, "the handler was meant to need a task"
        return [first, await cluster.result(cluster.call("Svc", "run", arg))]


async def test_sleeping_without_durability() -> None:
    async def run(ctx: Context) -> str:
        await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        return "slept"

    assert await both(run) == ["slept"] * 2


async def test_what_a_handler_did_before_a_foreign_wait_is_not_done_again() -> None:
    """A task takes over where the handler stands; nothing failed, so nothing runs twice."""
    began: list[str] = []

    async def run(ctx: Context) -> list[int]:
        began.append("x")
        first = await ctx.run_typed("a", lambda: 1)
        second = await asyncio.to_thread(lambda: 2)
        return [first, second, await ctx.run_typed("b", lambda: 3)]

    assert await both(run) == [[1, 2, 3]] * 2
    assert began == ["x"] * 2


async def test_a_timeout_around_a_durable_wait_that_comes_in_time() -> None:
    async def run(ctx: Context) -> Any:
        async with asyncio.timeout(5):
            return int(await ctx.generic_call("Other", "double", b"4"))

    assert await both(run) == [8, 8]


async def test_a_timeout_ends_the_wait_and_not_the_call() -> None:
    async def run(ctx: Context) -> Any:
        call = ctx.generic_call("Other", "slow", b"4")
        try:
            async with asyncio.timeout(0.005):
                await call
        except TimeoutError:
            return ["late", int(await call)]
        return "in time"

    assert await both(run) == [["late", 4]] * 2


async def test_wait_for_ends_the_wait_and_not_the_call() -> None:
    async def run(ctx: Context) -> Any:
        call = ctx.generic_call("Other", "slow", b"4")
        try:
            await asyncio.wait_for(call, 0.005)
        except TimeoutError:
            return ["late", int(await call)]
        return "in time"

    assert await both(run) == [["late", 4]] * 2


async def test_gather_over_durable_futures() -> None:
    async def run(ctx: Context) -> Any:
        return await asyncio.gather(
            ctx.run_typed("a", lambda: 1),
            ctx.service_call(other.handlers_["double"], arg=4),
            ctx.sleep(timedelta(milliseconds=5)),
        )

    class other:  # noqa: N801
        handlers_: dict[str, Any] = {}  # noqa: RUF012

    service = Service("Svc")
    service.handler(name="run")(run)
    helpers = Service("Other")

    @helpers.handler()
    async def double(ctx: Context, value: int) -> int:
        return value * 2

    other.handlers_["double"] = double
    cluster = Cluster(service, helpers)
    async with working(cluster):
        for _ in range(2):
            assert await cluster.result(cluster.call("Svc", "run")) == [1, 8, None]


async def test_gather_over_coroutines_that_use_the_context() -> None:
    """Their commands are journaled once, by the branches of the handler that goes on."""
    ran: list[str] = []

    async def branch(ctx: Context, name: str) -> str:
        def action() -> str:
            ran.append(name)
            return name

        first = await ctx.run_typed(name, action)
        await ctx.sleep(timedelta(milliseconds=1))
        return first

    async def run(ctx: Context) -> Any:
        return await asyncio.gather(branch(ctx, "a"), branch(ctx, "b"))

    assert await both(run) == [["a", "b"]] * 2
    assert sorted(ran) == ["a", "a", "b", "b"]


async def test_a_task_of_the_handlers_own_that_uses_the_context() -> None:
    async def helper(ctx: Context) -> int:
        return await ctx.run_typed("in a task", lambda: 5)

    async def run(ctx: Context) -> Any:
        task = asyncio.create_task(helper(ctx))
        await ctx.sleep(timedelta(milliseconds=2))
        return await task

    assert await both(run) == [5, 5]


@pytest.mark.expects_errors("never retrieved")
async def test_a_task_that_outlives_its_handler_finds_the_context_closed() -> None:
    seen: list[str] = []

    async def helper(ctx: Context) -> None:
        await asyncio.sleep(0.005)
        try:
            ctx.generic_send("Other", "double", b"1")
        except BaseException as error:
            seen.append(type(error).__name__)
            raise

    kept: list[Any] = []

    async def run(ctx: Context) -> str:
        kept.append(asyncio.create_task(helper(ctx)))
        await asyncio.sleep(0)
        return "over"

    assert await both(run) == ["over"] * 2
    await until(lambda: len(seen) == 2, "the tasks")
    assert seen == ["SuspendedException"] * 2
    await asyncio.gather(*kept, return_exceptions=True)


async def test_to_thread_and_a_plain_future() -> None:
    async def run(ctx: Context) -> Any:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, 3)
        return [await asyncio.to_thread(lambda: 2), await future]

    assert await both(run) == [[2, 3]] * 2


async def test_asking_whether_a_task_runs_needs_none() -> None:
    """As sniffio does: it looks whether there is a current task, and no more."""

    async def run(ctx: Context) -> bool:
        return asyncio.current_task() is not None

    cluster = cluster_of(run)
    async with working(cluster):
        assert await cluster.result(cluster.call("Svc", "run")) is True
    assert not cluster.services["Svc"].handlers["run"].needs_task


async def test_logging_needs_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """From Python 3.12 on every log record asks the current task for its name."""

    async def run(ctx: Context) -> str:
        logging.getLogger("users").warning("a line")
        task: Any = asyncio.current_task()
        return str(task.get_name())

    cluster = cluster_of(run)
    async with working(cluster):
        assert await cluster.result(cluster.call("Svc", "run")) == "barnabas"
    assert not cluster.services["Svc"].handlers["run"].needs_task
    assert "a line" in caplog.text


async def test_keeping_something_by_task_needs_one() -> None:
    """As anyio does, in a WeakKeyDictionary."""
    states: dict[Any, int] = {}

    async def run(ctx: Context) -> int:
        return states.setdefault(asyncio.current_task(), 1)

    assert await both(run) == [1, 1]


async def test_an_exception_in_a_handler_that_is_a_task() -> None:
    async def run(ctx: Context) -> None:
        await asyncio.sleep(0)
        raise TerminalError("no", 418, {"a": "b"})

    first, second = await both(run)
    assert (first.code, first.message, first.metadata) == (418, "no", {"a": "b"})
    assert second == first


async def test_a_failed_attempt_of_a_task_is_tried_again() -> None:
    tries: list[int] = []

    async def run(ctx: Context) -> int:
        await asyncio.sleep(0)
        tries.append(1)
        if len(tries) % 2:
            raise ValueError("once")
        return await ctx.run_typed("x", lambda: 9)

    assert await both(run) == [9, 9]
    assert len(tries) == 4


async def test_context_variables_are_the_handlers_own() -> None:
    """PITFALLS 55: neither lost at a wait nor seen by others, and a token can be given back after a wait."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody")
    in_steps: list[str] = []

    async def run(ctx: Context, name: str) -> list[str]:
        before = variable.get()
        token = variable.set(name)
        await ctx.run_typed("sync", lambda: in_steps.append(variable.get()))

        async def action() -> None:
            in_steps.append(variable.get())

        await ctx.run_typed("async", action)
        await ctx.sleep(timedelta(milliseconds=3))
        within = variable.get()
        variable.reset(token)
        return [before, within, variable.get()]

    cluster = cluster_of(run)
    async with working(cluster):
        ids = [cluster.call("Svc", "run", name) for name in ("a", "b")]
        results = [await cluster.result(id_) for id_ in ids]
    assert results == [["nobody", "a", "nobody"], ["nobody", "b", "nobody"]]
    assert sorted(in_steps) == ["a", "a", "b", "b"]


async def test_a_context_variable_is_cleaned_up_when_the_handler_is_dropped() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nobody")
    cleaned: list[str] = []

    async def run(ctx: Context) -> None:
        token = variable.set("me")
        try:
            await ctx.sleep(timedelta(days=1))
        finally:
            variable.reset(token)
            cleaned.append(variable.get())

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: waits(worker, id_), "the handler")
    assert cleaned == ["nobody"]


def waits(worker: LocalWorker, id_: bytes) -> bool:
    """Whether the invocation waits for something durable."""
    try:
        live = worker.live(id_)
    except StopIteration:
        return False
    return live.attempt is not None and not live.attempt.running_code


def failed(worker: LocalWorker, id_: bytes) -> bool:
    try:
        return worker.live(id_).attempts > 0
    except StopIteration:
        return False


# -- crashes and suspensions of handlers that are tasks


async def replayed(fn: Any, ready: Callable[[LocalWorker, bytes], bool]) -> Any:
    """The result of a handler whose worker was replaced as soon as it was `ready`."""
    cluster = cluster_of(fn)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: ready(worker, id_), "the moment to crash")
    async with working(cluster):
        return await cluster.result(id_)


async def test_a_gather_whose_results_were_all_there_before_the_crash() -> None:
    gate: list[int] = []

    async def run(ctx: Context) -> Any:
        both = await asyncio.gather(
            ctx.generic_call("Other", "double", b"1"), ctx.generic_call("Other", "double", b"2")
        )
        gate.append(1)
        await ctx.sleep(timedelta(milliseconds=200))
        return [int(one) for one in both]

    assert await replayed(run, lambda worker, id_: bool(gate) and waits(worker, id_)) == [2, 4]


async def test_a_branch_whose_result_stands_behind_the_last_command_of_another_branch() -> None:
    """The other one never waits again and nothing more arrives, and still the replay must go on to that result."""
    committed: list[int] = []

    async def quick(ctx: Context) -> None:
        ctx.generic_send("Other", "double", b"1")

    async def slow(ctx: Context) -> int:
        value = int(await ctx.generic_call("Other", "slow", b"7"))
        committed.append(value)
        if len(committed) == 1:
            await asyncio.sleep(60)  # until the crash
        return value

    async def run(ctx: Context) -> Any:
        return (await asyncio.gather(slow(ctx), quick(ctx)))[0]

    def ready(worker: LocalWorker, id_: bytes) -> bool:
        return bool(committed) and worker.live(id_).dirty <= worker.engine("Svc").number

    assert await replayed(run, ready) == 7


def answer(cluster: Cluster, call: JournalFuture[Any], result: bytes) -> None:
    """The end of a call that a handler of `Svc` made, or the value of its awakeable."""
    id_ = call.attempt.live.id
    kind = SignalKind.RESOLVE if call.call_id == j.OF_AWAKEABLE else SignalKind.COMPLETION
    signal = Signal(kind, id_, call.position, call.call_id if kind is SignalKind.COMPLETION else None, result)
    cluster.log.append(OutRecord(NAMES.signals("Svc"), 0, b"", codec.encode_signal(signal), None))


async def test_a_result_that_arrives_before_the_replay_has_come_to_its_call_is_kept() -> None:
    """R9."""
    gate = asyncio.Event()
    gate.set()
    calls: list[Any] = []

    async def run(ctx: Context) -> Any:
        await gate.wait()
        await asyncio.sleep(0)
        calls[:] = [ctx.generic_call("Other", "never", b""), ctx.generic_call("Other", "never", b"")]
        return [int(await one) for one in calls]

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: waits(worker, id_), "the calls")
        engine = worker.engine("Svc")
        live = engine.live[id_]
        gate.clear()
        engine.tidying.suspend(live)
        one, two = calls
        answer(cluster, one, b"1")
        await until(lambda: live.attempt is not None, "the replay")
        answer(cluster, two, b"2")
        await until(lambda: engine.next_signal == 2, "the second result")
        gate.set()
        assert await cluster.result(id_) == [1, 2]
        assert engine.counts["results dropped"] == 0


@pytest.mark.parametrize("needs_task", [False, True])
async def test_a_waiting_handler_is_suspended_without_a_cancellation(needs_task: bool) -> None:
    left: list[str] = []

    async def run(ctx: Context) -> str:
        if needs_task:
            await asyncio.sleep(0)
        try:
            await ctx.sleep(timedelta(milliseconds=80))
        except Exception:
            left.append("Exception")
            raise
        except BaseException as error:
            left.append(type(error).__name__)
            raise
        return "done"

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: waits(worker, id_), "the wait")
        live = worker.live(id_)
        worker.engine("Svc").tidying.suspend(live)
        assert live.status == statuses.SUSPENDED
        assert await cluster.result(id_) == "done"
    assert left == (["SuspendedException"] if needs_task else ["GeneratorExit"])


async def test_an_attempt_that_has_not_come_to_the_end_of_its_journal_is_not_suspended() -> None:
    """Nothing more might arrive that wakes it up."""

    async def run(ctx: Context) -> int:
        await asyncio.sleep(0)
        first = await ctx.run_typed("first", lambda: 1)
        for _ in range(10):
            first += int(await ctx.generic_call("Other", "double", b"1"))
        return first

    cluster = cluster_of(run)
    async with working(cluster, limits=Limits(waiting_attempts=0)):
        ids = [cluster.call("Svc", "run") for _ in range(20)]
        assert [await cluster.result(id_) for id_ in ids] == [21] * 20


async def test_a_task_that_goes_on_after_its_suspension_has_its_result_discarded() -> None:
    """F28."""
    attempts: list[int] = []

    async def run(ctx: Context) -> str:
        attempts.append(1)
        await asyncio.sleep(0)
        try:
            await ctx.sleep(timedelta(milliseconds=60))
        except BaseException:
            await asyncio.sleep(0.01)
            return "wrong"
        return "right"

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: waits(worker, id_), "the wait")
        worker.engine("Svc").tidying.suspend(worker.live(id_))
        assert await cluster.result(id_) == "right"
    assert len(attempts) == 2


async def test_a_task_that_waits_for_something_foreign_is_cancelled_when_its_shard_goes() -> None:
    ended: list[str] = []
    began = asyncio.Event()

    async def run(ctx: Context) -> None:
        began.set()
        try:
            await asyncio.sleep(60)
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    cluster = cluster_of(run)
    async with working(cluster):
        cluster.call("Svc", "run")
        await began.wait()
        await asyncio.sleep(0)
    await until(lambda: ended == ["CancelledError"], "the cancellation")


async def test_a_difference_in_a_branch_that_nobody_waits_for_fails_the_attempt() -> None:
    version = [0]

    async def branch(ctx: Context) -> None:
        await asyncio.sleep(0.005)
        ctx.generic_send("Other", "double" if version[0] == 0 else "slow", b"1")

    kept: list[Any] = []

    async def run(ctx: Context) -> None:
        task = asyncio.create_task(branch(ctx))
        task.add_done_callback(lambda one: one.cancelled() or one.exception())
        kept.append(task)
        await ctx.sleep(timedelta(days=1))

    def sent(worker: LocalWorker, id_: bytes) -> bool:
        engine = worker.engine("Svc")
        return bool(kept) and kept[0].done() and engine.live[id_].dirty <= engine.number

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: bool(kept) and sent(worker, id_), "the message")
    version[0] = 1
    async with working(cluster) as worker:
        await until(lambda: failed(worker, id_), "the failure")
        assert "NonDeterminismError" in worker.live(id_).last_failure


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize(
    "error", [SystemExit(3), asyncio.CancelledError("gone"), GeneratorExit("odd"), StopIteration("over"), MemoryError()]
)
async def test_whatever_a_handler_raises_fails_its_attempt_and_nothing_else(error: BaseException, asleep: bool) -> None:
    """Also where a task takes the handler over, and where it is one from its beginning."""
    tries: list[int] = []

    async def run(ctx: Context) -> int:
        tries.append(1)
        if asleep:
            await asyncio.sleep(0)
        if len(tries) < 3:
            raise error
        return 5

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: failed(worker, id_), "the failure")
        text = worker.live(id_).last_failure
        assert type(error).__name__ in text or str(error) in text
        assert await cluster.result(id_) == 5


@pytest.mark.parametrize("needs_task", [False, True])
async def test_a_handler_that_waits_where_its_journal_has_a_command_fails_the_attempt(needs_task: bool) -> None:
    """F29. A task may have a branch that is about to give that command, so it is given the time of an inactive one."""
    version, later = [0], [0]

    async def run(ctx: Context) -> None:
        if needs_task:
            await asyncio.sleep(0)
        call = ctx.generic_call("Other", "never", b"")
        if version[0] == 0:
            ctx.generic_send("Other", "double", b"1")
        await call

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: waits(worker, id_), "the wait")
        engine = worker.engine("Svc")
        await until(lambda: engine.live[id_].dirty <= engine.number, "the commit")
    version[0] = 1
    async with working(cluster, clock=lambda: clock() + later[0]) as worker:
        if needs_task:
            await until(lambda: waits(worker, id_), "the wait")
        later[0] = Limits().inactivity_ms
        await until(lambda: failed(worker, id_), "the failure")
        text = worker.live(id_).last_failure
        assert "at position 2 the journal has 'send Other/double'" in text
        assert "'wait for position 1'" in text


async def test_a_branch_that_comes_late_to_its_command_is_waited_for() -> None:
    """Also in a handler that waited for something foreign before, for longer than it may be inactive."""
    first, second = asyncio.Event(), asyncio.Event()
    later = [0]
    awakeables: list[Any] = []

    async def branch(ctx: Context) -> int:
        await second.wait()
        return int(await ctx.generic_call("Other", "double", b"7"))

    async def run(ctx: Context) -> int:
        await first.wait()
        task = asyncio.create_task(branch(ctx))
        awakeables[:] = [ctx.awakeable()[1]]
        await awakeables[0]
        return await task

    cluster = cluster_of(run)
    first.set()
    second.set()
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: waits(worker, id_) and len(worker.live(id_).journal) == 3, "the result of the call")
        engine = worker.engine("Svc")
        await until(lambda: engine.live[id_].dirty <= engine.number, "the commit")
    first.clear()
    second.clear()
    async with working(cluster, clock=lambda: clock() + later[0]) as worker:
        await until(lambda: running(worker, id_), "the first foreign wait")
        later[0] = 10 * Limits().inactivity_ms
        first.set()
        await until(lambda: waits(worker, id_), "the awakeable")
        engine, live = worker.engine("Svc"), worker.live(id_)
        engine.tidy()
        await asyncio.sleep(0)
        assert (live.attempts, live.status) == (0, statuses.RUNNING)
        second.set()
        answer(cluster, awakeables[0], b"null")
        assert await cluster.result(id_) == 14


def running(worker: LocalWorker, id_: bytes) -> bool:
    """Whether the invocation waits for something foreign."""
    try:
        live = worker.live(id_)
    except StopIteration:
        return False
    return live.attempt is not None and live.attempt.running_code


@pytest.mark.parametrize("how", ["finished", "suspended", "suspended and late"])
async def test_a_branch_that_nobody_waits_for_ends_with_its_attempt(how: str) -> None:
    """And asyncio has nothing to complain about; the tests fail if it does."""
    left: list[str] = []
    late = asyncio.Event()

    async def branch(ctx: Context) -> None:
        try:
            if how == "suspended and late":
                await late.wait()
            await ctx.sleep(timedelta(days=1))
        except BaseException as error:
            left.append(type(error).__name__)
            raise

    async def run(ctx: Context) -> str:
        task = asyncio.create_task(branch(ctx))
        await asyncio.sleep(0)
        if how == "finished":
            return task.get_name()
        await ctx.sleep(timedelta(days=1))
        return "never"

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        if how == "finished":
            await cluster.result(id_)
        else:
            await until(lambda: waits(worker, id_), "the wait")
            worker.engine("Svc").tidying.suspend(worker.live(id_))
            late.set()
        await until(lambda: bool(left), "the end of the branch")
    gc.collect()
    assert left == ["SuspendedException"]


async def test_a_step_that_was_under_way_when_the_attempt_failed_is_not_run_again() -> None:
    """Also if it ends after the next attempt has begun and before that comes to the step."""
    ran: list[str] = []
    release, go = asyncio.Event(), asyncio.Event()
    tries: list[int] = []

    async def action() -> int:
        ran.append("x")
        await release.wait()
        return 4

    async def run(ctx: Context) -> int:
        tries.append(1)
        if len(tries) > 1:
            await go.wait()
        future = ctx.run_typed("x", action)
        if len(tries) == 1:
            await asyncio.sleep(0.01)
            raise ValueError("the attempt fails, the step goes on")
        return await future

    cluster = cluster_of(run)
    async with working(cluster) as worker:
        id_ = cluster.call("Svc", "run")
        await until(lambda: len(tries) == 2, "the second attempt")
        engine = worker.engine("Svc")
        release.set()
        await until(lambda: not engine.live[id_].steps and engine.live[id_].dirty <= engine.number, "the result")
        go.set()
        assert await cluster.result(id_) == 4
    assert ran == ["x"]


async def test_where_the_probe_is_not_taken_every_handler_is_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python whose asyncio checks what it is given as the current task."""

    def refuse(loop: Any, task: Any) -> None:
        if not isinstance(task, asyncio.Task):
            raise TypeError("a task is wanted")
        enter(loop, task)

    enter = tasks._enter_task
    monkeypatch.setattr(tasks, "_enter_task", refuse)

    made = VirtualObject("Obj")

    @made.handler()
    async def add(ctx: ObjectContext, value: int) -> Any:
        async with asyncio.timeout(5):
            ctx.set("sum", (await ctx.get("sum") or 0) + value)
            return [
                await ctx.get("sum"),
                await ctx.run_typed("x", lambda: 1),
                int(await ctx.generic_call("Other", "double", b"2")),
            ]

    cluster = Cluster(made, helper_service())
    async with working(cluster) as worker:
        assert not worker.driver.current_task.replaceable
        ids = [cluster.call("Obj", "add", n, key="a") for n in (1, 2, 3)]
        assert [await cluster.result(id_) for id_ in ids] == [[1, 1, 4], [3, 1, 4], [6, 1, 4]]
