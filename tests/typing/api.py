"""What a type checker makes of the public API. Not run: mypy reads it (tests/unit/sdk/test_typing.py).

A `type: ignore` stands where there must be an error; strict mode complains about those that are not needed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel

import barnabas
import barnabas as restate
from barnabas import Context, ObjectContext, ObjectSharedContext, Service, VirtualObject, Workflow, WorkflowContext
from barnabas.serde import BytesSerde, PydanticJsonSerde


class Flight(BaseModel):
    tail: str


class Totals(BaseModel):
    flights: int


greeter = Service("Greeter")
plane = VirtualObject("Plane", enable_lazy_state=True)
flow = Workflow("Flow")


@greeter.handler()
async def greet(ctx: Context, name: str) -> str:
    return f"Hello {name}"


@greeter.handler(name="ping")
async def ping(ctx: Context) -> int:
    return 1


@plane.handler()
async def depart(ctx: ObjectContext, flight: Flight) -> Totals:
    totals = await ctx.get("totals", type_hint=Totals) or Totals(flights=0)
    assert_type(totals, Totals)
    ctx.set("totals", totals)
    return totals


@plane.handler(kind="shared", output_serde=PydanticJsonSerde(Totals))
async def read(ctx: ObjectSharedContext) -> Totals | None:
    value = await ctx.get("totals", PydanticJsonSerde[Totals](Totals))
    assert_type(value, Totals | None)
    ctx.set("totals", value)  # type: ignore[attr-defined]
    return value


@flow.main()
async def run(ctx: WorkflowContext, flight: Flight) -> str:
    promise = ctx.promise("paid", type_hint=bool)
    assert_type(promise, barnabas.DurablePromise[bool])
    assert_type(await promise, bool)
    return ctx.key()


async def count(of: str, *, twice: bool = False) -> int:
    return len(of)


def count_now(of: str) -> int:
    return len(of)


async def calls_a_handler_as_a_function(ctx: Context) -> None:
    assert_type(await greet(ctx, "Ann"), str)
    await greet(ctx, 5)  # type: ignore[arg-type]


@greeter.handler()
async def everything(ctx: Context, flight: Flight) -> None:
    call = ctx.service_call(greet, arg="Ann")
    assert_type(call, restate.RestateDurableCallFuture[str])
    assert_type(await call, str)
    assert_type(await call.invocation_id(), str)
    assert_type(await ctx.service_call(ping, arg=None), int)
    assert_type(await ctx.object_call(depart, key="N1", arg=flight), Totals)
    assert_type(await ctx.object_call(read, "N1", None), Totals | None)
    assert_type(await ctx.workflow_call(run, "id", flight, idempotency_key="k", headers={"a": "b"}), str)
    sent = ctx.object_send(depart, key="N1", arg=flight, send_delay=timedelta(seconds=1))
    assert_type(sent, restate.SendHandle)
    ctx.service_send(greet, "Ann", idempotency_key="k")
    assert_type(await ctx.generic_call("Greeter", "greet", b'"Ann"', key=None), bytes)
    ctx.generic_send("Greeter", "greet", b'"Ann"', send_delay=timedelta(days=1))

    assert_type(await ctx.run_typed("count", count, restate.RunOptions(max_attempts=3), "a", twice=True), int)
    assert_type(await ctx.run_typed("count", count_now, barnabas.RunOptions(), of="a"), int)
    assert_type(await ctx.run("count", lambda: count("a")), int)
    assert_type(await ctx.run("count", lambda: 5, max_attempts=3), int)
    assert_type(await ctx.sleep(timedelta(seconds=1)), None)
    assert_type(await ctx.time(), float)
    assert_type(ctx.request().headers, dict[str, str])
    name, awakeable = ctx.awakeable(type_hint=Flight)
    assert_type(name, str)
    assert_type(await awakeable, Flight)
    assert_type(await ctx.attach_invocation("inv_1", BytesSerde()), bytes)


@greeter.handler()
async def mistakes(ctx: Context, flight: Flight) -> None:
    await ctx.service_call(greet, arg=5)  # type: ignore[arg-type]
    await ctx.object_call(depart, key="N1", arg="N1")  # type: ignore[arg-type]
    await ctx.object_call(depart, key=7, arg=flight)  # type: ignore[arg-type]
    await ctx.run_typed("count", count_now, barnabas.RunOptions(), 5)  # type: ignore[call-overload]
    await ctx.sleep(5)  # type: ignore[arg-type]
    ctx.get("totals")  # type: ignore[attr-defined]
    ctx.generic_send("Greeter", "greet", "Ann")  # type: ignore[arg-type]


barnabas.app([greeter, plane], namespace="demo")
barnabas.app([greet])  # type: ignore[list-item]
