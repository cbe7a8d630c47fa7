"""Private handlers: what comes from outside, in whatever form, is refused and answered; what is from inside is not."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from barnabas import Context, ObjectContext, Service, VirtualObject
from barnabas.contract import codec
from barnabas.contract.ids import idempotent_id, random_id
from barnabas.contract.records import Failure, Invocation, Label, ReplyTo
from barnabas.log.port import Record
from barnabas.runtime.operating import STATE_PATCH
from barnabas.sdk.describing import about_service
from barnabas.store import registry
from tests.unit.runtime.delay_bench import NAMES, DelayBench, _service
from tests.unit.runtime.harness import Bench

greeter = Service("Greeter", ingress_private=True)
counter = VirtualObject("Counter", ingress_private=True)
INSIDE = Label("Other/0", b"l" * 16, 1, 1, 1)  # one a test: its mark drops a second record


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    if name == "slowly":
        await ctx.run_typed("think", lambda: None)
    return f"hello {name}"


@greeter.handler(ingress_private=False)
async def ping(ctx: Context) -> str:
    return "pong"


@counter.handler()
async def add(ctx: ObjectContext, number: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + number
    ctx.set("total", total)
    return total


def bench_of(service: Service | VirtualObject, public: bool | None = None, *, partitions: int = 1) -> Bench:
    bench = Bench(service, partitions=partitions)
    known = bench.directory.services[service.name]
    about = registry.with_public(replace(known, about=about_service(service)), public)
    bench.directory.services[service.name] = about
    return bench


def refused(bench: Bench, id_: bytes) -> None:
    assert bench.replies[id_] == Failure(400, "the invoked Greeter/greet is not public")
    assert [letter.reason for letter in bench.dead_letters] == ["private"]


def test_a_clients_call_of_a_private_handler_is_a_dead_letter_and_answered_400() -> None:
    bench = bench_of(greeter)
    refused(bench, bench.call("greet", "you"))
    assert not bench.engine.live


def test_a_record_with_an_outbox_label_is_from_inside() -> None:
    bench = bench_of(greeter)
    id_ = bench.call("greet", "you", label=INSIDE)
    assert bench.replies[id_] == "hello you"


def test_a_handler_that_says_otherwise_is_public() -> None:
    bench = bench_of(greeter)
    id_ = bench.call("ping")
    assert bench.replies[id_] == "pong"


@pytest.mark.parametrize(("public", "handler", "answered"), [(True, "greet", True), (False, "ping", False)])
def test_what_people_have_set_holds_for_all_handlers(public: bool, handler: str, answered: bool) -> None:
    bench = bench_of(greeter, public)
    id_ = bench.call(handler, "you" if handler == "greet" else None)
    assert isinstance(bench.replies[id_], str) is answered


def test_a_raw_record_is_refused_before_it_is_sent_on_with_a_label() -> None:
    bench = bench_of(greeter, partitions=1_000)
    raw = Record(0, bench.now, None, b'"you"', [("barnabas-handler", b"greet")])
    bench.feed_records([raw])
    assert [letter.reason for letter in bench.dead_letters] == ["private"]
    assert bench.engine.counts["sent on"] == 0
    assert not bench.sent


def test_nobody_joins_a_private_invocation_by_its_idempotency_key() -> None:
    bench = bench_of(counter)
    bench.commits_wait = True
    id_ = idempotent_id("Counter", "add", "k", "once")
    inside = Invocation(id_, "Counter", "add", "k", b"1", {}, None, None, "once", None, INSIDE)
    outside = replace(inside, label=None, reply_to=ReplyTo("client", b"1"))
    bench.feed(inside, outside, work=False)
    assert bench.engine.counts["joined"] == 0
    assert bench.engine.counts["dead letters"] == 1


def test_a_repeat_of_what_was_accepted_before_it_became_private_is_no_failure() -> None:
    bench = bench_of(greeter, True)
    bench.steps_wait = True
    id_ = bench.call("greet", "slowly")
    bench.directory.services["Greeter"] = registry.with_public(bench.directory.services["Greeter"], False)
    assert id_ in bench.engine.live
    bench.call("greet", "slowly", id_=id_)
    assert bench.engine.counts["joined"] == 1
    assert bench.engine.counts["dead letters"] == 0


def test_state_of_a_private_object_is_patched_from_outside_by_an_envelope_but_not_by_a_raw_record() -> None:
    bench = bench_of(counter)
    wanted = {"state": {"total": base64.b64encode(b"7").decode()}}
    id_ = bench.call(STATE_PATCH, wanted, "k")
    assert bench.replies[id_] == {"status": 202}
    raw = Record(1, bench.now, b"k", json.dumps({"state": {}}).encode(), [("barnabas-handler", STATE_PATCH.encode())])
    bench.feed_records([raw])
    assert [letter.reason for letter in bench.dead_letters] == ["unaddressed"]
    id_ = bench.call("add", 1, "k", label=INSIDE)
    assert bench.replies[id_] == 8


def private_greeter(bench: DelayBench) -> None:
    bench.directory.services["Greeter"] = registry.with_public(_service("Greeter"), False)


def test_a_delayed_message_from_outside_for_a_private_handler_is_refused_at_once() -> None:
    bench = DelayBench()
    private_greeter(bench)
    id_ = bench.send(1_000)
    assert bench.replies[id_].failure == Failure(400, "the invoked Greeter/greet is not public")
    assert [letter.reason for letter in bench.dead_letters] == ["private"]
    bench.pass_time(2_000)
    assert not bench.released


def test_a_delayed_message_of_a_handler_is_released() -> None:
    bench = DelayBench()
    private_greeter(bench)
    id_ = bench.send(1_000, label=INSIDE)
    bench.pass_time(2_000)
    assert [one.id for one in bench.released] == [id_]


def test_one_whose_service_turns_out_to_be_private_is_refused_when_it_is_registered() -> None:
    bench = DelayBench()
    id_ = bench.send(1_000, service="Later", id_=random_id("Later", None, delayed=True))
    bench.pass_time(2_000)
    bench.directory.services["Later"] = registry.with_public(_service("Later"), False)
    bench.pass_time(1)
    assert bench.replies[id_].failure == Failure(400, "the invoked Later/greet is not public")
    [letter] = bench.dead_letters
    assert (letter.reason, letter.topic) == ("private", NAMES.delays)
    assert codec.decode_invocation(letter.value or b"").id == id_
    assert not bench.released
