"""Cancellation in one attempt: raised once, at the wait that meets it, at the same place in every attempt (F35)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

import barnabas as restate
from barnabas import Context, TerminalError
from barnabas.contract.ids import InvocationId
from barnabas.runtime import journal as j
from tests.unit.runtime.attempts import CANCELLED, OTHER, Run, TaskRun, check_replays, signal

OTHER_TEXT = str(InvocationId(OTHER))


async def outcome_of(awaitable: Any) -> Any:
    try:
        return await awaitable
    except TerminalError as error:
        return [error.status_code, error.message]


def call(ctx: Context) -> Any:
    return ctx.generic_call("Other", "add", b"1")


async def completions(*futures: Any) -> Any:
    return [future async for future in restate.as_completed(*futures)]


async def names_of(awaitable: Any) -> Any:
    """Combinators return futures; what matters here is that they return."""
    await awaitable
    return "done"


#: Every kind of wait on the commands 1 (and 2), and what ends it.
WAITS: dict[str, tuple[Callable[[Any], Any], Callable[[Run], list[j.Entry]]]] = {
    "call": (call, lambda run: [run.result(1)]),
    "sleep": (lambda ctx: ctx.sleep(timedelta(hours=1)), lambda run: [run.result(1, b"")]),
    "step": (lambda ctx: ctx.run_typed("s", lambda: 1), lambda run: [run.result(1)]),
    "awakeable": (lambda ctx: ctx.awakeable()[1], lambda run: [run.result(1)]),
    "signal": (lambda ctx: ctx.signal("a"), lambda run: [signal("a", b"1")]),
    "attach": (lambda ctx: ctx.attach_invocation(OTHER_TEXT), lambda run: [run.result(1)]),
    "promise": (lambda ctx: ctx.promise("p").value(), lambda run: [run.result(1)]),
    "the promise itself": (lambda ctx: ctx.promise("p"), lambda run: [run.result(1)]),
    "gather": (lambda ctx: names_of(restate.gather(call(ctx), call(ctx))), lambda run: [run.result(1), run.result(2)]),
    "select": (lambda ctx: restate.select(a=call(ctx), b=call(ctx)), lambda run: [run.result(1)]),
    "wait_completed": (
        lambda ctx: names_of(restate.wait_completed(call(ctx), call(ctx))),
        lambda run: [run.result(2)],
    ),
    "as_completed": (
        lambda ctx: names_of(completions(call(ctx), call(ctx))),
        lambda run: [run.result(2), run.result(1)],
    ),
    "nested": (
        lambda ctx: names_of(restate.select(both=restate.gather(call(ctx), call(ctx)), one=call(ctx))),
        lambda run: [run.result(3)],
    ),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_cancellation_is_raised_at_every_kind_of_wait(wait: str) -> None:
    async def run(ctx: Any) -> Any:
        return await WAITS[wait][0](ctx)

    made = Run(run, kind="workflow")
    assert made.outcome is None
    made.put(CANCELLED)
    assert made.failed == (409, "cancelled")
    check_replays(made)


@pytest.mark.parametrize("wait", WAITS)
def test_it_may_be_caught_and_the_handler_goes_on(wait: str) -> None:
    async def run(ctx: Any) -> Any:
        caught = await outcome_of(WAITS[wait][0](ctx))
        return [caught, await outcome_of(ctx.sleep(timedelta(hours=1)))]

    made = Run(run, kind="workflow")
    made.put(CANCELLED)
    made.put(made.result(len(made.commands), b""))
    assert made.value == b'[[409,"cancelled"],null]'
    check_replays(made)


@pytest.mark.parametrize("wait", [name for name in WAITS if name not in ("as_completed", "the promise itself")])
def test_the_same_future_may_be_awaited_again_afterwards(wait: str) -> None:
    async def run(ctx: Any) -> Any:
        future = WAITS[wait][0](ctx)
        if asyncio.iscoroutine(future) and not isinstance(future, restate.RestateDurableFuture):
            future.close()  # a coroutine of this file: make another for each wait
            future = Again(lambda: WAITS[wait][0](ctx))
        caught = await outcome_of(future)
        return [caught, (await outcome_of(future)) is not None or "done"]

    made = Run(run, kind="workflow")
    made.put(CANCELLED)
    assert made.outcome is None
    for entry in WAITS[wait][1](made):
        made.put(entry)
        if made.outcome is not None:
            break
    else:
        made.put(*(made.result(at) for at in range(1, len(made.commands) + 1)))
    assert made.value is not None
    assert made.value.startswith(b'[[409,"cancelled"],')


class Again:
    """Awaits something new each time."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __await__(self) -> Any:
        return self._make().__await__()


def test_one_that_is_found_at_a_command_is_raised_at_the_next_wait() -> None:
    async def run(ctx: Context) -> Any:
        first = await call(ctx)
        ctx.generic_send("Other", "add", b"2")  # meets the cancellation
        return [int(first), await outcome_of(ctx.sleep(timedelta(1))), await outcome_of(ctx.run_typed("s", int))]

    made = Run(run)
    made.put(made.result(1), CANCELLED)
    made.put(made.result(4, b"0"))
    assert made.value == b'[1,[409,"cancelled"],0]'
    again = made.again()
    assert (again.outcome, again.journal, again.host.asked) == (made.outcome, made.journal, [])


def test_a_wait_whose_result_is_there_returns_it_and_the_next_one_raises() -> None:
    async def run(ctx: Context) -> Any:
        first, second, third = call(ctx), call(ctx), call(ctx)
        seen = [int(await first)]
        ctx.generic_send("Other", "add", b"2")
        return [*seen, int(await second), await outcome_of(third)]

    made = Run(run)
    made.put(made.result(1, b"1"), CANCELLED, made.result(2, b"2"))
    assert made.value == b'[1,2,[409,"cancelled"]]'
    again = made.again()
    assert (again.outcome, again.journal, again.host.asked) == (made.outcome, made.journal, [])


def test_the_cancellation_before_the_result_wins_when_nothing_was_done_between() -> None:
    async def run(ctx: Context) -> Any:
        first, second = call(ctx), call(ctx)
        return [int(await first), await outcome_of(second), int(await second)]

    made = Run(run)
    made.put(made.result(1, b"1"), CANCELLED, made.result(2, b"2"))
    assert made.value == b'[1,[409,"cancelled"],2]'
    assert made.again().outcome == made.outcome


def test_each_of_two_cancellations_is_raised_once() -> None:
    async def run(ctx: Context) -> Any:
        await call(ctx)
        ctx.generic_send("Other", "add", b"2")
        nap = ctx.sleep(timedelta(1))
        return [await outcome_of(nap), await outcome_of(nap), await outcome_of(nap)]

    made = Run(run)
    made.put(made.result(1), CANCELLED, CANCELLED)
    made.put(made.result(3, b""))
    assert made.value == b'[[409,"cancelled"],[409,"cancelled"],null]'
    assert made.again().outcome == made.outcome


def test_one_that_comes_when_the_handler_never_waits_again_changes_nothing() -> None:
    async def run(ctx: Context) -> int:
        return int(await call(ctx))

    made = Run(run)
    made.put(made.result(1), CANCELLED)
    assert made.value == b"1"
    assert made.again().outcome == made.outcome


def test_a_handler_cannot_swallow_a_suspension_as_it_can_a_cancellation() -> None:
    seen: list[str] = []

    async def run(ctx: Context) -> None:
        try:
            await call(ctx)
        except Exception as error:
            seen.append(str(error))
            raise

    made = Run(run)
    made.attempt.drop()
    assert seen == []


# -- as a task


@pytest.mark.parametrize("wait", WAITS)
async def test_as_a_task_too(wait: str) -> None:
    async def run(ctx: Any) -> Any:
        caught = await outcome_of(WAITS[wait][0](ctx))
        return [caught, await outcome_of(ctx.sleep(timedelta(hours=1)))]

    made = await TaskRun(run, kind="workflow").idle()
    made.put(CANCELLED)
    await made.idle()
    made.put(made.result(len(made.commands), b""))
    await made.idle()
    assert made.value == b'[[409,"cancelled"],null]'
    again = await made.again().idle()  # type: ignore[attr-defined]
    assert (again.outcome, again.journal, again.host.asked) == (made.outcome, made.journal, [])
    assert Run(run, made.journal, kind="workflow").outcome == made.outcome  # by hand it is the same


async def test_it_waits_for_the_next_durable_wait_while_a_task_waits_for_something_else() -> None:
    gate = asyncio.Event()

    async def run(ctx: Context) -> Any:
        async with asyncio.timeout(10):
            await gate.wait()
        first = call(ctx)
        return [await outcome_of(first), int(await first)]

    made = TaskRun(run)
    await made.pass_turns()
    made.put(CANCELLED)
    await made.pass_turns()
    assert not made.host.over
    gate.set()
    await made.idle()
    made.put(made.result(1, b"5"))
    await made.idle()
    assert made.value == b'[[409,"cancelled"],5]'
    again = await made.again().idle()  # type: ignore[attr-defined]
    assert (again.outcome, again.host.asked) == (made.outcome, [])


async def test_of_several_waits_of_a_task_the_oldest_one_raises() -> None:
    async def run(ctx: Context) -> Any:
        one, two = call(ctx), call(ctx)
        cancelled, raw = await asyncio.gather(outcome_of(two), outcome_of(one))
        return [cancelled, int(raw)]

    made = await TaskRun(run).idle()
    made.put(CANCELLED)
    made.put(made.result(1, b"1"))
    await made.idle()
    assert made.value == b'[[409,"cancelled"],1]'


async def test_it_is_not_lost_in_a_wait_that_asyncio_ends_in_the_same_turn() -> None:
    branches: list[asyncio.Future[Any]] = []

    async def run(ctx: Context) -> Any:
        branches.append(asyncio.ensure_future(call(ctx)))
        with pytest.raises(asyncio.CancelledError):
            await branches[0]
        return await outcome_of(call(ctx))

    made = await TaskRun(run).idle()
    made.put(CANCELLED)
    await made.turns_until(lambda: made.attempt.running_code)  # the branch is about to hear of it
    branches[0].cancel()
    await made.idle()
    assert made.value == b'[409,"cancelled"]'


async def test_a_handler_that_became_a_task_while_it_waited_is_cancelled_there() -> None:
    async def run(ctx: Context) -> Any:
        await asyncio.sleep(0)
        return [await outcome_of(restate.select(a=call(ctx), b=call(ctx))), await outcome_of(ctx.sleep(timedelta(1)))]

    made = Run(run)
    assert made.attempt.is_task
    task = TaskRun.__new__(TaskRun)
    task.__dict__ = made.__dict__
    await task.idle()
    task.put(CANCELLED)
    await task.idle()
    task.put(task.result(3, b""))
    await task.idle()
    assert task.value == b'[[409,"cancelled"],null]'
