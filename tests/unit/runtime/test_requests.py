"""Repeats, attaches, workflows, starts at a time, and signals about what this shard has sent: R6, R7, R10, R13."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from barnabas import Context, ObjectContext, Service, VirtualObject, Workflow, WorkflowContext, WorkflowSharedContext
from barnabas.contract import codec
from barnabas.contract.ids import idempotent_id, random_id, workflow_id
from barnabas.contract.records import Caller, Failure, Invocation, ReplyTo, Signal, SignalKind
from barnabas.runtime import live as states_of
from barnabas.runtime.keeping import CLOCK_SLACK_MS
from barnabas.runtime.sender import STRANDED_MS
from barnabas.runtime.signals import GRACE_MS
from barnabas.store import keys
from tests.unit.runtime.harness import NAMES, Bench

DAY = 24 * 3600 * 1000

svc = Service("Svc")
obj = VirtualObject("Obj")
flow = Workflow("Flow")
other = Service("Other")
runs: list[str] = []


@svc.handler()
async def count(ctx: Context, n: int) -> int:
    runs.append("count")
    return n


@svc.handler()
async def naps(ctx: Context, n: int) -> int:
    await ctx.sleep(timedelta(minutes=1))
    return n


@svc.handler()
async def cancels_its_own(ctx: Context) -> None:
    handle = ctx.generic_send("Other", "add", b"1")
    ctx.cancel_invocation(await handle.invocation_id())
    ctx.generic_send("Other", "add", b"2")


@svc.handler()
async def attaches(ctx: Context, id_: str) -> int | None:
    return await ctx.attach_invocation(id_, type_hint=int)


@other.handler()
async def add(ctx: Context, n: int) -> int:
    return n


@obj.handler()
async def note(ctx: ObjectContext, text: str) -> list[str]:
    notes = (await ctx.get("notes", type_hint=list[str]) or []) + [text]
    ctx.set("notes", notes)
    return notes


@flow.main()
async def run(ctx: WorkflowContext, n: int) -> int:
    ctx.set("n", n)
    approved = await ctx.promise("approved", type_hint=int)
    return n + approved


@flow.handler()
async def approve(ctx: WorkflowSharedContext, n: int) -> None:
    await ctx.promise("approved").resolve(n)


@flow.handler()
async def peek(ctx: WorkflowSharedContext) -> list[Any]:
    return [await ctx.get("n", type_hint=int), await ctx.promise("approved").peek()]


def request(
    handler: str,
    arg: Any,
    client: str,
    *,
    key: str | None = None,
    idempotency_key: str | None = "once",
    due: int | None = None,
) -> Invocation:
    service = "Obj" if key else "Svc"
    id_ = random_id(service, key) if idempotency_key is None else idempotent_id(service, handler, key, idempotency_key)
    return Invocation(
        id_, service, handler, key, json.dumps(arg).encode(), {}, None, ReplyTo(client, b"1"), idempotency_key, due
    )


def outcomes(bench: Bench) -> dict[str, Any]:
    """What each client was told last."""
    found = [codec.decode_reply(record.value) for _, record in bench.produced if record.topic == NAMES.replies]
    return {one.client: one.failure or json.loads(one.result or b"null") for one in found}


# -- idempotency keys


def test_one_execution_in_flight_and_after_and_after_a_crash() -> None:
    """F20."""
    bench = Bench(svc, other)
    bench.feed(request("naps", 1, "a"), request("naps", 2, "b"))
    bench.pass_time(60_000)
    assert outcomes(bench) == {"a": 1, "b": 1}
    bench.feed(request("naps", 3, "c"))
    bench.crash()
    bench.feed(request("naps", 4, "d"))
    assert outcomes(bench) == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_a_repeat_before_the_commit_of_the_first_outcome() -> None:
    bench = Bench(svc, other)
    bench.commits_wait = True
    runs.clear()
    bench.feed(request("count", 1, "a"))
    bench.feed(request("count", 2, "b"))
    bench.commit()
    bench.work()
    bench.commit()
    bench.work()
    assert outcomes(bench) == {"a": 1, "b": 1}
    assert runs == ["count"]


def test_outcomes_expire_when_the_topic_was_read_past_their_time() -> None:
    """R13, F66: a repeat in a backlog older than the retention finds the outcome."""
    bench = Bench(svc, other)
    bench.feed(request("count", 1, "a"))
    appended = bench.now
    bench.hidden = 2  # written now, and read a long time later
    bench.pass_time(DAY + CLOCK_SLACK_MS + 1)
    bench.engine.tidy()
    bench.work()
    bench.hidden = 1
    repeat = bench.record(request("count", 2, "b"))._replace(timestamp=appended + 1)
    bench.feed_records([repeat])
    assert outcomes(bench)["b"] == 1
    bench.hidden = 0
    bench.feed_records([bench.record(request("count", 5, "z", idempotency_key=None))])  # appended now: a day later
    bench.engine.tidy()
    bench.work()
    assert bench.stored("HGETALL", keys.KEPT) == {}
    assert bench.stored("ZRANGE", keys.EXPIRY, 0, -1) == []
    bench.feed(request("count", 3, "c"))
    assert outcomes(bench)["c"] == 3


def test_outcomes_expire_in_a_partition_where_nothing_happens() -> None:
    """R13: the end of the topic, confirmed, is as good as a record."""
    bench = Bench(svc, other)
    bench.feed(request("count", 1, "a"))
    bench.crash()
    bench.pass_time(DAY)
    bench.engine.tidy()
    bench.work()
    assert len(bench.stored("HGETALL", keys.KEPT)) == 1
    bench.pass_time(2 * CLOCK_SLACK_MS)
    for _ in range(2):
        bench.engine.tidy()
        bench.work()
    assert bench.stored("HGETALL", keys.KEPT) == {}


# -- attach


def attach(bench: Bench, id_: bytes, client: str) -> None:
    bench.signal(Signal(SignalKind.ATTACH, id_, reply_to=ReplyTo(client, b"1")))


def test_attach_before_during_and_after() -> None:
    """F36, R7."""
    bench = Bench(svc, other)
    first = request("naps", 7, "a")
    bench.hidden = 1
    attach(bench, first.id, "early")
    bench.hidden = 0
    bench.feed(first)
    attach(bench, first.id, "during")
    attach(bench, first.id, "during")
    bench.pass_time(60_000)
    attach(bench, first.id, "after")
    bench.crash()
    attach(bench, first.id, "later")
    assert outcomes(bench) == dict.fromkeys(("a", "early", "during", "after", "later"), 7)


def test_attach_to_a_plain_one_while_it_is_kept() -> None:
    bench = Bench(svc, other)
    id_ = bench.call("count", 3)
    attach(bench, id_, "after")
    assert outcomes(bench)["after"] == 3


def test_attach_to_what_never_was_is_answered() -> None:
    bench = Bench(svc, other)
    attach(bench, random_id("Svc", None), "lost")
    assert outcomes(bench) == {}
    bench.pass_time(GRACE_MS)
    assert outcomes(bench)["lost"].code == 404


def test_a_handler_attaches() -> None:
    bench = Bench(svc, other)
    target = random_id("Other", None)
    id_ = bench.call("attaches", str(target))
    [signal] = bench.signals
    assert (signal.kind, signal.invocation) == (SignalKind.ATTACH, target)
    assert signal.caller is not None
    bench.signal(Signal(SignalKind.COMPLETION, id_, signal.caller.position, target, b"5"))
    assert bench.replies == {id_: 5}


# -- workflows


def submit(client: str, n: int, due: int | None = None) -> Invocation:
    id_ = workflow_id("Flow", "w")
    return Invocation(id_, "Flow", "run", "w", json.dumps(n).encode(), {}, None, ReplyTo(client, b"1"), None, due)


def test_a_workflow_runs_once_and_later_submissions_are_refused() -> None:
    bench = Bench(flow)
    bench.feed(submit("a", 1))
    bench.feed(submit("b", 2))
    bench.feed(submit("a", 1))  # the first one's record, a second time
    bench.call("approve", 40, key="w")
    assert outcomes(bench)["a"] == 41
    assert outcomes(bench)["b"].code == 409
    bench.crash()
    bench.feed(submit("c", 3))
    bench.feed(submit("a", 1))
    attach(bench, workflow_id("Flow", "w"), "d")
    found = outcomes(bench)
    assert (found["a"], found["c"].code, found["d"]) == (41, 409, 41)


def test_handlers_of_a_workflow_before_during_and_after_its_run() -> None:
    bench = Bench(flow)
    before = bench.call("peek", key="w")
    bench.call("approve", 2, key="w")
    assert bench.replies[before] == [None, None]
    resolved = bench.call("peek", key="w")
    assert bench.replies[resolved] == [None, 2]
    bench.feed(submit("a", 1))
    assert outcomes(bench)["a"] == 3
    bench.crash()
    after = bench.call("peek", key="w")
    assert bench.replies[after] == [1, 2]
    again = bench.call("approve", 5, key="w")
    assert bench.replies[again].code == 409


def test_a_workflow_goes_with_its_retention() -> None:
    bench = Bench(flow)
    bench.call("approve", 2, key="w")
    bench.feed(submit("a", 1))
    bench.pass_time(DAY + 1)
    bench.call("peek", key="elsewhere")
    bench.engine.tidy()
    bench.work()
    for what in (keys.KEPT, keys.state("w"), keys.promises("w")):
        assert bench.stored("HGETALL", what) == {}
    peeked = bench.call("peek", key="w")
    assert bench.replies[peeked] == [None, None]
    bench.feed(submit("b", 5))
    assert "b" not in outcomes(bench), "it runs again, and waits"


def test_a_suspended_run_is_woken_by_its_promise() -> None:
    bench = Bench(flow)
    bench.feed(submit("a", 1))
    bench.crash()
    bench.pass_time(61_000)
    bench.engine.tidy()
    bench.work()
    assert bench.live(workflow_id("Flow", "w")).status == states_of.SUSPENDED
    bench.call("approve", 2, key="w")
    assert outcomes(bench)["a"] == 3


def test_whoever_calls_a_workflow_by_its_names_alone_gets_the_one_run() -> None:
    bench = Bench(flow)
    bench.call("approve", 2, key="w")
    id_ = bench.call("run", 1, key="w")
    assert id_ != workflow_id("Flow", "w")
    assert bench.replies[workflow_id("Flow", "w")] == 3


# -- starts at a time, where the id comes from the request


def test_a_scheduled_request_waits_in_its_shard_and_can_be_attached_to_and_cancelled() -> None:
    bench = Bench(obj)
    due = bench.now + 10_000
    bench.feed(request("note", "later", "a", key="k", due=due))
    bench.feed(request("note", "ignored", "b", key="k"))
    assert bench.live(request("note", "", "", key="k").id).status == states_of.SCHEDULED
    now = bench.call("note", "now", key="k")
    assert bench.replies[now] == ["now"]
    bench.crash()
    bench.pass_time(9_999)
    assert outcomes(bench).keys() == {"client"}
    bench.pass_time(1)
    assert outcomes(bench) == {"client": ["now"], "a": ["now", "later"], "b": ["now", "later"]}
    second = request("note", "never", "c", key="k", idempotency_key="other", due=bench.now + 1)
    bench.feed(second)
    bench.signal(Signal(SignalKind.CANCEL, second.id))
    bench.pass_time(1_000)
    assert outcomes(bench)["c"] == Failure(409, "cancelled")


def test_scheduled_requests_of_a_key_run_in_order_of_their_due_time() -> None:
    bench = Bench(obj)
    for text, delay in (("third", 30), ("first", 10), ("second", 20)):
        bench.feed(request("note", text, text, key="k", idempotency_key=text, due=bench.now + delay))
    bench.crash()
    bench.pass_time(1_000)
    assert outcomes(bench)["third"] == ["first", "second", "third"]


# -- signals about what this shard has sent (R6)


def test_a_client_hears_of_what_was_sent_once_it_is_there() -> None:
    """It may have been given the id, and ask for it at once: found by calling and attaching a thousand times."""
    service = Service("Svc")

    @service.handler()
    async def sends(ctx: Context) -> str:
        first = ctx.generic_send("Other", "add", b"1")
        ctx.generic_send("Other", "add", b"2")
        return await first.invocation_id()

    bench = Bench(service, other)
    bench.acks_wait = True
    id_ = bench.call("sends")
    assert (len(bench.sent), bench.replies) == (2, {})
    bench.tenure.on_session_over()  # which produces everything again, from the head
    bench.work()
    assert bench.replies == {}
    numbers = {number for number, record in bench.produced if record.topic == NAMES.invocations("Other")}
    first, second = sorted(numbers)
    bench.engine.on_delivered([second])
    bench.work()
    assert bench.replies == {}
    bench.engine.on_delivered([first])
    bench.work()
    assert bench.replies.keys() == {id_}


def test_what_arrives_while_it_was_unknown_is_found_after_all() -> None:
    bench = Bench(svc, other)
    late = request("count", 7, "late")
    attach(bench, late.id, "early")
    bench.pass_time(GRACE_MS - 1)
    bench.feed(late)
    bench.pass_time(GRACE_MS)
    assert outcomes(bench) == {"early": 7, "late": 7}


def test_a_cancel_of_a_send_of_ones_own_goes_after_it() -> None:
    bench = Bench(svc, other)
    bench.acks_wait = True
    bench.call("cancels_its_own")
    first, second = bench.sent
    assert bench.signals == []
    bench.crash()
    assert bench.signals == [], "still not acknowledged"
    numbers = [number for number, record in bench.produced if record.topic == NAMES.invocations("Other")]
    bench.engine.on_delivered(numbers[:1])
    bench.work()
    [signal] = bench.signals
    assert (signal.kind, signal.invocation) == (SignalKind.CANCEL, first.id)
    assert signal.label is not None
    assert second.label is not None
    assert signal.label.number > second.label.number, "numbered when it goes: a later entry must not hide it"
    assert bench.stored("HGETALL", keys.DEFERRED) == {}


def test_a_deferred_cancel_outlives_a_crash_after_the_acknowledgement() -> None:
    bench = Bench(svc, other)
    bench.acks_wait = bench.commits_wait = True
    bench.call("cancels_its_own")
    bench.commit()
    bench.work()
    numbers = [number for number, record in bench.produced if record.topic == NAMES.invocations("Other")]
    bench.engine.on_delivered(numbers)
    bench.work()
    bench.crash()  # before the commit that would have taken the cancel into the outbox
    bench.commits_wait = bench.acks_wait = False
    bench.tenure.on_session_over()
    bench.work()
    assert [signal.kind for signal in bench.signals] == [SignalKind.CANCEL]


def test_a_result_for_a_service_that_is_not_known_yet_waits_for_it() -> None:
    """A service that has just been deployed calls, and whoever it calls has not read the registry since."""
    bench = Bench(svc, other)
    known = bench.directory.services.pop("Other")
    caller = random_id("Other", None)
    waiter = Caller(caller, "Other", caller.service_partition_key, 1)
    bench.feed(Invocation(random_id("Svc", None), "Svc", "count", None, b"5", {}, waiter))
    assert (bench.signals, bench.dead_letters) == ([], [])
    bench.crash()
    bench.pass_time(1_000)
    bench.engine.tidy()
    bench.work()
    assert bench.signals == []
    bench.directory.services["Other"] = known
    bench.engine.tidy()
    bench.work()
    [signal] = bench.signals
    assert (signal.kind, signal.invocation, signal.result) == (SignalKind.COMPLETION, caller, b"5")
    assert bench.stored("HGETALL", keys.DEFERRED) == {}


def test_a_result_for_a_service_that_never_comes_becomes_a_dead_letter() -> None:
    bench = Bench(svc, other)
    bench.directory.services.pop("Other")
    caller = random_id("Other", None)
    waiter = Caller(caller, "Other", caller.service_partition_key, 1)
    bench.feed(Invocation(random_id("Svc", None), "Svc", "count", None, b"5", {}, waiter))
    bench.engine.tidy()
    bench.pass_time(STRANDED_MS + 1)
    bench.engine.tidy()
    bench.work()
    [letter] = bench.dead_letters
    assert letter.reason == "unaddressed"
    assert bench.stored("HGETALL", keys.DEFERRED) == {}


def test_callers_position_is_part_of_who_waits() -> None:
    bench = Bench(svc, other)
    caller = random_id("Other", None)
    for position in (1, 2):
        waiter = Caller(caller, "Other", caller.service_partition_key, position)
        bench.feed(Invocation(request("naps", 1, "x").id, "Svc", "naps", None, b"1", {}, waiter, None, "once"))
    bench.pass_time(60_000)
    assert sorted(signal.position or 0 for signal in bench.signals) == [1, 2]
