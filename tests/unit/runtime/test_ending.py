"""Cancel and kill in every state of an invocation (F35): one outcome, the calls below are told, nothing is left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from barnabas import Context, InvocationRetryPolicy, ObjectContext, Service, TerminalError, VirtualObject
from barnabas.contract.ids import idempotent_id, random_id
from barnabas.contract.records import Failure, Invocation, ReplyTo, Signal, SignalKind
from barnabas.runtime import journal as j
from barnabas.runtime import live as states_of
from barnabas.runtime.ending import open_calls
from barnabas.runtime.limits import Limits
from barnabas.runtime.signals import GRACE_MS
from barnabas.store import keys
from tests.unit.runtime.harness import Bench

CANCELLED = Failure(409, "cancelled")
KILLED = Failure(409, "killed")

svc = Service("Svc")
obj = VirtualObject("Obj")
other = Service("Other")


@svc.handler()
async def naps(ctx: Context) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "slept"


@svc.handler()
async def calls(ctx: Context) -> str:
    first = ctx.generic_call("Other", "add", b"1")
    second = ctx.generic_call("Other", "add", b"2")
    ctx.generic_send("Other", "add", b"3")
    await first
    await second
    return "both"


@svc.handler()
async def compensates(ctx: Context) -> str:
    try:
        await ctx.generic_call("Other", "add", b"1")
    except TerminalError as error:
        undone = await ctx.generic_call("Other", "add", b"-1")
        return f"{error.status_code} {error.message}, undone: {undone.decode()}"
    return "done"


@svc.handler()
async def steps(ctx: Context) -> str:
    result = await ctx.run_typed("step", lambda: "stepped")
    await ctx.sleep(timedelta(hours=1))
    return result


@svc.handler()
async def fails(ctx: Context) -> str:
    raise RuntimeError("no")


@other.handler()
async def add(ctx: Context, n: int) -> int:
    return n


@obj.handler()
async def holds(ctx: ObjectContext) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "held"


@obj.handler()
async def quick(ctx: ObjectContext) -> str:
    return "quick"


def cancel(bench: Bench, id_: bytes) -> None:
    bench.signal(Signal(SignalKind.CANCEL, id_))


def kill(bench: Bench, id_: bytes) -> None:
    bench.signal(Signal(SignalKind.KILL, id_))


def told(bench: Bench, kind: SignalKind) -> list[bytes]:
    return [signal.invocation for signal in bench.signals if signal.kind is kind]


def suspend(bench: Bench, id_: bytes) -> None:
    bench.pass_time(61_000)
    bench.engine.tidy()
    bench.work()
    assert bench.live(id_).status == states_of.SUSPENDED
    bench.engine.tidy()
    assert not bench.live(id_).journal_loaded


def assert_clean(bench: Bench) -> None:
    for what in (keys.LIVE, keys.INPUTS, keys.PARKED, keys.DEFERRED, keys.HEADS):
        assert bench.stored("HGETALL", what) == {}, what
    assert bench.stored("ZRANGE", keys.TIMERS, 0, -1) == []


def test_a_cancel_is_raised_at_the_wait() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("naps")
    cancel(bench, id_)
    assert bench.replies == {id_: CANCELLED}
    assert_clean(bench)


def test_a_cancel_goes_to_open_calls_and_not_to_sends() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("calls")
    first, second, sent = bench.sent
    bench.answer(first, 1)
    cancel(bench, id_)
    assert told(bench, SignalKind.CANCEL) == [second.id]
    assert bench.replies == {id_: CANCELLED}
    assert sent.id not in told(bench, SignalKind.CANCEL)


def test_a_result_from_before_a_call_does_not_keep_a_cancel_from_it() -> None:
    """The store has lost the time in which the call was answered: the attempt has made it again."""
    call = [j.CALL, "Other/add", None, random_id("Other", None)]
    early = [j.RESULT, 1, call[3], b"1"]
    assert list(open_calls([early, call])) == [call]
    assert list(open_calls([early, call, early])) == []


def test_a_handler_that_catches_a_cancel_goes_on_and_may_call() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("compensates")
    cancel(bench, id_)
    first, undo = bench.sent
    assert told(bench, SignalKind.CANCEL) == [first.id]
    bench.answer(first, failure=CANCELLED)  # the callee's end is of no interest any more
    assert bench.replies == {}
    bench.answer(undo, 0)
    assert bench.replies == {id_: "409 cancelled, undone: 0"}


def test_a_second_cancel_goes_to_the_calls_made_since_the_first() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("compensates")
    cancel(bench, id_)
    cancel(bench, id_)
    assert told(bench, SignalKind.CANCEL) == [invocation.id for invocation in bench.sent]
    assert bench.replies == {id_: CANCELLED}


def test_a_cancel_outlives_a_crash_at_any_moment() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("compensates")
    cancel(bench, id_)
    bench.crash()
    bench.answer(bench.sent[-1], 0)
    assert bench.replies == {id_: "409 cancelled, undone: 0"}
    assert set(told(bench, SignalKind.CANCEL)) == {bench.sent[0].id}


def test_a_suspended_invocation_is_read_and_cancelled() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("calls")
    suspend(bench, id_)
    cancel(bench, id_)
    assert len(told(bench, SignalKind.CANCEL)) == 2
    assert bench.replies == {id_: CANCELLED}


def test_a_step_at_work_ends_and_is_recorded_before_the_cancel_is_raised() -> None:
    bench = Bench(svc, other)
    bench.steps_wait = True
    id_ = bench.call("steps")
    cancel(bench, id_)
    assert bench.replies == {}
    assert bench.live(id_).ending == states_of.CANCEL
    bench.run_step()
    bench.work()
    assert bench.replies == {id_: CANCELLED}


def test_a_cancel_that_waits_for_a_step_outlives_a_crash() -> None:
    bench = Bench(svc, other)
    bench.steps_wait = True
    id_ = bench.call("steps")
    cancel(bench, id_)
    bench.crash()
    assert bench.replies == {}
    bench.run_step()
    bench.work()
    assert bench.replies == {id_: CANCELLED}


def test_a_step_between_attempts_is_not_waited_for() -> None:
    def breaks() -> str:
        raise RuntimeError("again")

    service = Service("Svc")

    @service.handler()
    async def run(ctx: Context) -> str:
        try:
            return await ctx.run_typed("breaks", breaks)
        except TerminalError as error:
            return error.message

    bench = Bench(service, other)
    id_ = bench.call("run")
    assert bench.live(id_).steps
    cancel(bench, id_)
    assert bench.replies == {id_: "cancelled"}
    bench.pass_time(100_000)
    assert bench.steps == []
    assert_clean(bench)


def test_one_that_backs_off_goes_on_at_once_with_the_cancellation() -> None:
    service = Service("Svc")
    broken = [True]

    @service.handler()
    async def run(ctx: Context) -> str:
        if broken[0]:
            raise RuntimeError("no")
        await ctx.sleep(timedelta(hours=1))
        return "done"

    bench = Bench(service, other)
    id_ = bench.call("run")
    assert bench.live(id_).status == states_of.BACKING_OFF
    broken[0] = False
    cancel(bench, id_)
    assert bench.replies == {id_: CANCELLED}


def test_one_whose_handler_is_missing_here_ends_unless_it_has_something_to_undo() -> None:
    """F25: its key is free again. With a journal it waits for the deployment that has its handler."""
    service = VirtualObject("Obj")

    @service.handler()
    async def fine(ctx: ObjectContext) -> str:
        return "fine"

    @service.handler()
    async def old(ctx: ObjectContext) -> None:
        await ctx.sleep(timedelta(hours=1))

    bench = Bench(service)
    id_, begun, behind = bench.call("gone", key="k"), bench.call("old", key="l"), bench.call("fine", key="k")
    cancel(bench, id_)
    assert bench.replies == {id_: CANCELLED, behind: "fine"}
    del service.handlers["old"]
    bench.crash()
    bench.pass_time(3_600_000)
    cancel(bench, begun)
    bench.pass_time(60_000)
    assert bench.live(begun).status == states_of.BACKING_OFF


def test_a_paused_one_wakes_up_and_runs_on_with_the_cancellation() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("naps")
    bench.engine.pause(bench.live(id_))
    bench.work()
    cancel(bench, id_)
    assert bench.replies == {id_: CANCELLED}


def test_a_queued_one_ends_at_once_and_the_queue_goes_on() -> None:
    bench = Bench(obj)
    head = bench.call("holds", key="k")
    second, third = bench.call("quick", key="k"), bench.call("quick", key="k")
    assert bench.stored("HGETALL", keys.HEADS) == {b"k": head}
    cancel(bench, second)
    assert bench.replies == {second: CANCELLED}
    cancel(bench, head)
    assert bench.replies == {second: CANCELLED, head: CANCELLED, third: "quick"}
    assert_clean(bench)


def test_a_queued_one_after_a_crash_ends_at_once_too() -> None:
    bench = Bench(obj)
    head, second = bench.call("holds", key="k"), bench.call("quick", key="k")
    bench.crash()
    kill(bench, second)
    assert bench.replies == {second: KILLED}
    assert bench.stored("HGETALL", keys.HEADS) == {}
    kill(bench, head)
    assert_clean(bench)


def test_what_was_cancelled_before_it_began_is_gone_with_its_idempotency_key() -> None:
    bench = Bench(obj)
    bench.call("holds", key="k")
    id_ = idempotent_id("Obj", "quick", "k", "once")
    request = Invocation(id_, "Obj", "quick", "k", b"", reply_to=ReplyTo("c", b"1"), idempotency_key="once")
    bench.feed(request)
    cancel(bench, id_)
    assert bench.replies[id_] == CANCELLED
    assert bench.stored("HGETALL", keys.KEPT) == {}
    bench.feed(request)
    assert bench.live(id_).status == states_of.QUEUED


def test_a_finished_one_stays_finished() -> None:
    bench = Bench(obj)
    id_ = bench.call("quick", key="k")
    cancel(bench, id_)
    kill(bench, id_)
    assert bench.replies == {id_: "quick"}
    assert bench.engine.counts["signals refused"] == 2


def test_a_kill_ends_the_calls_below_without_the_handler() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("compensates")
    kill(bench, id_)
    assert told(bench, SignalKind.KILL) == [bench.sent[0].id]
    assert bench.replies == {id_: KILLED}
    assert len(bench.sent) == 1, "no compensation"
    assert_clean(bench)


def test_a_kill_of_a_suspended_one_reads_its_journal_first() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("calls")
    suspend(bench, id_)
    bench.reads_wait = True
    kill(bench, id_)
    assert bench.replies == {}
    bench.crash()  # decided, and not forgotten
    bench.read()
    bench.work()
    assert len(told(bench, SignalKind.KILL)) == 2
    assert bench.replies == {id_: KILLED}


def test_a_kill_frees_the_key_and_discards_a_step_at_work() -> None:
    service = VirtualObject("Obj")

    @service.handler()
    async def run(ctx: ObjectContext) -> str:
        return await ctx.run_typed("step", lambda: "stepped")

    bench = Bench(service)
    bench.steps_wait = True
    first, second = bench.call("run", key="k"), bench.call("run", key="k")
    kill(bench, first)
    bench.run_step()
    bench.work()
    assert bench.replies == {first: KILLED}
    bench.run_step()
    bench.work()
    assert bench.replies == {first: KILLED, second: "stepped"}


def test_a_cancel_that_overtakes_its_invocation_is_kept_for_it() -> None:
    """R7."""
    bench = Bench(svc, other)
    id_ = random_id("Svc", None)
    bench.hidden = 1
    cancel(bench, id_)
    assert bench.engine.counts["signals dropped"] == 0
    bench.crash()
    bench.hidden = 0
    bench.call("naps", id_=id_)
    assert bench.replies == {id_: CANCELLED}
    assert_clean(bench)


def test_a_cancel_of_what_never_comes_is_dropped_once_the_topic_is_read() -> None:
    """R7."""
    bench = Bench(svc, other)
    bench.hidden = 1
    cancel(bench, random_id("Svc", None))
    assert len(bench.stored("HGETALL", keys.PARKED)) == 1
    bench.pass_time(GRACE_MS)
    bench.hidden = 0
    bench.call("naps")
    assert bench.engine.counts["signals dropped"] == 1
    assert bench.stored("HGETALL", keys.PARKED) == {}


def test_a_spilled_one_is_cancelled_when_its_turn_comes() -> None:
    bench = Bench(obj, limits=Limits(queued=1))
    head = bench.call("holds", key="k")
    ids = [bench.call("quick", key="k") for _ in range(3)]
    assert bench.engine.lanes.spilled == 2
    cancel(bench, ids[2])
    bench.call("quick", key="elsewhere")
    assert len(bench.stored("HGETALL", keys.PARKED)) == 1, "it will come, so the signal stays"
    cancel(bench, head)
    bench.work()
    replies: dict[bytes, Any] = {ids[0]: "quick", ids[1]: "quick", ids[2]: CANCELLED, head: CANCELLED}
    assert {id_: bench.replies[id_] for id_ in replies} == replies
    assert_clean(bench)


def test_a_step_whose_last_attempt_fails_while_a_cancel_waits_for_it_does_not_pause() -> None:
    """F26, F35: the cancellation would be put off until a person resumes it."""
    svc = Service("Svc", invocation_retry_policy=InvocationRetryPolicy(max_attempts=1))

    def refuse() -> None:
        raise ValueError("no")

    @svc.handler()
    async def flaky(ctx: Context) -> str:
        try:
            await ctx.run_typed("x", refuse)
        except TerminalError as error:
            return f"{error.status_code} {error.message}"
        return "never"

    bench = Bench(svc)
    bench.steps_wait = True
    id_ = bench.call("flaky")
    cancel(bench, id_)
    bench.run_step()
    bench.work()
    assert bench.replies[id_] == "409 cancelled"


def test_a_paused_one_that_fails_again_before_its_first_wait_can_be_cancelled_again() -> None:
    """F26: the first cancel ends in another pause; so does the second, until the code is mended."""
    svc = Service("Svc", invocation_retry_policy=InvocationRetryPolicy(max_attempts=1))
    mended = False

    @svc.handler()
    async def broken(ctx: Context) -> str:
        if not mended:
            raise RuntimeError("no")
        await ctx.sleep(timedelta(hours=1))
        return "slept"

    bench = Bench(svc)
    id_ = bench.call("broken")
    cancel(bench, id_)
    assert bench.live(id_).status == states_of.PAUSED
    mended = True
    cancel(bench, id_)
    assert bench.replies[id_] == CANCELLED
