"""Awakeables, signals, attach and promises in one attempt: values, errors, early results, and what a replay finds."""

from __future__ import annotations

from typing import Any

import pytest

from barnabas import Context, NonDeterminismError, TerminalError, WorkflowContext
from barnabas.contract.ids import InvocationId, awakeable_id
from barnabas.contract.records import Failure
from barnabas.runtime import journal as j
from tests.unit.runtime.attempts import CANCELLED, ID, OTHER, FakeHost, Run, check_replays, signal

OTHER_TEXT = str(InvocationId(OTHER))
OWN_TEXT = str(InvocationId(ID))


async def outcome_of(awaitable: Any) -> Any:
    try:
        return await awaitable
    except TerminalError as error:
        return [error.status_code, error.message]


# -- awakeables


async def one_awakeable(ctx: Context) -> Any:
    name, future = ctx.awakeable()
    return [name, await outcome_of(future)]


def test_an_awakeable_has_an_id_that_leads_to_it_and_the_value_that_is_set() -> None:
    run = Run(one_awakeable)
    run.put([j.RESULT, 1, j.OF_AWAKEABLE, b'{"a":1}'])
    assert run.value == f'["{awakeable_id(ID, 1)}",{{"a":1}}]'.encode()
    check_replays(run)


def test_an_awakeable_may_fail() -> None:
    run = Run(one_awakeable)
    run.put([j.FAILURE, 1, j.OF_AWAKEABLE, 404, "gone", {}])
    assert run.value == f'["{awakeable_id(ID, 1)}",[404,"gone"]]'.encode()
    check_replays(run)


async def late_awakeable(ctx: Context) -> Any:
    await ctx.generic_call("Other", "add", b"1")
    first, second = ctx.awakeable()[1], ctx.awakeable()[1]
    done = first.is_completed()
    return [done, await first, await second]


def test_a_result_ahead_of_its_awakeable_is_kept_for_it_and_the_first_one_wins() -> None:
    """R7: it was resolved in an attempt whose journal was lost in part."""
    run = Run(late_awakeable)
    run.put([j.RESULT, 2, j.OF_AWAKEABLE, b"7"])
    assert not run.attempt.expects(2, j.OF_AWAKEABLE)
    run.put([j.RESULT, 2, j.OF_AWAKEABLE, b"8"])
    run.put(run.result(1))
    run.put([j.RESULT, 2, j.OF_AWAKEABLE, b"9"])
    run.put([j.RESULT, 3, j.OF_AWAKEABLE, b"1"])
    assert run.value == b"[true,7,1]"
    check_replays(run)


def test_what_is_expected_for_awakeables() -> None:
    run = Run(late_awakeable)
    assert not run.attempt.expects(1, j.OF_AWAKEABLE)  # a call
    assert run.attempt.expects(2, j.OF_AWAKEABLE)  # not there yet
    run.put(run.result(1))
    assert run.attempt.expects(2, j.OF_AWAKEABLE)
    assert not run.attempt.expects(2, OTHER)
    run.put([j.RESULT, 2, j.OF_AWAKEABLE, b"7"])
    assert not run.attempt.expects(2, j.OF_AWAKEABLE)
    assert run.attempt.expects(3, j.OF_AWAKEABLE)
    assert run.attempt.expects(99, j.OF_AWAKEABLE)
    assert not run.attempt.expects(99, OTHER)
    assert run.attempt.expects("any", j.OF_SIGNAL)


def test_what_a_replay_that_stands_before_it_expects() -> None:
    """The journal knows more than the handler has come to, and a task has yet to begin."""

    async def run(ctx: Context) -> None:
        _, kept = ctx.awakeable()
        attached = ctx.attach_invocation(OTHER_TEXT)
        await ctx.generic_call("Other", "add", b"1")
        await attached
        await kept

    made = Run(run)
    waiting = made.again()
    waiting.attempt.drop()
    attempt = type(made.attempt)(made.host, waiting.live, made.attempt.handler, lambda _: None)
    assert attempt.expects(1, j.OF_AWAKEABLE)
    assert attempt.expects(2, OTHER)
    assert not attempt.expects(2, j.OF_AWAKEABLE)
    assert not attempt.expects(3, OTHER)
    waiting.journal.append([j.RESULT, 1, j.OF_AWAKEABLE, b"1"])
    waiting.journal.append([j.RESULT, 2, OTHER, b"1"])
    assert not attempt.expects(1, j.OF_AWAKEABLE)
    assert not attempt.expects(2, OTHER)
    made.attempt.drop()


@pytest.mark.parametrize("bad", ["", "inv_1", "sign_1xyz", None, awakeable_id(ID, 1)[:-1] + "!"])
def test_a_malformed_awakeables_id_is_a_terminal_error(bad: Any) -> None:
    async def run(ctx: Context) -> None:
        ctx.resolve_awakeable(bad, 1)

    made = Run(run)
    assert made.failed[0] == 400
    assert made.journal == []


def test_awakeables_of_others_are_resolved_and_rejected_once() -> None:
    name = awakeable_id(OTHER, 4)

    async def run(ctx: Context) -> None:
        ctx.resolve_awakeable(name, {"a": 1})
        ctx.reject_awakeable(name, "no", 418)

    made = Run(run)
    assert made.host.asked == [
        ("resolve", OTHER, 4, None, b'{"a":1}', None),
        ("resolve", OTHER, 4, None, None, Failure(418, "no")),
    ]
    assert made.commands == [[j.RESOLVE, name], [j.RESOLVE, name]]
    check_replays(made)


# -- signals


async def three_signals(ctx: Context) -> Any:
    first, other = ctx.signal("a"), ctx.signal("b")
    second = ctx.signal("a")
    return [await outcome_of(second), await outcome_of(first), await outcome_of(other)]


def test_signals_of_a_name_go_to_its_waits_in_order() -> None:
    run = Run(three_signals)
    run.put(signal("a", b"1"))
    run.put([j.FAILURE, "b", j.OF_SIGNAL, 400, "no", {}])
    run.put(signal("a", b"2"))
    assert run.value == b'[2,1,[400,"no"]]'
    check_replays(run)


def test_signals_that_come_before_the_wait_are_kept_in_order() -> None:
    async def run(ctx: Context) -> Any:
        await ctx.generic_call("Other", "add", b"1")
        return [await ctx.signal("a"), await ctx.signal("a"), await ctx.signal("a")]

    made = Run(run)
    made.put(signal("a", b"1"))
    made.put(signal("a", b"2"))
    made.put(made.result(1))
    made.put(signal("a", b"3"))
    assert made.value == b"[1,2,3]"
    check_replays(made)


def test_signals_are_sent_and_rejected_once() -> None:
    async def run(ctx: Context) -> None:
        ctx.resolve_signal(OTHER_TEXT, "a", 5)
        ctx.reject_signal(OTHER_TEXT, "b", "no")

    made = Run(run)
    assert made.host.asked == [
        ("resolve", OTHER, None, "a", b"5", None),
        ("resolve", OTHER, None, "b", None, Failure(500, "no")),
    ]
    assert made.commands == [[j.RESOLVE, f"{OTHER_TEXT}/a"], [j.RESOLVE, f"{OTHER_TEXT}/b"]]
    check_replays(made)


# -- other invocations


async def attached(ctx: Context) -> Any:
    return await outcome_of(ctx.attach_invocation(OTHER_TEXT))


def test_attach_gives_the_result_of_another_invocation() -> None:
    run = Run(attached)
    assert run.host.asked == [("attach", 1, OTHER)]
    assert run.attempt.expects(1, OTHER)
    assert not run.attempt.expects(1, ID)
    run.put([j.RESULT, 1, ID, b"666"])
    run.put([j.RESULT, 1, OTHER, b"5"])
    assert run.value == b"5"
    check_replays(run)


def test_attach_to_nothing_is_the_error_that_comes() -> None:
    run = Run(attached)
    run.put([j.FAILURE, 1, OTHER, 404, "not found", {}])
    assert run.value == b'[404,"not found"]'
    check_replays(run)


@pytest.mark.parametrize("method", ["attach_invocation", "cancel_invocation"])
@pytest.mark.parametrize("bad", ["", "inv_1", None, 7, OTHER_TEXT + "x"])
def test_a_malformed_id_is_a_terminal_error(method: str, bad: Any) -> None:
    async def run(ctx: Context) -> None:
        getattr(ctx, method)(bad)

    made = Run(run)
    assert made.failed[0] == 400
    assert made.journal == []


@pytest.mark.parametrize(
    "act",
    [
        lambda ctx: ctx.attach_invocation(OTHER_TEXT),
        lambda ctx: ctx.cancel_invocation(OTHER_TEXT),
        lambda ctx: ctx.resolve_awakeable(awakeable_id(OTHER, 1), 1),
        lambda ctx: ctx.reject_awakeable(awakeable_id(OTHER, 1), "no"),
        lambda ctx: ctx.resolve_signal(OTHER_TEXT, "a", 1),
        lambda ctx: ctx.reject_signal(OTHER_TEXT, "a", "no"),
    ],
)
def test_an_id_of_a_service_that_nobody_knows_fails_the_attempt_even_if_it_is_caught(act: Any) -> None:
    async def run(ctx: Context) -> str:
        try:
            act(ctx)
        except BaseException:
            return "caught"
        return "done"

    host = FakeHost()
    host.unknown = {OTHER}
    made = Run(run, host=host)
    assert isinstance(made.crashed, LookupError)
    assert made.journal == []


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (lambda ctx: ctx.attach_invocation(OTHER_TEXT), lambda ctx: ctx.attach_invocation(OWN_TEXT), "attach"),
        (lambda ctx: ctx.cancel_invocation(OTHER_TEXT), lambda ctx: ctx.cancel_invocation(OWN_TEXT), "cancel"),
        (
            lambda ctx: ctx.resolve_signal(OTHER_TEXT, "a", 1),
            lambda ctx: ctx.resolve_signal(OWN_TEXT, "a", 1),
            "resolve",
        ),
        (lambda ctx: ctx.signal("a"), lambda ctx: ctx.signal("b"), "wait for signal"),
        (lambda ctx: ctx.awakeable(), lambda ctx: ctx.signal("a"), "awakeable"),
    ],
)
def test_another_target_than_the_recorded_one_is_a_non_determinism_error(before: Any, now: Any, words: str) -> None:
    bodies = [before]

    async def run(ctx: Context) -> None:
        bodies[0](ctx)

    made = Run(run)
    bodies[0] = now
    error = made.again().crashed
    assert isinstance(error, NonDeterminismError)
    assert f"the journal has '{words}" in str(error)


# -- promises


async def promised(ctx: WorkflowContext) -> Any:
    promise = ctx.promise("paid")
    seen = [await promise.peek()]
    seen.append(await promise)
    seen.append(await promise.value())
    seen.append(await promise.peek())
    seen.append(await outcome_of(promise.resolve(3)))
    return seen


def test_a_promise_is_waited_for_peeked_at_and_completed_once() -> None:
    run = Run(promised, kind="workflow")
    run.host.promises["paid"] = [b"5"]
    assert run.attempt.expects(2, j.OF_PROMISE)
    run.put([j.RESULT, 2, j.OF_PROMISE, b"5"])
    assert run.value == b"[null,5,5,5,[409,\"promise 'paid' was completed before: it keeps its first value\"]]"
    assert [one[0] for one in run.host.asked] == ["peek", "promise", "promise", "peek", "complete"]
    whole = run.again()
    assert (whole.outcome, whole.journal, whole.host.asked) == (run.outcome, run.journal, [])


def test_a_promise_may_be_rejected() -> None:
    async def run(ctx: WorkflowContext) -> Any:
        promise = ctx.promise("paid")
        done = await outcome_of(promise.reject("no", 418))
        return [done, await outcome_of(promise.peek()), await outcome_of(promise)]

    made = Run(run, kind="workflow")
    assert made.value == b'[null,[418,"no"],[418,"no"]]'
    whole = made.again()
    assert (whole.outcome, whole.journal, whole.host.asked) == (made.outcome, made.journal, [])


def test_a_promise_is_completed_though_nobody_awaits_that() -> None:
    async def run(ctx: WorkflowContext) -> None:
        ctx.promise("paid").resolve(1)

    made = Run(run, kind="workflow")
    assert made.host.promises == {"paid": [b"1"]}
    assert made.commands == [[j.COMPLETE, "paid", True]]


def test_what_is_too_large_is_refused_before_it_is_journaled() -> None:
    async def run(ctx: WorkflowContext) -> Any:
        tries = [
            lambda: ctx.promise("paid").resolve("x" * 1001),
            lambda: ctx.resolve_awakeable(awakeable_id(OTHER, 1), "x" * 1001),
            lambda: ctx.resolve_signal(OTHER_TEXT, "a", "x" * 1001),
        ]
        codes = []
        for one in tries:
            try:
                one()
            except TerminalError as error:
                codes.append(error.status_code)
        return codes

    made = Run(run, kind="workflow")
    assert made.value == b"[413,413,413]"
    assert made.journal == []


def test_only_workflows_have_promises() -> None:
    async def run(ctx: Any) -> None:
        ctx.promise("paid")

    assert Run(run, kind="object").failed == (500, "Svc is no workflow: only workflows have promises")


def test_a_cancelled_wait_for_a_signal_does_not_use_the_signal_up() -> None:
    async def run(ctx: Context) -> Any:
        future = ctx.signal("a")
        return [await outcome_of(future), await outcome_of(future)]

    made = Run(run)
    made.put(CANCELLED)
    made.put(signal("a", b"1"))
    assert made.value == b'[[409,"cancelled"],1]'
    check_replays(made)
