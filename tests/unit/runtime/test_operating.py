"""What people do to invocations and to state, and what they are told: the table in docs/design/doors.md."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from barnabas import Context, ObjectContext, RunOptions, Service, VirtualObject, Workflow, WorkflowContext
from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, idempotent_id, random_id, workflow_id
from barnabas.contract.records import Failure, Invocation, ReplyTo, Signal, SignalKind
from barnabas.runtime import live as states_of
from barnabas.runtime.operating import STATE_PATCH, state_version
from barnabas.runtime.signals import GRACE_MS
from barnabas.store import keys
from tests.unit.runtime.harness import NAMES, Bench

svc = Service("Svc")
obj = VirtualObject("Obj")
flow = Workflow("Flow")

seen: list[str] = []


@svc.handler()
async def naps(ctx: Context) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "slept"


@svc.handler()
async def draws(ctx: Context, text: str) -> list[Any]:
    first = await ctx.run_typed("first", lambda: seen.append("first") or "one")  # type: ignore[func-returns-value]
    second = await ctx.run_typed("second", lambda: seen.append("second") or "two")  # type: ignore[func-returns-value]
    return [text, first, second, ctx.request().headers.get("h"), ctx.random().random()]


@svc.handler()
async def stumbles(ctx: Context) -> str:
    def action() -> str:
        seen.append("tried")
        if len(seen) == 1:
            raise RuntimeError("not yet")
        return "stepped"

    return await ctx.run_typed("step", action, RunOptions(max_attempts=5))


@svc.handler()
async def hears(ctx: Context) -> list[Any]:
    await ctx.run_typed("step", lambda: None)
    return [await ctx.signal("a"), await ctx.signal("a"), await ctx.signal("a")]


@svc.handler()
async def fails(ctx: Context) -> None:
    raise RuntimeError("no")


@obj.handler()
async def holds(ctx: ObjectContext) -> str:
    await ctx.sleep(timedelta(hours=1))
    return "held"


@obj.handler()
async def put(ctx: ObjectContext, value: int) -> int | None:
    before = await ctx.get("value", type_hint=int)
    ctx.set("value", value)
    return before


@flow.main()
async def run(ctx: WorkflowContext) -> int:
    ctx.set("ran", 1)
    return 1


def ask(bench: Bench, kind: SignalKind, id_: bytes, *, work: bool = True, **fields: Any) -> Any:
    """The status that the one who asks is told: a number, or what the failure says."""
    bench.signal(Signal(kind, id_, reply_to=ReplyTo("admin", b"1"), **fields), work=work)
    if id_ in bench.engine.parked:
        bench.pass_time(GRACE_MS)
    return told(bench)


def told(bench: Bench) -> Any:
    replies = [codec.decode_reply(record.value) for _, record in bench.produced if record.topic == NAMES.replies]
    mine = [reply for reply in replies if reply.client == "admin"]
    if not mine:
        return None
    reply = mine[-1]
    return reply.failure.code if reply.failure is not None else json.loads(reply.result or b"")["status"]


EVERY = [
    SignalKind.CANCEL,
    SignalKind.KILL,
    SignalKind.PAUSE,
    SignalKind.RESUME,
    SignalKind.PURGE,
    SignalKind.PURGE_JOURNAL,
    SignalKind.RESTART,
]


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.value)
def test_of_what_never_was(kind: SignalKind) -> None:
    bench = Bench(svc)
    assert ask(bench, kind, random_id("Svc", None)) == 404


@pytest.mark.parametrize(
    ("kind", "status"), list(zip(EVERY, (202, 200, 202, 200, 409, 409, 409), strict=True)), ids=lambda it: str(it)
)
def test_of_one_that_waits(kind: SignalKind, status: int) -> None:
    bench = Bench(svc)
    assert ask(bench, kind, bench.call("naps")) == status


@pytest.mark.parametrize(
    ("kind", "status"), list(zip(EVERY, (200, 200, 409, 425, 409, 409, 409), strict=True)), ids=str
)
def test_of_one_that_is_scheduled(kind: SignalKind, status: int) -> None:
    bench = Bench(svc)
    id_ = idempotent_id("Svc", "naps", None, "k")
    bench.feed(Invocation(id_, "Svc", "naps", None, b"", idempotency_key="k", due=bench.now + 1000))
    assert ask(bench, kind, id_) == status


@pytest.mark.parametrize(
    ("kind", "status"), list(zip(EVERY, (409, 409, 409, 409, 200, 200, 200), strict=True)), ids=str
)
@pytest.mark.parametrize("idempotent", [False, True])
def test_of_one_that_is_over(kind: SignalKind, status: int, idempotent: bool) -> None:
    bench = Bench(obj)
    key = "once" if idempotent else None
    id_ = idempotent_id("Obj", "put", "k", key) if key else random_id("Obj", "k")
    bench.feed(Invocation(id_, "Obj", "put", "k", b"1", idempotency_key=key))
    assert ask(bench, kind, id_, call_id=random_id("Obj", "k")) == status


def test_a_paused_one_holds_its_key_until_it_is_resumed() -> None:
    bench = Bench(obj)
    head, second = bench.call("holds", key="k"), bench.call("put", 1, key="k")
    assert ask(bench, SignalKind.PAUSE, head) == 202
    assert ask(bench, SignalKind.PAUSE, head) == 200
    bench.crash()
    bench.pass_time(3_600_000)
    assert bench.live(head).status == states_of.PAUSED
    assert second not in bench.replies
    assert ask(bench, SignalKind.RESUME, head) == 200
    bench.pass_time(3_600_000)
    assert (bench.replies[head], bench.replies[second]) == ("held", None)


def test_one_that_is_paused_in_the_queue_does_not_begin_when_its_turn_comes() -> None:
    bench = Bench(obj)
    head, second, third = bench.call("put", 1, key="k"), bench.call("holds", key="k"), bench.call("put", 2, key="k")
    fourth = bench.call("put", 3, key="k")
    assert head in bench.replies
    assert ask(bench, SignalKind.PAUSE, third) == 202
    bench.crash()
    ask(bench, SignalKind.KILL, second)
    assert third in bench.engine.live
    ask(bench, SignalKind.RESUME, third)
    assert (bench.replies[third], bench.replies[fourth]) == (1, 2)


def test_one_that_is_paused_in_the_queue_and_resumed_waits_on() -> None:
    bench = Bench(obj)
    head, second = bench.call("holds", key="k"), bench.call("put", 2, key="k")
    ask(bench, SignalKind.PAUSE, second)
    ask(bench, SignalKind.RESUME, second)
    assert bench.live(second).status == states_of.QUEUED
    ask(bench, SignalKind.PAUSE, second)
    assert ask(bench, SignalKind.CANCEL, second) == 200, "it never began"
    assert bench.replies[second] == Failure(409, "cancelled")
    assert head in bench.engine.live


def test_resume_cuts_a_back_off_short_and_forgets_the_failed_attempts() -> None:
    bench = Bench(svc)
    id_ = bench.call("fails")
    for _ in range(10):
        bench.pass_time(10_000)
    failed = bench.live(id_).attempts
    assert failed > 3
    ask(bench, SignalKind.RESUME, id_)
    assert bench.live(id_).attempts == 1
    assert bench.live(id_).status == states_of.BACKING_OFF


@pytest.mark.parametrize("at_work", [False, True], ids=["between attempts", "at work"])
def test_no_step_of_a_paused_one_is_tried_again_until_it_is_resumed(at_work: bool) -> None:
    bench = Bench(svc)
    seen.clear()
    bench.steps_wait = True
    id_ = bench.call("stumbles")
    if not at_work:
        bench.run_step()
        bench.work()
    assert ask(bench, SignalKind.PAUSE, id_) == 202
    if at_work:
        bench.run_step()
    bench.steps_wait = False
    bench.pass_time(3_600_000)
    assert (seen, bench.live(id_).status) == (["tried"], states_of.PAUSED)
    assert ask(bench, SignalKind.RESUME, id_) == 200
    assert bench.replies[id_] == "stepped"


def test_nor_when_it_is_cancelled() -> None:
    bench = Bench(svc)
    seen.clear()
    id_ = bench.call("stumbles")
    assert ask(bench, SignalKind.PAUSE, id_) == 202
    assert ask(bench, SignalKind.CANCEL, id_) == 202
    assert bench.replies[id_] == Failure(409, "cancelled")
    assert seen == ["tried"]


def test_a_step_that_ends_while_its_invocation_is_paused_is_recorded() -> None:
    bench = Bench(svc)
    seen.clear()
    bench.steps_wait = True
    id_ = bench.call("draws", "x")
    assert ask(bench, SignalKind.PAUSE, id_) == 202
    bench.run_step()
    bench.work()
    bench.steps_wait = False
    assert ask(bench, SignalKind.RESUME, id_) == 200
    assert seen == ["first", "second"]
    assert bench.replies[id_][1:3] == ["one", "two"]


def test_purge_of_a_workflow_frees_its_key() -> None:
    bench = Bench(flow)
    id_ = workflow_id("Flow", "w")
    bench.feed(Invocation(id_, "Flow", "run", "w", b""))
    bench.crash()
    assert bench.stored("HGETALL", keys.state("w")) != {}
    assert ask(bench, SignalKind.RESTART, id_, call_id=random_id("Flow", "w")) == 422
    assert ask(bench, SignalKind.PURGE, id_) == 200
    for what in (keys.KEPT, keys.state("w")):
        assert bench.stored("HGETALL", what) == {}
    bench.feed(Invocation(id_, "Flow", "run", "w", b"", reply_to=ReplyTo("again", b"1")))
    assert bench.replies[id_] == 1


def test_purge_takes_one_entry_out_of_the_ring() -> None:
    bench = Bench(obj)
    ids = [bench.call("put", n, key="k") for n in range(3)]
    assert ask(bench, SignalKind.PURGE, ids[1]) == 200
    assert ask(bench, SignalKind.PURGE, ids[1]) == 404
    assert len(bench.stored("LRANGE", keys.RING, 0, -1)) == 2
    bench.crash()
    assert [id_ in bench.engine.ring for id_ in ids] == [True, False, True]


def test_purge_of_what_is_on_its_way_to_the_store() -> None:
    bench = Bench(obj)
    bench.commits_wait = True
    id_ = bench.call("put", 1, key="k")
    bench.signal(Signal(SignalKind.PURGE, id_, reply_to=ReplyTo("admin", b"1")), work=False)
    bench.commits_wait = False
    while bench.commits:
        bench.commit()
    bench.work()
    assert told(bench) == 200
    assert id_ not in bench.engine.ring


def results(bench: Bench) -> list[Any]:
    """What client c was told, in order."""
    replies = [codec.decode_reply(record.value) for _, record in bench.produced if record.topic == NAMES.replies]
    return [json.loads(reply.result or b"") for reply in replies if reply.client == "c"]


def new_id() -> InvocationId:
    return random_id("Svc", None)


def test_restart_runs_the_same_request_under_a_new_id() -> None:
    bench = Bench(svc)
    seen.clear()
    old = random_id("Svc", None)
    bench.feed(Invocation(old, "Svc", "draws", None, b'"x"', {"h": "v"}, reply_to=ReplyTo("c", b"1")))
    again, kept = new_id(), new_id()
    assert ask(bench, SignalKind.RESTART, old, call_id=again) == 200
    bench.signal(Signal(SignalKind.ATTACH, again, reply_to=ReplyTo("c", b"2")))
    first, second = results(bench)
    assert first[:4] == second[:4] == ["x", "one", "two", "v"]
    assert first[4] != second[4]
    assert seen == ["first", "second"] * 2
    assert ask(bench, SignalKind.RESTART, old, call_id=kept, position=1) == 200
    bench.signal(Signal(SignalKind.ATTACH, kept, reply_to=ReplyTo("c", b"3")))
    assert seen == ["first", "second"] * 2 + ["second"]
    assert results(bench)[2] == first, "with the journal it keeps the random numbers"


def test_restart_cannot_cut_a_journal_anywhere() -> None:
    bench = Bench(svc)
    old = bench.call("draws", "x")
    assert ask(bench, SignalKind.RESTART, old, call_id=new_id(), position=3) == 400
    assert ask(bench, SignalKind.RESTART, old, call_id=random_id("Obj", "k")) == 400
    assert ask(bench, SignalKind.PURGE_JOURNAL, old) == 200
    assert ask(bench, SignalKind.RESTART, old, call_id=new_id()) == 410
    bench.signal(Signal(SignalKind.ATTACH, old, reply_to=ReplyTo("admin", b"1")))
    assert bench.replies[old][0] == "x", "its result stays"


def test_restart_keeps_signals_also_those_that_came_before_they_were_waited_for() -> None:
    bench = Bench(svc)
    bench.steps_wait = True
    old, kept = bench.call("hears"), new_id()
    bench.signal(Signal(SignalKind.RESOLVE, old, name="a", result=b"1"))
    bench.signal(Signal(SignalKind.RESOLVE, old, name="a", result=b"2"))
    bench.steps_wait = False
    bench.run_step()
    bench.signal(Signal(SignalKind.RESOLVE, old, name="a", result=b"3"))
    assert bench.replies[old] == [1, 2, 3]
    assert ask(bench, SignalKind.RESTART, old, call_id=kept, position=3) == 200
    bench.signal(Signal(SignalKind.ATTACH, kept, reply_to=ReplyTo("c", b"1")))
    assert results(bench) == []
    bench.signal(Signal(SignalKind.RESOLVE, kept, name="a", result=b"4"))
    assert results(bench) == [[1, 2, 4]]


def patch(bench: Bench, state: dict[str, bytes], version: str | None = None) -> Any:
    encoded = {name: base64.b64encode(value).decode() for name, value in state.items()}
    payload = json.dumps({"state": encoded, "version": version}).encode()
    id_ = random_id("Obj", "k")
    bench.feed(Invocation(id_, "Obj", STATE_PATCH, "k", payload, reply_to=ReplyTo("admin", b"1")))
    return bench.replies.get(id_)


def test_a_patch_replaces_the_state_and_waits_behind_what_runs() -> None:
    bench = Bench(obj)
    bench.call("put", 1, key="k")
    head = bench.call("holds", key="k")
    assert patch(bench, {"value": b"7"}) is None
    ask(bench, SignalKind.KILL, head)
    assert bench.stored("HGETALL", keys.state("k")) == {b"value": b"7"}
    id_ = bench.call("put", 8, key="k")
    assert bench.replies[id_] == 7


def test_a_patch_of_another_version_changes_nothing() -> None:
    bench = Bench(obj)
    bench.call("put", 1, key="k")
    version = state_version({"value": b"1"})
    assert patch(bench, {"value": b"2"}, state_version({})).code == 409
    assert patch(bench, {}, version) == {"status": 202}
    assert bench.stored("HGETALL", keys.state("k")) == {}


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'{"state": 1}',
        b'{"state": {"a": "not base64!"}}',
        b'{"state": {"\\udcff": "YQ=="}}',  # half a surrogate pair, which no store can have as a name
        b"[" * 100_000,
        b"\xff",
    ],
    ids=["nothing", "a list", "no state", "no base64", "no text", "deep", "no JSON"],
)
def test_a_patch_that_is_none_is_refused(payload: bytes) -> None:
    bench = Bench(obj)
    id_ = random_id("Obj", "k")
    bench.feed(Invocation(id_, "Obj", STATE_PATCH, "k", payload, reply_to=ReplyTo("admin", b"1")))
    assert bench.replies[id_].code == 400
