"""What the simulated workers run: handlers that interpret small random programs whose outcomes are known beforehand.

A program is `[token, ops]`. Its result is `[token, results of its ops]`, so that a result of another call cannot pass
for the right one. Exclusive handlers write down in their key's state when they begin and when they end. Handlers find
the world in `scene`: only the checker's own notes go there, never anything that a later command depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any

import msgpack

from barnabas import Context, ObjectContext, ObjectSharedContext, Service, TerminalError, VirtualObject
from barnabas.sdk.serde import BytesSerde
from tests.simulator.faces import MAX_RECORD_BYTES, Violation

if TYPE_CHECKING:
    from tests.simulator.world import World

pack = msgpack.packb
unpack = msgpack.unpackb
BYTES = BytesSerde()

OBJECT, SERVICE = "Obj", "Svc"
KEYS = ("k0", "k1", "k2", "k3")

obj = VirtualObject(OBJECT)
svc = Service(SERVICE)


class _Scene:
    world: World


scene = _Scene()


@obj.handler()
async def work(ctx: ObjectContext, payload: bytes) -> bytes:
    token, ops = unpack(payload)
    await _note(ctx, token, "begin")
    out = await _perform(ctx, token, ops)
    await _note(ctx, token, "end")
    return bytes(pack([token, out]))


@obj.handler(kind="shared")
async def look(ctx: ObjectSharedContext, payload: bytes) -> bytes:
    token, _ = unpack(payload)
    mark = await ctx.get("mark", BYTES)
    return bytes(pack([token, mark]))


@svc.handler()
async def serve(ctx: Context, payload: bytes) -> bytes:
    token, ops = unpack(payload)
    return bytes(pack([token, await _perform(ctx, token, ops)]))


async def _note(ctx: ObjectContext, token: str, word: str) -> None:
    raw = await ctx.get("log", BYTES)
    entries = unpack(raw) if raw else []
    entries.append([token, word])
    ctx.set("log", bytes(pack(entries)), BYTES)


async def _perform(ctx: Any, token: str, ops: list[Any]) -> list[Any]:
    out = []
    for index, op in enumerate(ops):
        out.append(await _OPS[op[0]](ctx, f"{token}#{index}", *op[1:]))
    return out


async def _call(ctx: Any, me: str, service: str, handler: str, key: str | None, program: Any) -> Any:
    return await _answered(_issue(ctx, service, handler, key, program), program[0])


def _issue(ctx: Any, service: str, handler: str, key: str | None, program: Any) -> Any:
    return ctx.generic_call(service, handler, pack(program), key=key)


async def _answered(future: Any, token: str) -> Any:
    try:
        result = unpack(await future)
    except TerminalError as error:
        return ["failed", error.status_code]
    if result[0] != token:
        scene.world.report(Violation("R9", f"the call of {token} was answered with the result of {result[0]}"))
    return result


async def _two(ctx: Any, me: str, first: Any, second: Any) -> Any:
    futures = [_issue(ctx, *first), _issue(ctx, *second)]
    late = await _answered(futures[1], second[3][0])
    return [await _answered(futures[0], first[3][0]), late]


async def _send(ctx: Any, me: str, service: str, handler: str, key: str | None, program: Any) -> None:
    ctx.generic_send(service, handler, pack(program), key=key)


async def _big(ctx: Any, me: str, key: str) -> Any:
    """A call that can never be delivered."""
    return await _call(ctx, me, OBJECT, "work", key, [me, [["pad", "x" * MAX_RECORD_BYTES]]])


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
    await _call(ctx, me, OBJECT, "work", key, [thrown, []])
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


_OPS: dict[str, Any] = {
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


# -- random programs


@dataclass(frozen=True, slots=True)
class Mix:
    """Of what programs are made: the weight of each op."""

    ops: dict[str, int]
    roots: tuple[int, int] = (3, 6)
    depth: int = 2
    keys: int = 4
    length: int = 3
    raw: float = 0.1  # share of raw records
    looks: float = 0.1  # share of shared reads


@dataclass(slots=True)
class Root:
    """One request of a client."""

    number: int
    service: str
    handler: str
    key: str | None
    program: Any
    raw: bool = False
    produced: int = 0
    replies: list[Any] = field(default_factory=list)

    @property
    def token(self) -> str:
        return str(self.program[0])


def roots_of(seed: int, mix: Mix) -> list[Root]:
    """The requests of a world. Each comes from a generator of its own: leaving one out changes no other."""
    count = Random(f"{seed}/count").randint(*mix.roots)
    return [_root(number, Random(f"{seed}/{number}"), mix) for number in range(count)]


def _root(number: int, random: Random, mix: Mix) -> Root:
    token = f"r{number}"
    level = random.randrange(-1, mix.keys)
    if level < 0:
        return Root(number, SERVICE, "serve", None, _program(random, mix, token, -1, 0), random.random() < mix.raw)
    if random.random() < mix.looks:
        return Root(number, OBJECT, "look", KEYS[level], [token, []])
    return Root(
        number, OBJECT, "work", KEYS[level], _program(random, mix, token, level, 0, True), random.random() < mix.raw
    )


def _program(random: Random, mix: Mix, token: str, level: int, depth: int, keyed: bool = False) -> Any:
    """`level`: the highest key among those who wait for this one; calls go to higher ones: no circles."""
    ops: list[Any] = []
    names = [name for name in mix.ops if keyed or name not in ("mark", "show")]
    for index in range(random.randint(0 if depth else 1, mix.length)):
        [name] = random.choices(names, [mix.ops[name] for name in names])
        op = _op(random, mix, name, f"{token}.{index}", level, depth)
        if op is not None:
            ops.append(op)
            if name == "fail":
                break
    return [token, ops]


def _op(random: Random, mix: Mix, name: str, token: str, level: int, depth: int) -> Any:
    match name:
        case "call" | "two":
            if depth >= mix.depth:
                return None
            first = _target(random, mix, token, level, depth)
            if name == "call":
                return ["call", *first]
            return ["two", first, _target(random, mix, token + "b", level, depth)]
        case "send":
            if depth >= mix.depth:
                return None
            return ["send", *_target(random, mix, token, -1, depth)]
        case "dice" | "big":
            return None if level + 1 >= mix.keys else [name, KEYS[random.randrange(level + 1, mix.keys)]]
        case "sleep":
            return ["sleep", random.choice((0, 30, 400, 5_000))]
        case "flaky":
            return ["flaky", random.randint(1, 2)]
        case "fail":
            return ["fail", random.choice((400, 409, 500))]
    return [name]


def _target(random: Random, mix: Mix, token: str, level: int, depth: int) -> list[Any]:
    if level + 1 >= mix.keys or random.random() < 0.35:
        return [SERVICE, "serve", None, _program(random, mix, token, level, depth + 1)]
    chosen = random.randrange(level + 1, mix.keys)
    return [OBJECT, "work", KEYS[chosen], _program(random, mix, token, chosen, depth + 1, True)]


# -- what must come out


@dataclass(slots=True)
class Expected:
    """What a set of requests must leave behind."""

    logged: dict[str, tuple[str, bool]] = field(default_factory=dict)  # token -> (key, whether it comes to its end)
    thrown: dict[str, str] = field(default_factory=dict)  # place of a dice -> key it calls
    effects: set[str] = field(default_factory=set)
    order: list[tuple[str, str, str]] = field(default_factory=list)  # of one sender: key, earlier, later


def outcome(root: Root, expected: Expected) -> Any:
    """The result of a request, and (added to `expected`) what it leaves behind."""
    if root.handler == "look":
        return None
    return _outcome(root.service, root.key, root.program, expected)


def _outcome(service: str, key: str | None, program: Any, expected: Expected) -> Any:
    token, ops = program
    out: list[Any] = []
    failed = None
    sent: dict[str, str] = {}
    for index, op in enumerate(ops):
        me = f"{token}#{index}"
        result = None
        match op:
            case ["call", to, _, at, inner]:
                result = _outcome(to, at, inner, expected)
            case ["two", first, second]:
                result = [
                    _outcome(first[0], first[2], first[3], expected),
                    _outcome(second[0], second[2], second[3], expected),
                ]
            case ["send", to, _, at, inner]:
                _outcome(to, at, inner, expected)
                if to == OBJECT:
                    if at in sent:
                        expected.order.append((at, sent[at], inner[0]))
                    sent[at] = inner[0]
            case ["big", _]:
                result = ["failed", 500]
            case ["step"]:
                expected.effects.add(me)
                result = me
            case ["dice", at]:
                expected.effects.add(me)
                expected.thrown[me] = at
                result = "thrown"
            case ["show"]:
                expected.effects.add(me)
                result = "shown"
            case ["fail", code]:
                failed = code
                break
        out.append(result)
    if service == OBJECT:
        assert key is not None
        expected.logged[token] = (key, failed is None)
    return ["failed", failed] if failed is not None else [token, out]
