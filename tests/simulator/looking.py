"""The looks of a simulated worker for calls that wait for themselves: the shipped check over a store that is asked by
the wire, one part of a look after the other, while everything goes on.

Its coroutines are driven by hand: what they wait for is a read, or a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from barnabas.introspection.graph import KEY, Deadlock, Node, find_deadlocks
from barnabas.introspection.reading import Places, read_namespace
from barnabas.runtime.live import Live
from barnabas.runtime.shard import ShardEngine
from barnabas.store.port import Query, Service, Shard, Store, StoreUnavailable
from barnabas.worker.deadlocks import DeadlockCheck
from tests.simulator.places import SERVICES

if TYPE_CHECKING:
    from tests.simulator.member import Member
    from tests.simulator.world import World

#: What its reads are called on the wire.
LOOK = "look"

Resume = Callable[[Any], None]


class _Wait:
    """What a coroutine waits for: `begin` is given the function that lets it go on, with a value or an error."""

    def __init__(self, begin: Callable[[Resume], None]) -> None:
        self._begin = begin

    def __await__(self) -> Generator[Callable[[Resume], None], Any, Any]:
        return (yield self._begin)


def drive(work: Coroutine[Any, Any, None]) -> None:
    """Run until it waits; who brings what it waits for lets it go on."""

    def go_on(came: Any) -> None:
        try:
            begin = work.throw(came) if isinstance(came, Exception) else work.send(came)
        except StopIteration:
            return
        begin(go_on)

    go_on(None)


class WiredStore:
    """Reads by the wire of a member. Its questions are answered in parts, each at its own time."""

    def __init__(self, member: Member) -> None:
        self._member = member

    async def read(self, questions: Sequence[tuple[Shard, Query]]) -> list[Any]:
        member, asked = self._member, list(questions)
        store, random = member.world.store, member.world.random

        def part(some: Sequence[tuple[Shard, Query]]) -> Callable[[], list[Any]]:
            return lambda: [store.read(*one) for one in some]

        def begin(resume: Resume) -> None:
            cuts = [0, *sorted(random.randint(0, len(asked)) for _ in range(random.choice((0, 1, 3)))), len(asked)]
            parts = [part(asked[start:end]) for start, end in pairwise(cuts) if start < end] or [list]
            member.send(
                LOOK, parts, lambda results: resume([one for result in results for one in result]),
                lambda: resume(StoreUnavailable("no answer")),
            )  # fmt: skip

        return cast("list[Any]", await _Wait(begin))


class Looks:
    """The looks of one member."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._pauses: list[tuple[int, Resume]] = []
        self._check = DeadlockCheck(cast(Store, WiredStore(member)), _services, self._pause)
        self._check.bind(drive, self._between_turns, lambda engine: None)

    def ask(self, engine: ShardEngine, live: Live) -> None:
        """Look whether this queued call waits for itself."""
        self._check.ask(engine, live)

    @property
    def next_due(self) -> int | None:
        """When a look goes on that waits for its time."""
        return min((at for at, _ in self._pauses), default=None)

    def on_tick(self, now: int) -> None:
        """Let those go on whose time has come."""
        due = [resume for at, resume in self._pauses if at <= now]
        self._pauses = [(at, resume) for at, resume in self._pauses if at > now]
        for resume in due:
            resume(None)

    async def _pause(self, seconds: float) -> None:
        due = self._member.world.now + round(seconds * 1000)
        await _Wait(lambda resume: self._pauses.append((due, resume)))

    @contextmanager
    def _between_turns(self) -> Iterator[None]:
        self._member.look_at_clock()
        yield


def _services() -> Mapping[str, Service]:
    return SERVICES


class _StillStore:
    """The store at one moment."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def read(self, questions: Sequence[tuple[Shard, Query]]) -> list[Any]:
        return [self._world.store.read(*one) for one in questions]


def caught_now(world: World) -> set[bytes]:
    """Who is on a cycle of waits, or caught in it, as the store is at this moment."""
    return {node.id for one in _deadlocks_now(world) for node in (*one.cycle, *one.others)}


def holders_now(world: World) -> list[Node]:
    """One of each cycle, as people see them, that holds a key which another of the cycle waits for."""
    cycles = [one.cycle for one in _deadlocks_now(world)]
    held = {wait.target for cycle in cycles for node in cycle for wait in node.waits if wait.how == KEY}
    return [next(node for node in cycle if node.id in held) for cycle in cycles]


def _deadlocks_now(world: World) -> list[Deadlock]:
    found: list[Deadlock] = []

    async def look() -> None:
        found.extend(find_deadlocks(await read_namespace(cast(Store, _StillStore(world)), Places(SERVICES))))

    drive(look())
    return found
