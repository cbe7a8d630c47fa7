"""What code beside the handler sees of its attempt: log filters, the current context, and no trace afterwards."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

import barnabas as restate
from barnabas import Context
from barnabas.extensions import contextvar, current_context
from tests.unit.runtime.attempts import Run, TaskRun


def log(line: str) -> None:
    restate.getLogger("users").info(line)


async def logs(ctx: Context) -> None:
    log("begun")
    await ctx.sleep(timedelta(seconds=1))
    log("slept")
    await ctx.sleep(timedelta(seconds=1))
    log("slept again")


def test_a_replay_logs_nothing_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "users")
    run = Run(logs)
    run.put(run.result(1, b""))
    again = run.again()
    again.put(again.result(2, b""))
    assert caplog.messages == ["begun", "slept", "slept again"]
    run.attempt.drop()


async def test_nor_does_one_that_is_a_task(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "users")
    run = await TaskRun(logs).idle()
    run.put(run.result(1, b""))
    await run.idle()
    again = TaskRun(logs, run.journal)
    await again.idle()
    again.put(again.result(2, b""))
    await again.idle()
    assert caplog.messages == ["begun", "slept", "slept again"]
    run.attempt.drop()
    await asyncio.sleep(0)


def test_lines_from_outside_of_handlers_pass(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "users")
    log("outside")
    assert caplog.messages == ["outside"]
    filters = logging.getLogger("users").filters
    assert [type(one) for one in filters] == [restate.RestateLoggingFilter]  # however often it was asked for


def test_the_current_context_is_the_handlers_own() -> None:
    seen: list[Any] = []

    async def run(ctx: Context) -> None:
        seen.append(current_context() is ctx)
        await ctx.sleep(timedelta(seconds=1))
        seen.append(current_context() is ctx)

    first, second = Run(run), Run(run)
    assert current_context() is None
    first.put(first.result(1, b""))
    second.put(second.result(1, b""))
    assert seen == [True] * 4


def test_what_a_context_manager_yields_is_found_where_it_was_entered() -> None:
    @contextvar
    @asynccontextmanager
    async def resource(name: str) -> AsyncIterator[str]:
        yield name

    async def run(ctx: Context) -> list[str]:
        async with resource("outer"):
            await ctx.sleep(timedelta(seconds=1))
            async with resource("inner"):
                inner = resource.value
            return [inner, resource.value]

    made = Run(run)
    made.put(made.result(1, b""))
    assert made.value == b'["inner","outer"]'
    with pytest.raises(LookupError, match="not been entered"):
        _ = resource.value


@pytest.mark.parametrize("ends", ["finished", "finished after a wait", "dropped"])
def test_an_attempt_that_is_over_leaves_no_cycle_to_collect(ends: str) -> None:
    """A hundred thousand of them a second would keep the garbage collector busy."""

    async def run(ctx: Context) -> int:
        if ends != "finished":
            await ctx.sleep(timedelta(seconds=1))
        return 1

    class Kept:
        pass

    gc.collect()
    gc.disable()
    try:
        made = Run(run)
        if ends == "finished after a wait":
            made.put(made.result(1, b""))
        made.attempt.drop()
        kept = Kept()
        made.live.headers = {"x": kept}  # type: ignore[dict-item]  # attempts and invocations take no weak reference
        gone = weakref.ref(kept)
        del made, kept
        assert gone() is None
    finally:
        gc.enable()
