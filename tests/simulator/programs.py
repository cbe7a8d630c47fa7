"""Random programs: what clients of a simulated world ask for. Plain data; `workload.py` and `talking.py` run them.

A program is `[token, ops]`, an op `[name, ...]`, a target `[service, handler, key, program]`. Whoever waits for
something holds only lower keys than what it waits for: no circles, unless the `Mix` is made of knots.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import msgpack

pack = msgpack.packb
unpack = msgpack.unpackb

OBJECT, SERVICE, FLOW = "Obj", "Svc", "Flow"
KEYS = ("k0", "k1", "k2", "k3")
#: An object whose calls fail where they would wait for themselves, and its keys.
KNOT = "Knot"
KNOTS = ("n0", "n1", "n2", "n3")

#: In the place of an id that is known when the program is sent on.
ID = "@"
#: What is cut short sleeps so long, ms: nothing in a world takes that much time.
NAP_MS = 3_600_000
_DELAYS = (0, 30, 400, 5_000, 600_000)
_ABOUT_DUE = (0, 390, 400, 410)

#: The share of records that are about no object, and of worlds of knots in which calls lead back.
_UNADDRESSED = 0.1
_LEADS_BACK = 0.7

#: Ops that read or write a key.
_KEYED = ("mark", "show")
#: Ops of programs that many ask for: they wait for nobody in the world.
_LEAVES = ("step", "sleep", "flaky", "reveal")


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
    shared: float = 0.0  # share of requests that others make too: with an idempotency key, or of a workflow
    delayed: float = 0.0  # share of delayed requests
    fates: float = 0.0  # share of requests that the outside may cancel or kill
    brief: bool = False  # what is shared is kept for a short time only
    fed: tuple[int, int] = (0, 0)  # records of a topic of others
    knots: bool = False  # keys are those of `KNOT`; in most of these worlds calls may lead back to a key on their way


@dataclass(frozen=True, slots=True)
class Shared:
    """Something that many ask for, and that runs once: they have one token, and one outcome."""

    service: str
    handler: str
    key: str | None
    program: Any
    idempotency_key: str | None  # None: a workflow's run
    level: int  # who waits for it must hold lower keys
    delay: int | None = None  # ms

    @property
    def token(self) -> str:
        return str(self.program[0])

    @property
    def target(self) -> list[Any]:
        return [self.service, self.handler, self.key, self.program]


@dataclass(slots=True)
class Root:
    """One request of a client."""

    number: int
    service: str
    handler: str
    key: str | None
    program: Any
    raw: bool = False
    shared: Shared | None = None
    delay: int | None = None  # ms
    fate: str = ""  # "cancel" or "kill": the outside may do that to it
    firm: bool = False  # it naps until that happens
    produced: int = 0
    due: int | None = None
    attached: int = 0
    fulfilled: int = 0  # how often its fate was sent

    @property
    def name(self) -> str:
        """By which the client knows its request."""
        return f"r{self.number}"

    @property
    def token(self) -> str:
        return str(self.program[0])


@dataclass(slots=True)
class Fed:
    """One record of a topic of others, in order of number."""

    number: int
    partition: int
    key: str | None  # None: nobody can tell which object it is about
    program: Any
    offset: int | None = None  # where it is, once it was written

    @property
    def token(self) -> str:
        return str(self.program[0])


def fed_of(seed: int, mix: Mix, partitions: int) -> list[Fed]:
    """The records that others write in a world."""
    count = Random(f"{seed}/fed").randint(*mix.fed)
    return [_fed(number, Random(f"{seed}/fed/{number}"), mix, partitions) for number in range(count)]


def _fed(number: int, random: Random, mix: Mix, partitions: int) -> Fed:
    partition = random.randrange(partitions)
    if random.random() < _UNADDRESSED:
        return Fed(number, partition, None, [f"w{number}", []])
    level = random.randrange(mix.keys)
    program = _Maker(random, mix, []).program(f"w{number}", level, 1, True)
    return Fed(number, partition, KEYS[level], program)


def leads_back(seed: int, mix: Mix) -> bool:
    """Whether calls in this world may wait for themselves."""
    return mix.knots and Random(f"{seed}/knots").random() < _LEADS_BACK


def shared_of(seed: int, mix: Mix) -> list[Shared]:
    """What the requests of a world have in common."""
    if not mix.shared and not {"idem", "submit"} & set(mix.ops):
        return []
    random = Random(f"{seed}/shared")
    top = mix.keys - 1
    brief = "brief" if mix.brief else "work"
    delay = random.choice((None, None, 30, 400, 600_000)) if "later" in mix.ops else None
    many = [
        Shared(SERVICE, "serve", None, _leaf(random, "s0"), "s0", mix.keys),
        Shared(OBJECT, brief, KEYS[top], _leaf(random, "s1", mix.brief), "s1", top, None if mix.brief else delay),
        Shared(FLOW, "run", "f0", ["f0", [["promise"], *_leaf(random, "f0")[1]]], None, mix.keys),
    ]
    return [one for one in many if one.handler == "brief"] if mix.brief else many


def roots_of(seed: int, mix: Mix) -> list[Root]:
    """The requests of a world. Each comes from a generator of its own: leaving one out changes no other."""
    count = Random(f"{seed}/count").randint(*mix.roots)
    shared = shared_of(seed, mix)
    if mix.knots:
        back = leads_back(seed, mix)
        return [_knotted(number, Random(f"{seed}/{number}"), mix, back) for number in range(count)]
    return [_root(number, Random(f"{seed}/{number}"), mix, shared) for number in range(count)]


def _knotted(number: int, random: Random, mix: Mix, back: bool) -> Root:
    level = random.randrange(mix.keys)
    program = _Knotter(random, mix, [], back).program(f"r{number}", level, 0, True)
    return Root(number, KNOT, "work", KNOTS[level], program)


def _root(number: int, random: Random, mix: Mix, shared: list[Shared]) -> Root:
    token = f"r{number}"
    if shared and random.random() < mix.shared:
        one = random.choice(shared)
        return Root(number, one.service, one.handler, one.key, one.program, shared=one, delay=one.delay)
    level = random.randrange(-1, mix.keys)
    if level >= 0 and random.random() < mix.looks:
        return Root(number, OBJECT, "look", KEYS[level], [token, []])
    maker = _Maker(random, mix, shared)
    if level < 0:
        root = Root(number, SERVICE, "serve", None, maker.program(token, -1, 0))
    else:
        root = Root(number, OBJECT, "work", KEYS[level], maker.program(token, level, 0, True))
    if random.random() < mix.fates:
        root.fate = random.choice(("cancel", "cancel", "kill"))
        root.firm = random.random() < 0.5
        if root.firm:
            root.program[1].insert(0, ["nap"])
    elif random.random() < mix.raw:
        root.raw = True
    if not root.raw and random.random() < mix.delayed:
        root.delay = random.choice(_DELAYS)
    return root


def _leaf(random: Random, token: str, brief: bool = False) -> Any:
    if brief:
        return [
            token,
            [["step"]],
        ]  # it is to be over soon; and what is revealed by another run would have another value
    ops = [random.choice(_LEAVES) for _ in range(random.randint(1, 2))]
    return [token, [_simple(random, name) for name in ops]]


def _simple(random: Random, name: str) -> Any:
    match name:
        case "sleep":
            return ["sleep", random.choice((0, 30, 400, 5_000))]
        case "flaky":
            return ["flaky", random.randint(1, 2)]
        case "fail":
            return ["fail", random.choice((400, 409, 500))]
    return [name]


@dataclass(slots=True)
class _Maker:
    """Makes the programs of one request. `level`: the highest key among those who wait for it."""

    random: Random
    mix: Mix
    shared: list[Shared]

    def program(self, token: str, level: int, depth: int, keyed: bool = False) -> Any:
        mix, random = self.mix, self.random
        ops: list[Any] = []
        names = [name for name in mix.ops if keyed or name not in _KEYED]
        for index in range(random.randint(0 if depth else 1, mix.length)):
            [name] = random.choices(names, [mix.ops[name] for name in names])
            op = self._op(name, f"{token}.{index}", level, depth)
            if op is not None:
                ops.append(op)
                if name == "fail":
                    break
        return [token, ops]

    def _op(self, name: str, token: str, level: int, depth: int) -> Any:
        random, mix = self.random, self.mix
        if name in ("dice", "big"):
            return None if level + 1 >= mix.keys else [name, KEYS[random.randrange(level + 1, mix.keys)]]
        if name in ("idem", "submit", "tell", "ask"):
            return self._common(name, token, level)
        if name in _OWN:
            return _simple(random, name)
        if depth >= mix.depth:
            return None
        if name in ("two", "gather", "each"):
            return [name, self._target(token, level, depth), self._target(token + "b", level, depth)]
        if name in ("send", "later"):
            delay = [random.choice(_DELAYS)] if name == "later" else []
            return [name, self._target(token, -1, depth), *delay]
        return self._talk(name, self._target(token, level, depth))

    def _talk(self, name: str, target: Any) -> Any:
        """Ops that do more to another handler than to call it."""
        random = self.random
        ops = target[3][1]
        match name:
            case "awake" | "signal":
                kinds = random.choice((["ok"], ["no"], ["ok", "no"], ["no", "ok"], ["ok", "ok"]))
                ops.insert(0, ["resolve" if name == "awake" else "raise", ID, kinds])
                return [name, random.choice(("send", "send", "call")), target]
            case "attach":
                return [name, target, self._delay()]
            case "notice":
                ops.insert(0, ["heed"])
                return [name, target, self._delay()]
            case "cancel":
                delay = self._delay()
                wait = random.choice(_ABOUT_DUE if delay == 400 else (0, 0, 30, 400))
                return [name, target, delay, wait, self._firm(ops)]
            case "recall":
                return [name, target, random.choice((0, 0, 30, 400)), self._firm(ops)]
            case "race":
                return [name, target, random.choice((0, 30, 400)), self._firm(ops)]
            case "saga":
                return [name, target, [*target[:3], [target[3][0] + "u", [["step"]]]]]
        return [name, target]

    def _firm(self, ops: list[Any]) -> bool:
        """Whether it naps until it is cancelled; else it may be over before."""
        firm = self.random.random() < 0.6
        if firm:
            ops.insert(0, ["nap"])
        return firm

    def _delay(self) -> int | None:
        return self.random.choice(_DELAYS) if "later" in self.mix.ops and self.random.random() < 0.6 else None

    def _common(self, name: str, token: str, level: int) -> Any:
        random = self.random
        if name == "idem":
            one = random.choice([each for each in self.shared if each.idempotency_key is not None])
            how = random.choice(("call", "call", "send", "attach") if level < one.level else ("send",))
            return [name, how, one.target, one.idempotency_key, one.delay]
        if name == "submit":
            one = next(each for each in self.shared if each.idempotency_key is None)
            return [name, random.choice(("call", "call", "send", "attach")), one.target]
        return [name, [FLOW, name, "f0", [token, [["fulfil"] if name == "tell" else ["promise"]]]]]

    def _target(self, token: str, level: int, depth: int) -> list[Any]:
        random, mix = self.random, self.mix
        if level + 1 >= mix.keys or random.random() < 0.35:
            return [SERVICE, "serve", None, self.program(token, level, depth + 1)]
        chosen = random.randrange(level + 1, mix.keys)
        return [OBJECT, "work", KEYS[chosen], self.program(token, chosen, depth + 1, True)]


@dataclass(slots=True)
class _Knotter(_Maker):
    """Makes programs that call the keys of knots; `back`: also those that somebody who waits for them may hold."""

    back: bool

    def _target(self, token: str, level: int, depth: int) -> list[Any]:
        random, mix = self.random, self.mix
        lowest = 0 if self.back else level + 1
        if lowest >= mix.keys or random.random() < 0.15:
            return [SERVICE, "serve", None, self.program(token, level, depth + 1)]
        chosen = random.randrange(lowest, mix.keys)
        return [KNOT, "work", KNOTS[chosen], self.program(token, max(chosen, level), depth + 1, True)]


#: Ops that have to do with nobody else.
_OWN = ("step", "sleep", "mark", "show", "flaky", "fail", "reveal")


def filled(program: Any, id_: str) -> Any:
    """The program with an id in its place. Those of programs further down are others'."""
    return [program[0], [[id_ if part == ID else part for part in op] for op in program[1]]]


# -- where a program may be cut short


def _targets(op: Any) -> list[Any]:
    """The targets in an op."""
    return [part for part in op[1:] if isinstance(part, list) and len(part) == 4 and isinstance(part[3], list)]


def may_be_cut(roots: list[Root]) -> set[str]:
    """Tokens of shared programs that somebody may cancel: they, or a caller of theirs."""
    found: set[str] = set()
    for root in roots:
        _cut(root.program, bool(root.fate), found)
    return found


def _cut(program: Any, cut: bool, found: set[str]) -> None:
    for op in program[1]:
        waits = op[0] in ("call", "two", "gather", "each", "tell", "ask", "saga") or "call" in op[1:2]
        for target in _targets(op):
            below = op[0] in ("cancel", "recall", "race") or (cut and waits)
            if below and op[0] in ("idem", "submit"):
                found.add(target[3][0])
            _cut(target[3], below, found)


def after_a_race(program: Any, after: bool = False) -> set[str]:
    """Tokens of what a program asks for after a race, whose outcome decides how many commands come before.

    When the store has lost it and it comes out differently, they are asked for again under other ids.
    """
    found: set[str] = set()
    for op in program[1]:
        for target in _targets(op):
            found |= {target[3][0]} if after else set()
            found |= after_a_race(target[3], after)
        after = after or op[0] == "race"
    return found
