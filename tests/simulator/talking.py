"""Ops of simulated programs that do more to another handler than to call it: ids are shared, handed on, attached to,
cancelled, resolved. Imported for its entries in `workload.OPS`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from barnabas import TerminalError, as_completed, gather, select
from tests.simulator.faces import Violation
from tests.simulator.programs import NAP_MS, filled, pack, unpack
from tests.simulator.workload import BYTES, OPS, answered, issue, scene

#: What a rejected awakeable or signal raises.
REJECTED = 418
#: The messages of what a cancelled and a killed invocation end with.
CUT_SHORT = ("cancelled", "killed")


def _send(ctx: Any, target: Any, delay: int | None = None, key: str | None = None) -> Any:
    service, handler, at, program = target
    wait = None if delay is None else timedelta(milliseconds=delay)
    if delay and key is None:
        world = scene.world
        world.earliest.setdefault(program[0], world.now + delay)
    return ctx.generic_send(service, handler, pack(program), key=at, send_delay=wait, idempotency_key=key)


async def _attached(ctx: Any, handle: Any, token: str) -> Any:
    id_ = await handle.invocation_id()
    return await answered(ctx.attach_invocation(id_, BYTES), token)


async def _nap(ctx: Any, me: str) -> None:
    """Sleep until cancelled."""
    await ctx.sleep(timedelta(milliseconds=NAP_MS))
    scene.world.napped.add(me.partition("#")[0])


# -- requests that many make


async def _idem(ctx: Any, me: str, how: str, target: Any, key: str, delay: int | None) -> Any:
    service, handler, at, program = target
    if how == "call":
        return await answered(
            ctx.generic_call(service, handler, pack(program), key=at, idempotency_key=key), program[0]
        )
    handle = _send(ctx, target, delay, key)
    return await _attached(ctx, handle, program[0]) if how == "attach" else None


async def _submit(ctx: Any, me: str, how: str, target: Any) -> Any:
    if how == "call":
        return await answered(issue(ctx, *target), target[3][0])
    handle = _send(ctx, target)
    return await _attached(ctx, handle, target[3][0]) if how == "attach" else None


async def _visit(ctx: Any, me: str, target: Any) -> Any:
    """A call of a workflow's other handlers."""
    return await answered(issue(ctx, *target), target[3][0])


async def _promise(ctx: Any, me: str) -> Any:
    return _seen(me, await _outcome(ctx.promise("p", BYTES).value()))


async def _fulfil(ctx: Any, me: str) -> str:
    try:
        await ctx.promise("p", BYTES).resolve(me.encode())
    except TerminalError:
        return "late"
    return "told"


# -- ids that are handed on


async def _awake(ctx: Any, me: str, how: str, target: Any) -> Any:
    id_, future = ctx.awakeable(BYTES)
    return [await _hand_on(ctx, how, target, id_), _seen(me, await _outcome(future))]


async def _signal(ctx: Any, me: str, how: str, target: Any) -> Any:
    future = ctx.signal(me, BYTES)
    return [await _hand_on(ctx, how, target, f"{ctx.request().id} {me}"), _seen(me, await _outcome(future))]


async def _hand_on(ctx: Any, how: str, target: Any, id_: str) -> Any:
    service, handler, key, program = target
    program = filled(program, id_)
    if how == "send":
        _send(ctx, [service, handler, key, program])
        return None
    try:
        return unpack(await issue(ctx, service, handler, key, program))
    except TerminalError as error:
        if error.message in CUT_SHORT:
            raise  # it may not have come to the id: nobody else will
        return ["failed", error.status_code]


async def _resolve(ctx: Any, me: str, id_: str, kinds: list[str]) -> None:
    for index, kind in enumerate(kinds):
        if kind == "ok":
            ctx.resolve_awakeable(id_, f"{me}/{index}".encode(), BYTES)
        else:
            ctx.reject_awakeable(id_, "rejected", REJECTED)


async def _raise(ctx: Any, me: str, id_: str, kinds: list[str]) -> None:
    invocation, _, name = id_.partition(" ")
    for index, kind in enumerate(kinds):
        if kind == "ok":
            ctx.resolve_signal(invocation, name, f"{me}/{index}".encode(), BYTES)
        else:
            ctx.reject_signal(invocation, name, "rejected", REJECTED)


async def _reveal(ctx: Any, me: str) -> Any:
    """An awakeable that the outside completes."""
    world = scene.world
    id_, future = ctx.awakeable(BYTES)
    await ctx.run(me, lambda: world.reveal(me, id_), serde=BYTES)
    return _seen(me, await _outcome(future))


async def _notice(ctx: Any, me: str, target: Any, delay: int | None) -> Any:
    """A signal to what was just sent, and maybe waits for its due time."""
    handle = _send(ctx, target, delay)
    ctx.resolve_signal(await handle.invocation_id(), "note", me.encode(), BYTES)
    return await _attached(ctx, handle, target[3][0])


async def _heed(ctx: Any, me: str) -> Any:
    """The other side of `_notice`, which may be gone: cut short after the store lost that it sent this."""
    match await select(note=ctx.signal("note", BYTES), nothing=ctx.sleep(timedelta(milliseconds=NAP_MS))):
        case ["note", raw]:
            return _seen(me, raw.decode())
    return None


async def _outcome(future: Any) -> Any:
    try:
        return (await future).decode()
    except TerminalError as error:
        if error.status_code != REJECTED:
            raise
        return ["failed", error.status_code]


def _seen(me: str, value: Any) -> Any:
    """The value is the same in every attempt."""
    world = scene.world
    if world.seen.setdefault(me, value) != value and not world.fell_back:
        world.report(Violation("P3", f"{me} got {value}, and {world.seen[me]} in an earlier attempt"))
    return value


# -- later, and not at all


async def _later(ctx: Any, me: str, target: Any, delay: int) -> None:
    _send(ctx, target, delay)


async def _attach(ctx: Any, me: str, target: Any, delay: int | None) -> Any:
    return await _attached(ctx, _send(ctx, target, delay), target[3][0])


async def _cancel(ctx: Any, me: str, target: Any, delay: int | None, wait: int, firm: bool) -> Any:
    handle = _send(ctx, target, delay)
    if wait:
        await ctx.sleep(timedelta(milliseconds=wait))
    await handle.cancel_invocation()
    return await _attached(ctx, handle, target[3][0])


async def _recall(ctx: Any, me: str, target: Any, wait: int, firm: bool) -> Any:
    """A call that is cancelled."""
    future = issue(ctx, *target)
    if wait:
        await ctx.sleep(timedelta(milliseconds=wait))
    await future.cancel_invocation()
    return await answered(future, target[3][0])


async def _gather(ctx: Any, me: str, first: Any, second: Any) -> Any:
    """Two calls, and what came of both once both have come to something."""
    futures = [issue(ctx, *first), issue(ctx, *second)]
    await gather(*futures)
    return [await answered(future, target[3][0]) for future, target in zip(futures, (first, second), strict=True)]


async def _each(ctx: Any, me: str, first: Any, second: Any) -> Any:
    """Two calls, one after the other as they come to something; each is followed by a step."""
    futures = {first[3][0]: issue(ctx, *first), second[3][0]: issue(ctx, *second)}
    told = {}
    async for future in as_completed(*futures.values()):
        token = next(token for token, one in futures.items() if one is future)
        told[token] = await answered(future, token)
        await ctx.run(token, lambda: b"", serde=BYTES)
    return [told[token] for token in futures]


async def _race(ctx: Any, me: str, target: Any, ms: int, firm: bool) -> Any:
    """A call with a time limit."""
    future = issue(ctx, *target)
    try:
        match await select(result=future, late=ctx.sleep(timedelta(milliseconds=ms))):
            case ["result", raw]:
                return unpack(raw)
    except TerminalError as error:
        if not future.is_completed():
            raise  # the race itself was cancelled
        return ["failed", error.status_code]
    await future.cancel_invocation()
    return "late"


async def _saga(ctx: Any, me: str, target: Any, undo: Any) -> Any:
    """A call that is made undone if it is cancelled."""
    try:
        return unpack(await issue(ctx, *target))
    except TerminalError as error:
        if error.message not in CUT_SHORT:
            return ["failed", error.status_code]
        await issue(ctx, *undo)
        raise


OPS.update(
    ask=_visit, attach=_attach, awake=_awake, cancel=_cancel, each=_each, fulfil=_fulfil, gather=_gather, heed=_heed,
    idem=_idem, later=_later, nap=_nap, notice=_notice, promise=_promise, race=_race, recall=_recall, resolve=_resolve,
    reveal=_reveal, saga=_saga, signal=_signal, submit=_submit, tell=_visit,
)  # fmt: skip
OPS["raise"] = _raise
