"""What the simulated workers run: handlers that interpret small random programs (`programs.py`).

The result of a program is `[token, results of its ops]`, so that a result of another call cannot pass for the right
one. Exclusive handlers write down in their key's state when they begin and when they end. Handlers find the world in
`scene`: only the checker's own notes go there, never anything that a later command depends on. Ops that do more to
other handlers than to call them are in `talking.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from barnabas import (
    Context,
    ObjectContext,
    ObjectSharedContext,
    Service,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)
from barnabas.sdk.serde import BytesSerde
from tests.simulator.faces import MAX_RECORD_BYTES, Violation
from tests.simulator.programs import FLOW, KNOT, OBJECT, SERVICE, pack, unpack

if TYPE_CHECKING:
    from tests.simulator.world import World

BYTES = BytesSerde()
#: How long outcomes of the handler `brief` are kept.
BRIEF_MS = 1_500

obj = VirtualObject(OBJECT)
svc = Service(SERVICE)
flow = Workflow(FLOW)
knot = VirtualObject(KNOT, on_deadlock="fail")

Op = Callable[..., Coroutine[Any, Any, Any]]
#: All ops by name; `talking.py` adds its own.
OPS: dict[str, Op] = {}


class _Scene:
    world: World


scene = _Scene()


@obj.handler()
async def work(ctx: ObjectContext, payload: bytes) -> bytes:
    return await _logged(ctx, payload)


@obj.handler(idempotency_retention=timedelta(milliseconds=BRIEF_MS))
async def brief(ctx: ObjectContext, payload: bytes) -> bytes:
    return await _logged(ctx, payload)


@obj.handler(kind="shared")
async def look(ctx: ObjectSharedContext, payload: bytes) -> bytes:
    token, _ = unpack(payload)
    mark = await ctx.get("mark", BYTES)
    return bytes(pack([token, mark]))


@svc.handler()
async def serve(ctx: Context, payload: bytes) -> bytes:
    return await _run(ctx, payload)


@knot.handler(name="work")
async def work_in_knots(ctx: ObjectContext, payload: bytes) -> bytes:
    return await _logged(ctx, payload)


@flow.main()
async def run(ctx: WorkflowContext, payload: bytes) -> bytes:
    return await _logged(ctx, payload)


@flow.handler()
async def tell(ctx: WorkflowSharedContext, payload: bytes) -> bytes:
    return await _run(ctx, payload)


@flow.handler()
async def ask(ctx: WorkflowSharedContext, payload: bytes) -> bytes:
    return await _run(ctx, payload)


async def _run(ctx: Any, payload: bytes) -> bytes:
    token, ops = unpack(payload)
    scene.world.started(token)
    return bytes(pack([token, await _perform(ctx, token, ops)]))


async def _logged(ctx: Any, payload: bytes) -> bytes:
    token, ops = unpack(payload)
    scene.world.started(token)
    await _note(ctx, token, "begin")
    out = await _perform(ctx, token, ops)
    await _note(ctx, token, "end")
    return bytes(pack([token, out]))


async def _note(ctx: Any, token: str, word: str) -> None:
    raw = await ctx.get("log", BYTES)
    entries = unpack(raw) if raw else []
    entries.append([token, word])
    ctx.set("log", bytes(pack(entries)), BYTES)


async def _perform(ctx: Any, token: str, ops: list[Any]) -> list[Any]:
    out = []
    for index, op in enumerate(ops):
        _check_not_over(ctx, token)
        out.append(await OPS[op[0]](ctx, f"{token}#{index}", *op[1:]))
    return out


def _check_not_over(ctx: Any, token: str) -> None:
    engine, live = ctx._host, ctx._live
    if not engine.closed and engine.live.get(live.id) is not live:
        scene.world.report(Violation("P4", f"{token} goes on although its invocation is over"))


async def _call(ctx: Any, me: str, target: Any) -> Any:
    return await answered(issue(ctx, *target), target[3][0])


def issue(ctx: Any, service: str, handler: str, key: str | None, program: Any) -> Any:
    return ctx.generic_call(service, handler, pack(program), key=key)


async def answered(future: Any, token: str) -> Any:
    try:
        result = unpack(await future)
    except TerminalError as error:
        scene.world.call_failed(token, error.message)
        return ["failed", error.status_code]
    if result[0] != token:
        scene.world.report(Violation("R9", f"the call of {token} was answered with the result of {result[0]}"))
    return result


async def _two(ctx: Any, me: str, first: Any, second: Any) -> Any:
    futures = [issue(ctx, *first), issue(ctx, *second)]
    late = await answered(futures[1], second[3][0])
    return [await answered(futures[0], first[3][0]), late]


async def _send(ctx: Any, me: str, target: Any) -> None:
    service, handler, key, program = target
    ctx.generic_send(service, handler, pack(program), key=key)


async def _big(ctx: Any, me: str, key: str) -> Any:
    """A call that can never be delivered."""
    return await _call(ctx, me, [OBJECT, "work", key, [me, [["pad", "x" * MAX_RECORD_BYTES]]]])


async def _pad(ctx: Any, me: str, filler: str) -> None:
    scene.world.report(Violation("F59", "a record that can never be delivered was delivered"))


async def _step(ctx: Any, me: str) -> str:
    world = scene.world
    raw = await ctx.run(me, lambda: world.act(me), serde=BYTES)
    return str(raw.decode().partition("!")[0])


async def _dice(ctx: Any, me: str, key: str) -> str:
    """A call whose argument a step has made up: another run of the step makes another call (F64)."""
    world = scene.world
    raw = await ctx.run(me, lambda: world.act(me), serde=BYTES)
    thrown = raw.decode()
    await _call(ctx, me, [OBJECT, "work", key, [thrown, []]])
    return "thrown"


async def _sleep(ctx: Any, me: str, ms: int) -> None:
    world = scene.world
    began = world.sleeps.setdefault(me, world.now)
    await ctx.sleep(timedelta(milliseconds=ms))
    if world.now < began + ms:
        world.report(Violation("P5", f"the sleep {me} of {ms} ms was over after {world.now - began} ms"))


async def _mark(ctx: Any, me: str) -> None:
    mark = f"{me}!{scene.world.count()}".encode()
    scene.world.store.mark_made(ctx._host, mark)
    ctx.set("mark", mark, BYTES)


async def _show(ctx: Any, me: str) -> str:
    """A step that shows the key's mark to the world: it must have been committed by then (R12)."""
    world = scene.world
    mark = await ctx.get("mark", BYTES)
    await ctx.run(me, lambda: world.show(me, mark), serde=BYTES)
    return "shown"


async def _flaky(ctx: Any, me: str, failures: int) -> None:
    tried = scene.world.tried
    tried[me] = tried.get(me, 0) + 1
    if tried[me] <= failures:
        raise RuntimeError(f"attempt {tried[me]}")


async def _fail(ctx: Any, me: str, code: int) -> None:
    raise TerminalError("as planned", code)


OPS |= {
    "big": _big,
    "call": _call,
    "dice": _dice,
    "fail": _fail,
    "flaky": _flaky,
    "mark": _mark,
    "pad": _pad,
    "send": _send,
    "show": _show,
    "sleep": _sleep,
    "step": _step,
    "two": _two,
}
