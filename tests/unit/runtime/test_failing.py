"""What follows from a failure: when the next attempt comes, when there is none, and what the caller hears."""

from __future__ import annotations

import logging
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import pytest

from barnabas import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    RetryableError,
    RunOptions,
    Service,
    TerminalError,
    VirtualObject,
)
from barnabas.contract.records import Failure
from barnabas.runtime import live as statuses
from barnabas.runtime.failures import MAX_CHARACTERS, failure_of, failure_text
from tests.unit.runtime.harness import Bench


def of_service(fn: Any, **settings: Any) -> Bench:
    service = Service("Svc", **settings)
    service.handler(name="run")(fn)
    return Bench(service)


def ms(policy: Any = None, **settings: Any) -> InvocationRetryPolicy:
    return InvocationRetryPolicy(initial_interval=timedelta(milliseconds=100), exponentiation_factor=3.0, **settings)


def test_the_schedule_is_kept() -> None:
    """F26: 100 ms, then three times as long each time, up to a second."""
    at: list[int] = []

    async def run(ctx: Context) -> None:
        at.append(bench.now - began)
        raise ValueError("no")

    bench = of_service(run, invocation_retry_policy=ms(max_interval=timedelta(seconds=1), max_attempts=6))
    began = bench.now
    bench.call("run")
    for _ in range(450):
        bench.pass_time(10)
    assert at == [0, 100, 400, 1300, 2300, 3300]


def test_a_retryable_error_says_itself_when_the_next_attempt_comes() -> None:
    at: list[int] = []

    async def run(ctx: Context) -> None:
        at.append(bench.now - began)
        if len(at) < 2:
            raise RetryableError("later", retry_after=timedelta(seconds=7))

    bench = of_service(run)
    began = bench.now
    id_ = bench.call("run")
    bench.pass_time(6_999)
    assert at == [0]
    bench.pass_time(1)
    assert at == [0, 7_000]
    assert bench.replies == {id_: None}


def test_after_the_last_attempt_the_invocation_pauses_and_keeps_its_key() -> None:
    async def run(ctx: ObjectContext) -> None:
        raise ValueError("no")

    made = VirtualObject("Obj", invocation_retry_policy=ms(max_attempts=2))
    made.handler(name="run")(run)
    bench = Bench(made)
    first, second = bench.call("run", key="a"), bench.call("run", key="a")
    other = bench.call("run", key="b")
    bench.pass_time(100)
    bench.pass_time(100_000)
    assert bench.live(first).status == statuses.PAUSED
    assert bench.live(second).attempts == 0
    assert bench.live(other).attempts == 2
    assert bench.replies == {}
    bench.crash()
    bench.pass_time(100_000)
    assert bench.live(first).status == statuses.PAUSED


def test_after_the_last_attempt_the_invocation_is_killed_if_its_policy_says_so() -> None:
    async def run(ctx: Context) -> None:
        raise ValueError("no")

    bench = of_service(run, invocation_retry_policy=ms(max_attempts=2, on_max_attempts="kill"))
    id_ = bench.call("run")
    bench.pass_time(100)
    assert bench.replies == {id_: Failure(500, "ValueError: no")}


def test_attempts_are_counted_over_a_take_over() -> None:
    """F26."""
    tries: list[int] = []

    async def run(ctx: Context) -> None:
        tries.append(1)
        raise ValueError("no")

    bench = of_service(run, invocation_retry_policy=ms(max_attempts=3))
    id_ = bench.call("run")
    bench.pass_time(100)
    bench.crash()
    assert bench.live(id_).attempts == 2
    bench.pass_time(299)
    assert len(tries) == 2
    bench.pass_time(1)
    assert len(tries) == 3
    assert bench.live(id_).status == statuses.PAUSED


def test_a_terminal_error_ends_at_once_and_reaches_the_caller_whole() -> None:
    async def run(ctx: Context) -> None:
        raise TerminalError("no such plane", status_code=404, metadata={"tail": "N14228"})

    bench = of_service(run)
    id_ = bench.call("run")
    assert bench.replies == {id_: Failure(404, "no such plane", {"tail": "N14228"})}
    assert bench.engine.live == {}


def test_what_a_plain_function_raises_before_it_gives_a_coroutine_fails_the_attempt() -> None:
    def run(ctx: Context) -> Any:
        raise ValueError("at once")

    bench = of_service(run)
    id_ = bench.call("run")
    assert bench.live(id_).last_failure == "ValueError: at once"


def test_an_input_that_does_not_fit_is_a_terminal_error_of_the_caller() -> None:
    async def run(ctx: Context, value: int) -> int:
        return value

    bench = of_service(run)
    id_ = bench.call("run", "text")
    assert bench.replies[id_].code == 400


def test_a_handler_that_is_missing_here_is_waited_for() -> None:
    """F25: it may come with the next deployment."""

    async def run(ctx: ObjectContext) -> str:
        ctx.set("a", 1)
        return "done"

    made = VirtualObject("Obj")
    made.handler(name="old")(run)
    bench = Bench(made)
    id_ = bench.call("run", key="a")
    for _ in range(100):
        bench.pass_time(60_000)
    assert bench.live(id_).status == statuses.BACKING_OFF
    made.handler(name="run")(run)
    bench.crash()
    bench.pass_time(60_000)
    assert bench.replies == {id_: "done"}  # as the exclusive handler that it is, which may write state


def test_a_terminal_error_whose_text_cannot_be_encoded_reaches_the_caller_mended() -> None:
    """F55: such text comes from file names, say. It must not break the commit, which holds other work too."""

    async def run(ctx: Context) -> None:
        raise TerminalError("no \ud800", metadata={"name": "\ud800"})

    bench = of_service(run)
    id_ = bench.call("run")
    assert bench.replies == {id_: Failure(500, "no ?", {"name": "?"})}


def test_a_failure_whose_text_cannot_be_encoded_is_kept_mended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "barnabas.engine")  # a captured traceback with it could not travel between jobs

    async def run(ctx: Context) -> None:
        raise ValueError("\ud800")

    bench = of_service(run)
    id_ = bench.call("run")
    bench.crash()
    assert bench.live(id_).last_failure == "ValueError: ?"


def test_failures_are_bounded_and_their_status_is_a_status() -> None:
    long = failure_of(TerminalError("x" * 100_000, metadata={"a": "y" * 100_000}))
    assert len(long.message) == MAX_CHARACTERS + 3
    assert long.metadata == {}
    assert failure_of(TerminalError("x", status_code=2**70)).code == 500
    assert failure_of(TerminalError("x", status_code="teapot")).code == 500  # type: ignore[arg-type]
    assert type(failure_of(TerminalError("x", status_code=HTTPStatus.NOT_FOUND)).code) is int
    assert failure_of(TerminalError("x", metadata={"n": 1})).metadata == {"n": "1"}  # type: ignore[dict-item]


def test_a_failure_whose_class_cannot_show_itself_is_told_anyway() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert failure_text(Broken()) == "Broken: (its text cannot be had: RuntimeError)"
    assert failure_text(KeyError()) == "KeyError"


# -- steps


def test_a_step_with_a_policy_of_its_own_gives_up_with_a_terminal_error_at_the_await() -> None:
    tries: list[int] = []

    def action() -> None:
        tries.append(bench.now - began)
        raise ValueError("no")

    async def run(ctx: Context) -> str:
        try:
            await ctx.run_typed(
                "x", action, RunOptions(max_attempts=3, initial_retry_interval=timedelta(milliseconds=10))
            )
        except TerminalError as error:
            return error.message
        return "?"

    bench = of_service(run)
    began = bench.now
    id_ = bench.call("run")
    for _ in range(10):
        bench.pass_time(10)
    assert tries == [0, 10, 30]
    assert bench.replies == {id_: "ValueError: no"}


def test_a_step_gives_up_when_its_time_is_over() -> None:
    async def run(ctx: Context) -> str:
        try:
            await ctx.run_typed("x", fail, RunOptions(max_duration=timedelta(seconds=1)))
        except TerminalError:
            return f"after {bench.now - began}"
        return "?"

    def fail() -> None:
        raise ValueError("no")

    bench = of_service(run)
    began = bench.now
    id_ = bench.call("run")
    for _ in range(300):
        bench.pass_time(10)
    assert bench.replies == {id_: "after 1550"}


def test_a_terminal_error_of_a_step_is_its_result() -> None:
    tries: list[int] = []

    def action() -> None:
        tries.append(1)
        raise TerminalError("no", 404, {"a": "b"})

    async def run(ctx: Context) -> Any:
        try:
            await ctx.run_typed("x", action)
        except TerminalError as error:
            caught = [error.status_code, error.message, error.metadata]
            await ctx.sleep(timedelta(seconds=1))
            return caught
        return "?"

    bench = of_service(run)
    id_ = bench.call("run")
    bench.crash()
    bench.pass_time(1000)
    assert bench.replies == {id_: [404, "no", {"a": "b"}]}
    assert tries == [1]


def test_a_step_without_a_policy_pauses_its_invocation_as_that_says() -> None:
    tries: list[int] = []

    def action() -> None:
        tries.append(1)
        raise ValueError("no")

    async def run(ctx: Context) -> None:
        await ctx.run_typed("x", action)

    bench = of_service(run, invocation_retry_policy=ms(max_attempts=2))
    id_ = bench.call("run")
    bench.pass_time(100)
    assert len(tries) == 2
    assert bench.live(id_).status == statuses.PAUSED
    assert "step 'x': ValueError: no" in bench.live(id_).last_failure


def test_failures_of_a_step_count_across_restarts_until_it_succeeds() -> None:
    """F26: a worker that starts again and again would otherwise never come to the end of the policy."""
    once = Service("Svc", invocation_retry_policy=InvocationRetryPolicy(max_attempts=4))
    works = False

    def flaky() -> int:
        if not works:
            raise ValueError("no")
        return 7

    @once.handler()
    async def run(ctx: Context, arg: object) -> None:
        await ctx.run_typed("x", flaky)
        raise RuntimeError("and then this")

    bench = Bench(once)
    id_ = bench.call("run", 1)
    bench.pass_time(50)
    assert bench.live(id_).attempts == 2
    bench.crash()
    assert bench.live(id_).attempts == 3
    works = True
    bench.pass_time(200)
    assert bench.live(id_).attempts == 1, "the step has come on: what follows has all attempts again"
    assert "and then this" in bench.live(id_).last_failure


def test_steps_started_together_run_once_each_though_the_attempt_fails_meanwhile() -> None:
    tries: list[str] = []
    attempts: list[int] = []

    async def run(ctx: Context) -> list[int]:
        attempts.append(1)
        one = ctx.run_typed("one", lambda: tries.append("one") or 1)
        two = ctx.run_typed("two", lambda: tries.append("two") or 2)
        if len(attempts) == 1:
            raise ValueError("no")
        return [await one, await two]

    bench = of_service(run)
    bench.steps_wait = True
    id_ = bench.call("run")
    assert len(bench.steps) == 2
    bench.run_step()
    bench.pass_time(50)
    assert len(attempts) == 2
    bench.run_step()
    bench.work()
    assert tries == ["one", "two"]
    assert bench.replies == {id_: [1, 2]}


def test_a_step_starts_when_everything_before_it_is_committed() -> None:
    """R12: of its own journal, and of its key."""

    async def run(ctx: ObjectContext, nap: bool) -> None:
        ctx.set("a", 1)
        if nap:
            await ctx.run_typed("x", lambda: None)

    made = VirtualObject("Obj")
    made.handler(name="run")(run)
    bench = Bench(made)
    bench.commits_wait = bench.steps_wait = True
    bench.call("run", False, key="a")  # runs at once, in the commit that is on its way
    assert len(bench.commits) == 1
    bench.call("run", True, key="a")
    assert bench.steps == []
    bench.commit()
    bench.work()
    assert bench.steps == []  # the first handler's write is committed, the second one's not
    bench.commit()
    bench.work()
    assert len(bench.steps) == 1


def test_a_result_of_a_step_is_delivered_after_its_commit() -> None:
    """R12."""
    seen: list[int] = []

    async def run(ctx: Context) -> None:
        seen.append(await ctx.run_typed("x", lambda: 5))
        await ctx.sleep(timedelta(hours=1))

    bench = of_service(run)
    bench.steps_wait = True
    bench.call("run")
    bench.commits_wait = True
    bench.run_step()
    bench.work()
    assert seen == []
    bench.commit()
    bench.work()
    assert seen == [5]


def test_a_step_whose_result_was_not_committed_runs_again_and_one_whose_was_does_not() -> None:
    """F4."""
    tries: list[str] = []

    async def run(ctx: Context) -> None:
        await ctx.run_typed("one", lambda: tries.append("one"))
        await ctx.run_typed("two", lambda: tries.append("two"))

    bench = of_service(run)
    bench.steps_wait = True
    id_ = bench.call("run")
    bench.run_step()
    bench.work()
    bench.commits_wait = True
    bench.run_step()
    bench.work()
    bench.commits_wait = bench.steps_wait = False
    bench.crash()
    assert tries == ["one", "two", "two"]
    assert bench.replies == {id_: None}


@pytest.mark.parametrize("size", [900_001])
def test_a_result_that_no_record_can_hold_is_a_terminal_error(size: int) -> None:
    """F23."""

    async def run(ctx: Context) -> str:
        return "x" * size

    bench = of_service(run)
    id_ = bench.call("run")
    assert bench.replies[id_].code == 500
    assert "more than 900000" in bench.replies[id_].message


def test_a_handlers_name_from_a_record_cannot_write_lines_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """F24: nobody here has such a handler, so the name is whatever somebody wrote into a record."""

    async def run(ctx: Context) -> None:
        """Is not called."""

    bench = of_service(run)
    with caplog.at_level(logging.WARNING, "barnabas.engine"):  # which the simulator silences where it was imported
        id_ = bench.call("ru\nERROR all is lost" + "x" * 1_000)
    assert "has no handler" in (bench.live(id_).last_failure or "")
    [message] = [message for message in caplog.messages if "failed its attempt" in message]
    assert "\n" not in message
    assert len(message) < 500
