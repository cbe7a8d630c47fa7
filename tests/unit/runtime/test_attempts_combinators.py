"""`gather`, `select`, `as_completed`, `wait_completed`: what they return, and the same again in every attempt."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import barnabas as restate
from barnabas import Context, TerminalError, WorkflowContext
from barnabas.contract.ids import InvocationId
from barnabas.runtime import journal as j
from tests.unit.runtime.attempts import OTHER, FakeHost, Run, TaskRun, check_replays, signal

OTHER_TEXT = str(InvocationId(OTHER))


def call(ctx: Context, n: int = 1) -> Any:
    return ctx.generic_call("Other", "add", b"%d" % n)


def calls(ctx: Context, n: int) -> list[Any]:
    return [call(ctx, at) for at in range(n)]


def test_gather_waits_for_all_and_returns_the_futures() -> None:
    async def run(ctx: Context) -> Any:
        futures = calls(ctx, 3)
        done = await restate.gather(*futures)
        assert all(one is two for one, two in zip(done, futures, strict=True))
        return [int(await one) for one in done]

    made = Run(run)
    for at in (2, 3, 1):
        made.put(made.result(at, b"%d" % at))
    assert made.value == b"[1,2,3]"
    check_replays(made)


def test_gather_raises_nothing_itself() -> None:
    async def run(ctx: Context) -> Any:
        first, second = await restate.gather(*calls(ctx, 2))
        try:
            await first
        except TerminalError as error:
            return [error.message, int(await second)]

    made = Run(run)
    made.put(made.failure(1, 400, "no"))
    made.put(made.result(2, b"2"))
    assert made.value == b'["no",2]'
    check_replays(made)


def test_select_takes_the_first_and_again_on_a_replay_with_both() -> None:
    async def run(ctx: Context) -> Any:
        answer = call(ctx)
        match await restate.select(answer=answer, timeout=ctx.sleep(timedelta(seconds=10))):
            case ["answer", value]:
                return int(value)
            case ["timeout", _]:
                return f"late: {int(await answer)}"

    made = Run(run)
    made.put(made.result(2, b""))
    made.put(made.result(1, b"7"))
    assert made.value == b'"late: 7"'
    check_replays(made)


def test_select_raises_what_the_first_one_raises() -> None:
    async def run(ctx: Context) -> Any:
        return await restate.select(a=call(ctx), b=ctx.sleep(timedelta(1)))

    made = Run(run)
    made.put(made.failure(1, 418, "no"))
    assert made.failed == (418, "no")
    check_replays(made)


def test_of_those_that_are_done_already_select_takes_the_one_that_came_first() -> None:
    async def run(ctx: Context) -> Any:
        one, two, three = calls(ctx, 3)
        await three
        return [(await restate.select(one=one, two=two))[0], (await restate.select(one=one, three=three))[0]]

    made = Run(run)
    for at in (2, 1, 3):
        made.put(made.result(at))
    assert made.value == b'["two","one"]'
    check_replays(made)


def test_as_completed_gives_them_in_the_order_in_which_they_came() -> None:
    async def run(ctx: Context) -> Any:
        futures = calls(ctx, 4)
        first = await futures[3]
        return [int(first)] + [int(await future) async for future in restate.as_completed(*futures)]

    made = Run(run)
    for at in (2, 4, 1, 3):
        made.put(made.result(at, b"%d" % at))
    assert made.value == b"[4,2,4,1,3]"
    check_replays(made)


def test_as_completed_may_be_left_early_and_used_again_with_the_same_futures() -> None:
    async def run(ctx: Context) -> Any:
        futures = calls(ctx, 3)
        seen = []
        for _ in range(2):
            async for future in restate.as_completed(*futures):
                seen.append(int(await future))
                if len(seen) % 2 == 0:
                    break
        return seen

    made = Run(run)
    for at in (3, 1, 2):
        if made.outcome is None:
            made.put(made.result(at, b"%d" % at))
    assert made.value == b"[3,1,3,1]"
    check_replays(made)


def test_wait_completed_splits_them() -> None:
    async def run(ctx: Context) -> Any:
        futures = calls(ctx, 3)
        seen = []
        while futures:
            done, futures = await restate.wait_completed(*futures)
            seen.append([[int(await one) for one in done], len(futures)])
        return seen

    made = Run(run)
    for at in (3, 1, 2):
        made.put(made.result(at, b"%d" % at))
    assert made.value == b"[[[3],2],[[1],1],[[2],0]]"
    check_replays(made)


def test_wait_completed_returns_at_once_what_is_there() -> None:
    async def run(ctx: Context) -> Any:
        one, two, three = calls(ctx, 3)
        await three
        done, waiting = await restate.wait_completed(one, two, three)
        return [[future is one for future in done], [future is two for future in waiting], len(done)]

    made = Run(run)
    for at in (1, 3):
        made.put(made.result(at))
    assert made.value == b"[[true,false],[true],2]"
    check_replays(made)


def test_nothing_to_wait_for() -> None:
    async def run(ctx: Context) -> Any:
        futures = [future async for future in restate.as_completed()]
        with pytest.raises(ValueError, match="select needs at least one future"):
            await restate.select()
        return [await restate.gather(), await restate.wait_completed(), futures]

    made = Run(run)
    assert made.value == b"[[],[[],[]],[]]"


def test_every_kind_of_future_can_be_combined() -> None:
    async def run(ctx: WorkflowContext) -> Any:
        futures = {
            "call": call(ctx),
            "sleep": ctx.sleep(timedelta(1)),
            "step": ctx.run_typed("s", lambda: 1),
            "awakeable": ctx.awakeable()[1],
            "signal": ctx.signal("a"),
            "attach": ctx.attach_invocation(OTHER_TEXT),
            "value": ctx.promise("p").value(),
            "promise": ctx.promise("p"),
            "peek": ctx.promise("p").peek(),
            "time": ctx.time(),
            "state": ctx.get("x"),
        }
        names = {}
        left = dict(futures)
        while left:
            name, _ = await restate.select(**left)  # type: ignore[arg-type]
            names[name] = len(names)
            if name == "promise":
                left.pop("promise")
            else:
                del left[name]
        return list(names)

    made = Run(run, kind="workflow")
    for position in (1, 2, 3, 4):
        made.put(made.result(position, b"1"))
    made.put(signal("a", b"1"))
    made.put([j.RESULT, 6, OTHER, b"1"])
    made.host.promises["p"] = [b"1"]
    made.put([j.RESULT, 7, j.OF_PROMISE, b"1"])
    while made.outcome is None:
        made.put([j.RESULT, len(made.commands), j.OF_PROMISE, b"1"])
    value = made.value
    assert value is not None
    for name in ("call", "sleep", "step", "awakeable", "signal", "attach", "value", "promise", "peek", "time", "state"):
        assert name.encode() in value
    again = made.again()
    assert (again.outcome, again.journal, again.host.asked) == (made.outcome, made.journal, [])


def test_combinators_may_be_nested() -> None:
    async def run(ctx: Context) -> Any:
        one, two, three, four = calls(ctx, 4)
        name, value = await restate.select(
            both=restate.gather(one, two), any=restate.select(three=three, four=four, late=ctx.sleep(timedelta(1)))
        )
        if name == "any":
            return value
        return [name, [int(await future) for future in value]]

    made = Run(run)
    made.put(made.result(1, b"1"))
    made.put(made.result(2, b"2"))
    assert made.value == b'["both",[1,2]]'
    check_replays(made)

    made = Run(run)
    made.put(made.result(1, b"1"))
    made.put(made.result(5, b""))
    assert made.value == b'["late",null]'
    check_replays(made)


@pytest.mark.parametrize("combine", [restate.gather, restate.wait_completed, lambda one: restate.select(one=one)])
def test_what_is_no_durable_future_is_refused(combine: Any) -> None:
    async def run(ctx: Context) -> None:
        await combine(asyncio.Event())

    assert Run(run).failed == (500, _refusal(combine))


def _refusal(combine: Any) -> str:
    name = getattr(combine, "__name__", "")
    name = "select" if name == "<lambda>" else name
    return f"{name} takes the durable futures that a context's methods return, not a Event"


def test_as_completed_refuses_them_too() -> None:
    async def run(ctx: Context) -> None:
        async for _ in restate.as_completed(call(ctx), 5):  # type: ignore[arg-type]
            pass

    assert Run(run).failed[0] == 500


def test_futures_of_two_attempts_do_not_go_together() -> None:
    kept: list[Any] = []

    async def run(ctx: Context) -> None:
        kept.append(call(ctx))
        await restate.gather(*kept)

    first = Run(run)
    assert Run(run).failed == (
        500,
        "gather takes futures of one context only: these are of two invocations or attempts",
    )
    first.attempt.drop()


def test_a_long_lived_future_remembers_no_combinator_that_is_over() -> None:
    async def run(ctx: Context) -> int:
        stop = ctx.signal("stop")
        for _ in range(100):
            await restate.select(stop=stop, tick=ctx.sleep(timedelta(seconds=1)))
        watchers: list[Any] = stop._watchers  # type: ignore[attr-defined]
        return len(watchers)

    made = Run(run)
    while made.outcome is None:
        made.put(made.result(len(made.commands), b""))
    assert made.value == b"0"


# -- as a task


async def test_a_task_sees_them_in_the_same_order_again() -> None:
    async def run(ctx: Context) -> Any:
        async with asyncio.timeout(60):
            futures = calls(ctx, 4)
            seen = [int(await future) async for future in restate.as_completed(*futures[:3])]
            done, waiting = await restate.wait_completed(*futures)
            return [seen, len(done), len(waiting)]

    made = await TaskRun(run).idle()
    made.put(*(made.result(at, b"%d" % at) for at in (3, 1, 2, 4)))  # all at once
    await made.idle()
    assert made.value == b"[[3,1,2],3,1]"
    again = await made.again().idle()  # type: ignore[attr-defined]
    assert (again.outcome, again.journal, again.host.asked) == (made.outcome, made.journal, [])


async def test_combinators_may_run_in_tasks_of_the_handlers_own() -> None:
    async def run(ctx: Context) -> Any:
        one, two, three = calls(ctx, 3)
        both = asyncio.create_task(restate.gather(one, two))
        first = asyncio.create_task(restate.select(two=two, three=three))
        name, _ = await first
        return [name, [int(await future) for future in await both]]

    made = await TaskRun(run).idle()
    for at in (3, 2, 1):
        made.put(made.result(at, b"%d" % at))
        await made.idle()
    assert made.value == b'["three",[1,2]]'


async def test_a_task_of_a_combinator_may_be_cancelled_and_the_futures_stay() -> None:
    async def run(ctx: Context) -> Any:
        one, two = calls(ctx, 2)
        waiting = asyncio.create_task(restate.gather(one, two))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        return [int(await one), int(await two)]

    made = await TaskRun(run).idle()
    for at in (1, 2):
        made.put(made.result(at, b"%d" % at))
        await made.idle()
    assert made.value == b"[1,2]"


async def test_a_wait_of_two_branches_ends_in_the_order_of_the_journal() -> None:
    """A branch that goes on has its turn before the next result is looked at."""

    async def branch(ctx: Context, future: Any, order: list[int]) -> None:
        n = int(await future)
        await asyncio.sleep(0)
        order.append(n)
        ctx.generic_send("Other", "add", b"%d" % n)

    async def run(ctx: Context) -> Any:
        order: list[int] = []
        one, two = calls(ctx, 2)
        await asyncio.gather(branch(ctx, one, order), branch(ctx, two, order))
        return order

    made = await TaskRun(run).idle()
    made.put(made.result(2, b"2"), made.result(1, b"1"))
    await made.idle()
    assert made.value == b"[2,1]"
    again = await made.again().idle()  # type: ignore[attr-defined]
    assert (again.outcome, again.journal, again.host.asked) == (made.outcome, made.journal, [])


async def test_a_branch_on_its_way_is_not_overtaken_by_a_result_that_comes_meanwhile() -> None:
    """On a replay the two results lie there together, so how far apart they came must not matter."""

    async def branch(ctx: Context, future: Any, turns: int, order: list[int]) -> None:
        n = int(await future)
        for _ in range(turns):
            await asyncio.sleep(0)
        order.append(n)
        ctx.generic_send("Other", "add", b"%d" % n)

    async def run(ctx: Context) -> Any:
        order: list[int] = []
        one, two = calls(ctx, 2)
        await asyncio.gather(branch(ctx, one, 3, order), branch(ctx, two, 0, order))
        return order

    made = await TaskRun(run).idle()
    made.put(made.result(1, b"1"))
    await made.turns_until(lambda: made.attempt.running_code)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    made.put(made.result(2, b"2"))
    await made.idle()
    assert made.value == b"[1,2]"
    again = await made.again().idle()  # type: ignore[attr-defined]
    assert (again.outcome, again.journal, again.host.asked) == (made.outcome, made.journal, [])


def test_is_completed_can_be_branched_on() -> None:
    async def run(ctx: Context) -> Any:
        one, two = calls(ctx, 2)
        seen = [one.is_completed()]
        await two
        return [*seen, one.is_completed(), two.is_completed()]

    made = Run(run)
    made.put(made.result(1))
    made.put(made.result(2))
    assert made.value == b"[false,true,true]"
    check_replays(made)


def test_a_host_that_completes_a_promise_at_once_ends_the_wait_at_once() -> None:
    async def run(ctx: WorkflowContext) -> Any:
        return (await restate.select(value=ctx.promise("p"), nap=ctx.sleep(timedelta(1))))[0]

    host = FakeHost()
    host.promises["p"] = [b"1"]
    assert Run(run, kind="workflow", host=host).value == b'"value"'
