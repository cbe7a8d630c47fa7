"""Calls and sends as an attempt makes them: ids, delays, idempotency keys, headers; and cancelling by a handle."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from barnabas import Context
from barnabas.contract.ids import InvocationId, idempotent_id, workflow_id
from barnabas.runtime import journal as j
from tests.unit.runtime.attempts import NOW, FakeHost, Run, check_replays


def messages(run: Run) -> list[tuple[Any, ...]]:
    return [one for one in run.host.asked if one[0] == "message"]


def one_send(**options: Any) -> Run:
    async def run(ctx: Context) -> str:
        handle = ctx.generic_send("Other", "add", b"1", **options)
        return await handle.invocation_id()

    return Run(run)


@pytest.mark.parametrize(
    ("delay", "due"),
    [
        (None, None),
        (timedelta(0), None),
        (timedelta(seconds=-5), None),
        (timedelta(milliseconds=0.2), None),
        (timedelta(milliseconds=1), NOW + 1),
        (timedelta(days=3650), NOW + 3650 * 86_400_000),
        (timedelta.max, 2**53 - 1),
    ],
)
def test_a_delay_is_a_due_time_and_a_bit_of_the_id(delay: timedelta | None, due: int | None) -> None:
    run = one_send(send_delay=delay)
    [(_, entry, position, payload, headers, asked, key)] = messages(run)
    assert (position, payload, headers, asked, key) == (1, b"1", None, due, None)
    assert InvocationId(entry[3]).delayed is (due is not None)
    assert run.value == f'"{InvocationId(entry[3])}"'.encode()
    check_replays(run)


def test_a_delay_that_is_no_timedelta_fails_the_attempt_before_anything_is_journaled() -> None:
    run = one_send(send_delay=5)
    assert "send_delay is a timedelta, not a int" in str(run.crashed)
    assert run.journal == []


def test_an_idempotency_key_decides_the_id_delayed_or_not() -> None:
    expected = idempotent_id("Other", "add", None, "k")
    for delay in (None, timedelta(hours=1)):
        run = one_send(idempotency_key="k", send_delay=delay)
        [(_, entry, *_, key)] = messages(run)
        assert (entry[3], key) == (expected, "k")
        assert not InvocationId(entry[3]).delayed


@pytest.mark.parametrize("handler", ["call", "send"])
@pytest.mark.parametrize(("key", "words"), [("", "must not be empty"), (7, "is a text, not a int")])
def test_an_idempotency_key_that_is_none_is_refused(handler: str, key: Any, words: str) -> None:
    async def run(ctx: Context) -> None:
        getattr(ctx, f"generic_{handler}")("Other", "add", b"1", idempotency_key=key)

    made = Run(run)
    assert words in str(made.crashed)
    assert made.journal == []


@pytest.mark.parametrize("key", [None, "k"])
def test_a_workflows_run_has_one_id_a_key(key: str | None) -> None:
    async def run(ctx: Context) -> None:
        ctx.generic_send("Flow", "run", b"", key="a", idempotency_key=key, send_delay=timedelta(hours=1))
        ctx.generic_send("Flow", "peek", b"", key="a", idempotency_key=key)

    host = FakeHost()
    host.kinds = {"Flow/run": "workflow", "Flow/peek": "shared"}
    made = Run(run, host=host)
    first, second = (one[1][3] for one in messages(made))
    assert first == workflow_id("Flow", "a")
    assert (second == idempotent_id("Flow", "peek", "a", "k")) is (key == "k")
    check_replays(made)


def test_the_id_is_read_from_the_journal_on_a_replay() -> None:
    run = one_send()
    recorded = b"z" * 24
    run.journal[0][3] = recorded
    assert run.again().value == f'"{InvocationId(recorded)}"'.encode()


@pytest.mark.parametrize(
    ("incoming", "given", "expected"),
    [
        ({"traceparent": "t", "x": "y"}, None, {"traceparent": "t"}),
        ({"traceparent": "t"}, {"a": "b"}, {"a": "b", "traceparent": "t"}),
        ({"traceparent": "t"}, {"Traceparent": "own"}, {"Traceparent": "own"}),
        ({"x": "y"}, None, None),
        ({"x": "y"}, {"a": "b"}, {"a": "b"}),
    ],
)
def test_of_the_request_headers_only_the_trace_goes_on(
    incoming: dict[str, str], given: dict[str, str] | None, expected: dict[str, str] | None
) -> None:
    async def run(ctx: Context) -> None:
        await ctx.generic_call("Other", "add", b"1", headers=given)

    made = Run(run, headers=incoming)
    [(_, _, _, _, headers, _, _)] = messages(made)
    assert headers == expected


def test_a_call_and_a_message_are_cancelled_by_their_handles_once() -> None:
    async def run(ctx: Context) -> None:
        call = ctx.generic_call("Other", "add", b"1")
        sent = ctx.generic_send("Other", "add", b"2")
        await call.cancel_invocation()
        await sent.cancel_invocation()
        ctx.cancel_invocation(await call.invocation_id())

    made = Run(run)
    call, sent = (entry[3] for entry in made.commands[:2])
    assert made.host.asked[2:] == [("cancel", call), ("cancel", sent), ("cancel", call)]
    assert made.commands[2:] == [[j.CANCEL, "", call], [j.CANCEL, "", sent], [j.CANCEL, "", call]]
    check_replays(made)
