"""The journal machine: an attempt that begins again does what the first one did, without doing it again."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from barnabas import (
    Context,
    InvocationRetryPolicy,
    NonDeterminismError,
    ObjectContext,
    RunOptions,
    Service,
    TerminalError,
    VirtualObject,
)
from barnabas.contract.ids import InvocationId, workflow_id
from barnabas.contract.records import Failure, Signal, SignalKind
from barnabas.runtime import journal as j
from barnabas.runtime import live as statuses
from barnabas.runtime.limits import Limits
from tests.unit.runtime.harness import Bench

Steps = list[str]


def target() -> Service:
    service = Service("Other")

    @service.handler()
    async def add(ctx: Context, value: int) -> int:
        return value

    @service.handler()
    async def take(ctx: Context, value: int) -> int:
        return value

    return service


def of_service(fn: Any, **settings: Any) -> Bench:
    """A bench with one service `Svc`, whose handler `run` is `fn`."""
    service = Service("Svc", **settings)
    service.handler(name="run")(fn)
    return Bench(service, target())


def of_object(fn: Any) -> Bench:
    made = VirtualObject("Obj")
    made.handler(name="run")(fn)
    return Bench(made, target())


def test_a_call_is_sent_once_however_often_the_handler_begins() -> None:
    async def run(ctx: Context) -> int:
        return int(await ctx.generic_call("Other", "add", b"1"))

    bench = of_service(run)
    id_ = bench.call("run")
    bench.crash()
    bench.crash()
    assert len(bench.sent) == 1
    bench.answer(bench.sent[0], 2)
    assert bench.replies == {id_: 2}


def test_a_call_that_was_answered_before_the_crash_is_not_sent_again() -> None:
    async def run(ctx: Context) -> int:
        first: bytes = await ctx.generic_call("Other", "add", b"1")
        second: bytes = await ctx.generic_call("Other", "add", first)
        return int(first) + int(second)

    bench = of_service(run)
    id_ = bench.call("run")
    bench.answer(bench.sent[0], 2)
    bench.crash()
    bench.answer(bench.sent[1], 40)
    assert [one.payload for one in bench.sent] == [b"1", b"2"]
    assert bench.replies[id_] == 42


def test_a_send_is_sent_once() -> None:
    async def run(ctx: Context) -> None:
        ctx.generic_send("Other", "add", b"1")
        await ctx.sleep(timedelta(seconds=1))

    bench = of_service(run)
    id_ = bench.call("run")
    bench.crash()
    bench.pass_time(1000)
    assert len(bench.sent) == 1
    assert bench.sent[0].caller is None
    assert bench.replies == {id_: None}


def test_a_step_runs_once_and_its_result_goes_through_the_serde_on_the_first_run_too() -> None:
    ran: Steps = []
    seen: list[Any] = []

    async def run(ctx: Context) -> None:
        def action() -> Any:
            ran.append("x")
            return (1, 2)

        seen.append(await ctx.run_typed("x", action))
        await ctx.sleep(timedelta(seconds=1))

    bench = of_service(run)
    bench.call("run")
    bench.crash()
    assert ran == ["x"]
    assert seen == [[1, 2], [1, 2]]  # a tuple comes back as a list, on the first run as on the second


def test_a_sleep_ends_at_its_first_due_time() -> None:
    async def run(ctx: Context) -> float:
        await ctx.sleep(timedelta(seconds=10))
        return await ctx.time()

    bench = of_service(run)
    id_ = bench.call("run")
    began = bench.now
    bench.pass_time(4000)
    bench.crash()
    bench.pass_time(5999)
    assert id_ not in bench.replies
    bench.pass_time(1)
    assert bench.replies[id_] == (began + 10_000) / 1000


def test_a_sleep_of_all_time_can_be_stored() -> None:
    async def run(ctx: Context) -> None:
        await ctx.sleep(timedelta.max)

    bench = of_service(run)
    id_ = bench.call("run")
    bench.crash()
    assert bench.live(id_).status == statuses.RUNNING


def test_state_is_read_as_it_was_and_written_once() -> None:
    seen: list[Any] = []

    async def run(ctx: ObjectContext) -> None:
        count = await ctx.get("count") or 0
        seen.append((count, await ctx.state_keys()))
        ctx.set("count", count + 1)
        ctx.clear("gone")
        await ctx.sleep(timedelta(seconds=1))
        seen.append(await ctx.get("count"))

    bench = of_object(run)
    bench.call("run", key="a")
    bench.crash()
    bench.pass_time(1000)
    assert seen == [(0, []), (0, []), 1]
    assert bench.stored("HGETALL", b"st:a") == {b"count": b"1"}


def test_random_uuid_and_time_are_stable_over_attempts_and_differ_between_invocations() -> None:
    seen: list[Any] = []

    async def run(ctx: Context) -> None:
        seen.append((ctx.random().random(), ctx.uuid(), await ctx.time()))
        await ctx.sleep(timedelta(hours=1))

    bench = of_service(run)
    bench.call("run")
    bench.pass_time(5)
    bench.crash()
    bench.call("run")
    first, again, other = seen
    assert first == again
    assert [a == b for a, b in zip(first, other, strict=True)] == [False, False, False]


def test_positions_follow_the_order_of_the_calls_and_not_of_the_awaits() -> None:
    async def run(ctx: Context) -> list[int]:
        one, two = ctx.generic_call("Other", "add", b"1"), ctx.generic_call("Other", "add", b"2")
        late = int(await two)
        return [int(await one), late]

    bench = of_service(run)
    id_ = bench.call("run")
    one, two = bench.sent
    bench.answer(one, 10)
    bench.crash()
    bench.answer(two, 20)
    assert bench.replies[id_] == [10, 20]


def test_a_future_may_be_awaited_again() -> None:
    async def run(ctx: Context) -> list[int]:
        future = ctx.run_typed("x", lambda: 7)
        return [await future, await future]

    bench = of_service(run)
    id_ = bench.call("run")
    assert bench.replies[id_] == [7, 7]


def test_a_failed_call_raises_its_terminal_error_on_every_attempt() -> None:
    seen: list[Any] = []

    async def run(ctx: Context) -> None:
        try:
            await ctx.generic_call("Other", "add", b"1")
        except TerminalError as error:
            seen.append((error.status_code, error.message, error.metadata))
        await ctx.sleep(timedelta(hours=1))

    bench = of_service(run)
    bench.call("run")
    bench.answer(bench.sent[0], failure=Failure(404, "not here", {"a": "b"}))
    bench.crash()
    assert seen == [(404, "not here", {"a": "b"})] * 2


def test_a_result_of_another_call_at_the_position_is_dropped_and_counted() -> None:
    """R9, F64."""

    async def run(ctx: Context) -> Any:
        return int(await ctx.generic_call("Other", "add", b"1"))

    bench = of_service(run)
    id_ = bench.call("run")
    call = bench.sent[0]
    assert call.caller is not None
    wrong = Signal(SignalKind.COMPLETION, id_, call.caller.position, bytes(InvocationId(b"x" * 24)), b"666")
    bench.signal(wrong)
    assert bench.engine.counts["results dropped"] == 1
    bench.answer(call, 5)
    bench.answer(call, 6)  # a second answer finds nobody
    assert bench.replies[id_] == 5


def test_a_result_for_a_suspended_caller_is_found_though_one_of_another_call_came_before() -> None:
    """R9: while the journal is in the store alone, two results for one position are told apart by their calls."""

    async def run(ctx: Context) -> Any:
        return int(await ctx.generic_call("Other", "add", b"1"))

    bench = of_service(run)
    id_ = bench.call("run")
    call = bench.sent[0]
    assert call.caller is not None
    suspend(bench)
    bench.reads_wait = True
    wrong = Signal(SignalKind.COMPLETION, id_, call.caller.position, b"x" * 24, b"666")
    bench.signal(wrong)
    [question] = bench.reads
    read_before = bench.journal(id_)
    bench.answer(call, 5)
    bench.engine.on_invocation_loaded(question.live, bench.stored("HGET", b"in", id_), read_before)
    bench.work()
    assert bench.replies[id_] == 5


def suspend(bench: Bench) -> None:
    bench.pass_time(bench.limits.inactivity_ms)
    bench.engine.tidy()
    bench.work()
    bench.engine.tidy()


# -- non-determinism (F29)


def versions(*bodies: Any) -> tuple[Bench, list[int]]:
    """A handler that does another thing from each deployment to the next (`current[0]` says which)."""
    current = [0]

    async def run(ctx: ObjectContext) -> Any:
        return await bodies[current[0]](ctx)

    made = VirtualObject("Obj")
    made.handler(name="run", invocation_retry_policy=InvocationRetryPolicy(max_attempts=2))(run)

    @made.handler()
    async def other(ctx: ObjectContext) -> str:
        return "fine"

    return Bench(made, target()), current


async def add_then_sleep(ctx: ObjectContext) -> None:
    ctx.generic_send("Other", "add", b"1")
    await ctx.sleep(timedelta(hours=1), "nap")


async def one_more(ctx: ObjectContext) -> None:
    ctx.set("extra", 1)
    await add_then_sleep(ctx)


async def one_less(ctx: ObjectContext) -> None:
    await ctx.sleep(timedelta(hours=1), "nap")


async def reordered(ctx: ObjectContext) -> None:
    sleep = ctx.sleep(timedelta(hours=1), "nap")
    ctx.generic_send("Other", "add", b"1")
    await sleep


async def renamed(ctx: ObjectContext) -> None:
    ctx.generic_send("Other", "add", b"1")
    await ctx.sleep(timedelta(hours=1), "rest")


async def other_target(ctx: ObjectContext) -> None:
    ctx.generic_send("Other", "take", b"1")
    await ctx.sleep(timedelta(hours=1), "nap")


async def ends_early(ctx: ObjectContext) -> None:
    ctx.generic_send("Other", "add", b"1")


async def fails_early(ctx: ObjectContext) -> None:
    ctx.generic_send("Other", "add", b"1")
    raise TerminalError("out of stock")


async def waits_early(ctx: ObjectContext) -> None:
    await ctx.generic_call("Other", "add", b"1")


@pytest.mark.parametrize(
    ("now", "recorded", "does"),
    [
        (one_more, "send Other/add", "set state 'extra'"),
        (one_less, "send Other/add", "sleep 'nap'"),
        (reordered, "send Other/add", "sleep 'nap'"),
        (renamed, "sleep 'nap'", "sleep 'rest'"),
        (other_target, "send Other/add", "send Other/take"),
        (ends_early, "sleep 'nap'", "end of the handler"),
        (fails_early, "sleep 'nap'", "end with the error 'out of stock'"),
        (waits_early, "send Other/add", "call Other/add"),
    ],
)
def test_a_handler_that_departs_from_its_journal_is_stopped_before_any_effect(
    now: Any, recorded: str, does: str
) -> None:
    """F29: both sides are named, it is tried again and then paused, other keys go on, and going back heals it."""
    bench, current = versions(add_then_sleep, now)
    id_ = bench.call("run", key="a")
    before = len(bench.sent)
    current[0] = 1
    bench.crash()
    live = bench.live(id_)
    assert live.status == statuses.BACKING_OFF
    assert recorded in live.last_failure
    assert does in live.last_failure
    assert NonDeterminismError.__name__ in live.last_failure
    bench.pass_time(60_000)
    assert live.status == statuses.PAUSED
    assert len(bench.sent) == before
    assert bench.stored("HGETALL", b"st:a") == {}
    other = bench.call("other", key="b")
    assert bench.replies == {other: "fine"}


def test_a_journal_that_goes_on_where_the_handler_waits_is_non_determinism() -> None:
    async def two(ctx: ObjectContext) -> None:
        first = ctx.generic_call("Other", "add", b"1")
        ctx.generic_send("Other", "add", b"2")
        await first

    async def one(ctx: ObjectContext) -> None:
        await ctx.generic_call("Other", "add", b"1")

    bench, current = versions(two, one)
    id_ = bench.call("run", key="a")
    current[0] = 1
    bench.crash()
    assert "at position 2 the journal has 'send Other/add'" in bench.live(id_).last_failure
    assert "wait for position 1" in bench.live(id_).last_failure


def test_a_handler_that_goes_back_to_what_the_journal_says_is_healed() -> None:
    bench, current = versions(add_then_sleep, one_less)
    id_ = bench.call("run", key="a")
    current[0] = 1
    bench.crash()
    current[0] = 0
    bench.pass_time(60)
    bench.pass_time(3_600_000)
    assert id_ in bench.replies


def test_what_a_handler_does_after_it_swallowed_the_suspension_is_discarded() -> None:
    """F28."""

    async def run(ctx: ObjectContext) -> str:
        try:
            await ctx.sleep(timedelta(hours=1))
        except BaseException:
            ctx.set("wrong", 1)
            return "wrong"
        return "right"

    bench = of_object(run)
    id_ = bench.call("run", key="a")
    suspend(bench)
    assert bench.live(id_).status == statuses.SUSPENDED
    assert bench.replies == {}
    bench.pass_time(3_600_000)
    assert bench.replies == {id_: "right"}
    assert bench.stored("HGETALL", b"st:a") == {}


def test_what_a_handler_does_after_it_swallowed_a_difference_is_discarded() -> None:
    async def swallows(ctx: ObjectContext) -> str:
        with contextlib.suppress(BaseException):
            ctx.set("wrong", 1)
        return "wrong"

    bench, current = versions(add_then_sleep, swallows)
    id_ = bench.call("run", key="a")
    current[0] = 1
    bench.crash()
    assert bench.replies == {}
    assert "NonDeterminismError" in bench.live(id_).last_failure


@pytest.mark.parametrize("error", [ValueError("cleanup"), KeyError(1)])
def test_a_finally_block_that_raises_at_a_suspension_harms_nobody(error: Exception) -> None:
    async def run(ctx: ObjectContext) -> str:
        try:
            await ctx.sleep(timedelta(hours=1))
        finally:
            ctx.set("busy", False)
            raise error

    bench = of_object(run)
    id_ = bench.call("run", key="a")
    suspend(bench)
    assert bench.live(id_).status == statuses.SUSPENDED


def test_a_call_to_a_service_that_is_gone_is_still_replayed() -> None:
    """Who a message goes to is looked up when it is sent; what was sent is in the journal."""

    async def run(ctx: Context) -> int:
        return int(await ctx.generic_call("Other", "add", b"1"))

    bench = of_service(run)
    id_ = bench.call("run")
    del bench.directory.services["Other"]
    bench.crash()
    bench.answer(bench.sent[0], 3)
    assert bench.replies[id_] == 3


def test_a_message_that_cannot_be_encoded_is_refused_before_it_is_journaled() -> None:
    async def run(ctx: Context) -> str:
        try:
            ctx.generic_send("Other", "add", b"1", headers={"a": 1})  # type: ignore[dict-item]
        except TypeError:
            return str(await ctx.run_typed("x", lambda: "refused"))
        return "sent"

    bench = of_service(run)
    id_ = bench.call("run")
    assert bench.replies[id_] == "refused"


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb"])
def test_a_name_without_an_encoded_form_fails_the_attempt_and_nothing_else(name: str) -> None:
    """F55: a commit that could not be encoded would stop every other invocation of the shard."""

    async def run(ctx: ObjectContext) -> None:
        ctx.set(name, 1)

    bench = of_object(run)
    id_ = bench.call("run", key="a")
    assert bench.live(id_).status == statuses.BACKING_OFF
    assert "UnicodeEncodeError" in bench.live(id_).last_failure


def test_a_journal_that_is_full_ends_the_invocation() -> None:
    """F51."""

    async def run(ctx: Context) -> None:
        while True:
            ctx.generic_send("Other", "add", b"1")

    service = Service("Svc")
    service.handler(name="run")(run)
    bench = Bench(service, target(), limits=Limits(journal_entries=10))
    id_ = bench.call("run")
    assert bench.replies[id_].code == 413
    assert len(bench.sent) == 10


def test_the_options_of_a_step_are_checked_when_it_is_issued() -> None:
    async def run(ctx: Context) -> str:
        with pytest.raises(ValueError, match="max_attempts"):
            ctx.run_typed("x", lambda: 1, RunOptions(max_attempts=0))
        return "refused"

    bench = of_service(run)
    id_ = bench.call("run")
    assert bench.replies[id_] == "refused"


def test_same_command_compares_kind_name_and_key() -> None:
    assert j.same_command([j.CALL, "S/h", "k", b"1"], [j.CALL, "S/h", "k", b"2"])
    assert not j.same_command([j.CALL, "S/h", "k", b"1"], [j.CALL, "S/h", "l", b"1"])
    assert not j.same_command([j.CALL, "S/h", None, b"1"], [j.SEND, "S/h", None, b"1"])
    assert j.same_command([j.GET, "a", b"1"], [j.GET, "a", b"2"])


SCRIPT = """
import sys, json
from datetime import timedelta
from barnabas import VirtualObject
from tests.unit.runtime.harness import Bench
from tests.unit.runtime.test_replay import target
obj = VirtualObject("Obj")
@obj.handler()
async def run(ctx):
    ctx.set("b", {"z": 1, "a": ctx.random().random()})
    ctx.set("a", str(ctx.uuid()))
    names = await ctx.state_keys()
    ctx.generic_send("Other", "add", json.dumps(names).encode())
    return [names, await ctx.run_typed("x", lambda: sorted({"charge", "ship", "email"}))]
bench = Bench(obj, target())
bench.call("run", key="k", id_=bytes.fromhex(sys.argv[1]))
out = [bytes(record.value).hex() for _, record in bench.produced]
state = sorted(bench.stored("HGETALL", b"st:k").items())
lease = bench.tenure.lease.hex()
print(json.dumps([out, repr(state), lease]))
"""


def test_a_journal_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    """F50, K6."""
    root = Path(__file__).parents[3]
    id_ = bytes(workflow_id("Obj", "k")).hex()
    outputs = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{root / 'worker'}:{root}"}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, id_], env=environment, capture_output=True, text=True, check=True, cwd=root
        )
        outputs.add(done.stdout)
    assert len(outputs) == 1
