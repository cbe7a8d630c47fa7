"""on_deadlock="fail": the call that closes a cycle fails at once, in a worker on a log and a store in memory; and the
check by itself, over a store that was filled by hand.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import nullcontext
from typing import Any, cast

import pytest

from barnabas import ObjectContext, TerminalError, VirtualObject
from barnabas.contract.ids import InvocationId
from barnabas.introspection import deadlocks
from barnabas.runtime.limits import Limits
from barnabas.runtime.live import QUEUED, RUNNING, Live, unpack_live
from barnabas.runtime.shard import ShardEngine
from barnabas.store import keys
from barnabas.store.port import StoreUnavailable
from barnabas.worker import deadlocks as check_module
from barnabas.worker.deadlocks import DeadlockCheck
from tests.unit.introspection.filling import Filled, service
from tests.unit.worker.harness import Cluster, until, working


def accounts(name: str, both: asyncio.Event | None = None) -> VirtualObject:
    """Accounts that pass a request on along a route of keys, each while it holds its own."""
    account = VirtualObject(name, on_deadlock="fail")
    entered: list[str] = []

    @account.handler()
    async def visit(ctx: ObjectContext, route: list[str]) -> str:
        if not route:
            return "arrived"
        try:
            result: bytes = await ctx.generic_call(name, "visit", _json(route[1:]), key=route[0])
            return result.decode()
        except TerminalError as error:
            return f"{error.status_code} {error.message}"

    @account.handler()
    async def meet(ctx: ObjectContext, other: str) -> str:
        if both is not None:
            entered.append(ctx.key())
            if len(entered) == 2:
                both.set()
            await both.wait()
        try:
            return (await ctx.generic_call(name, "visit", _json([]), key=other)).decode()
        except TerminalError as error:
            return f"{error.status_code} {error.message}"

    return account


def _json(route: list[str]) -> bytes:
    return ("[" + ",".join(f'"{key}"' for key in route) + "]").encode()


@pytest.mark.parametrize("route", [["a"], ["b", "a"], ["b", "c", "d", "a"], ["b", "c", "b"]])
async def test_a_call_that_comes_back_to_a_key_on_its_way_fails_and_says_so(route: list[str]) -> None:
    cluster = Cluster(accounts("Account"), partitions=2)
    async with working(cluster):
        result = await cluster.result(cluster.call("Account", "visit", route, "a"))
    assert "409 this call would wait for itself: " in result
    assert f"Account/{route[-1]}/visit (inv_" in result


async def test_a_call_that_only_waits_its_turn_does_not_fail() -> None:
    cluster = Cluster(accounts("Account"), partitions=2)
    async with working(cluster):
        ids = [cluster.call("Account", "visit", ["b", "c"], "a") for _ in range(5)]
        ids += [cluster.call("Account", "visit", ["c"], "b") for _ in range(5)]
        for id_ in ids:
            result = await cluster.result(id_)
            assert "arrived" in result, result


async def test_of_two_that_close_a_cycle_together_one_or_both_fail() -> None:
    """The seed's cross deadlock: each holds its key and calls the other's, from roots of their own."""
    both = asyncio.Event()
    cluster = Cluster(accounts("Account", both), partitions=2)
    async with working(cluster):
        ids = [cluster.call("Account", "meet", "b", "a"), cluster.call("Account", "meet", "a", "b")]
        results = [await cluster.result(id_) for id_ in ids]
    assert any("409 this call would wait for itself" in result for result in results), results


@pytest.mark.parametrize("queued", [0, 1])
async def test_a_call_that_waits_in_the_store_alone_fails_too(queued: int) -> None:
    """Where so much waits already that its queue goes on in the store, the cycle is the same."""
    cluster = Cluster(accounts("Account"), partitions=1)
    async with working(cluster, limits=Limits(queued=queued)) as worker:
        first = cluster.call("Account", "visit", ["b", "a"], "a")
        others = [cluster.call("Account", "visit", [], "a") for _ in range(3)]
        result = await cluster.result(first)
        assert "409 this call would wait for itself: " in result
        assert [await cluster.result(id_) for id_ in others] == ["arrived"] * 3
        assert worker.engine("Account").counts["deadlocks"] == 1


async def test_a_call_in_the_store_whose_worker_died_before_the_look_is_looked_at_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(accounts("Account"), partitions=1)
    with monkeypatch.context() as dead:
        asked: list[Live] = []
        dead.setattr(DeadlockCheck, "ask", lambda self, engine, live: asked.append(live))
        async with working(cluster, limits=Limits(queued=0)):
            id_ = cluster.call("Account", "visit", ["b", "a"], "a")
            await until(lambda: bool(asked), "the queued call")
    async with working(cluster, limits=Limits(queued=0)):
        assert "409 this call would wait for itself: " in await cluster.result(id_)


class FakeEngine:
    """What the check needs of a shard."""

    def __init__(self, filled: Filled, id_: bytes, name: str) -> None:
        header = filled.store.core.read(filled.shard(name, id_), ("HGET", keys.LIVE, id_))
        self.asked = unpack_live(id_, name, header)
        self.live: dict[bytes, Live] = {id_: self.asked}
        self.closed = False
        self.failed: list[str] = []
        self.looked: list[Live] = []
        self.deadlocks = self

    def waits(self, live: Live) -> bool:
        return not self.closed and live.status == QUEUED and live.id in self.live

    def fail(self, live: Live, text: str) -> None:
        if self.waits(live):
            self.failed.append(text)
            del self.live[live.id]

    def looked_at(self, live: Live) -> bool:
        self.looked.append(live)
        return False


class Loop:
    """Runs what the check spawns, and has it wait where a test says so."""

    def __init__(self, filled: Filled) -> None:
        self.check = DeadlockCheck(filled.store, lambda: filled.services)
        self.tasks: list[asyncio.Task[None]] = []
        self.touched: list[Any] = []
        self.check.bind(self._spawn, nullcontext, self.touched.append)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    async def ask(self, engine: FakeEngine) -> None:
        self.check.ask(cast(ShardEngine, engine), engine.asked)
        await self.done()

    async def done(self) -> None:
        while self.tasks:
            await self.tasks.pop(0)


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> Filled:
    monkeypatch.setattr(check_module, "AGAIN_SECONDS", 0)
    monkeypatch.setattr(check_module, "OUTAGE_SECONDS", 0)
    return Filled(service("Account"), service("Bank"))


async def test_the_error_names_the_cycle_and_the_shard_is_looked_at(filled: Filled) -> None:
    a = filled.root("Account", "a")
    again = filled.call(a, "Account", "a")
    engine, loop = FakeEngine(filled, again, "Account"), Loop(filled)
    await loop.ask(engine)
    names = [f"Account/a/transfer ({InvocationId(id_)})" for id_ in (again, a, again)]
    assert engine.failed == ["this call would wait for itself: " + " -> ".join(names)]
    assert engine.looked == [engine.asked]
    assert loop.touched == [engine]


async def test_a_call_that_was_on_its_way_is_seen_by_the_second_look(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the other service lets calls wait, its own queued call is never asked about."""
    a, b = filled.root("Account", "a"), filled.root("Bank", "b")
    at_b = filled.call(a, "Bank", "b")
    at_a = filled.call(b, "Account", "a", accept=False)
    engine, loop = FakeEngine(filled, at_b, "Bank"), Loop(filled)
    looks: list[int] = []
    find = check_module.find_cycles

    async def find_and_deliver(*arguments: Any) -> deadlocks.Cycles:
        cycles = await find(*arguments)
        looks.append(len(cycles.found))
        if len(looks) == 1:
            filled.accept(at_a, "Account", "a", filled.caller(b, 1))
        return cycles

    monkeypatch.setattr(check_module, "find_cycles", find_and_deliver)
    await loop.ask(engine)
    assert looks == [0, 1]
    assert len(engine.failed) == 1


async def test_what_does_not_come_is_looked_at_twice_and_no_more(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = filled.root("Account", "a"), filled.root("Bank", "b")
    at_b = filled.call(a, "Bank", "b")
    filled.call(b, "Account", "a", accept=False)
    engine, loop = FakeEngine(filled, at_b, "Bank"), Loop(filled)
    looks = []
    find = check_module.find_cycles

    async def counted(*arguments: Any) -> deadlocks.Cycles:
        looks.append(arguments)
        return await find(*arguments)

    monkeypatch.setattr(check_module, "find_cycles", counted)
    await loop.ask(engine)
    assert (len(looks), engine.failed) == (2, [])


async def test_a_client_that_waits_closes_no_cycle(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, loop = FakeEngine(filled, filled.root("Account", "a"), "Account"), Loop(filled)
    loop.check.ask(cast(ShardEngine, engine), engine.asked)
    assert loop.tasks == []


@pytest.mark.parametrize("what", ["closed", "over", "runs"])
async def test_what_changed_during_the_look_is_left_alone(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    a = filled.root("Account", "a")
    again = filled.call(a, "Account", "a")
    engine, loop = FakeEngine(filled, again, "Account"), Loop(filled)
    find = check_module.find_cycles

    async def find_and_move_on(*arguments: Any) -> deadlocks.Cycles:
        cycles = await find(*arguments)
        if what == "closed":
            engine.closed = True
        elif what == "over":
            engine.live.clear()
        else:
            engine.asked.status = RUNNING
        assert cycles.found
        return cycles

    monkeypatch.setattr(check_module, "find_cycles", find_and_move_on)
    await loop.ask(engine)
    assert engine.failed == []


@pytest.mark.parametrize("unanswered", [1, 3])
async def test_a_look_that_the_store_did_not_answer_is_made_again(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, unanswered: int
) -> None:
    """The store is back with everything that it had: nobody else would ever look at this call."""
    a = filled.root("Account", "a")
    engine, loop = FakeEngine(filled, filled.call(a, "Account", "a"), "Account"), Loop(filled)
    read, looks = filled.store.read, []

    async def after_a_while(questions: Any) -> Any:
        looks.append((list(engine.failed), list(engine.looked)))
        if len(looks) <= unanswered:
            raise StoreUnavailable("nobody is there")
        return await read(questions)

    monkeypatch.setattr(filled.store, "read", after_a_while)
    with caplog.at_level(logging.WARNING):
        await loop.ask(engine)
    assert looks[unanswered] == ([], [])
    assert caplog.text.count("nobody is there") == unanswered
    assert len(engine.failed) == 1
    assert engine.looked == [engine.asked]


async def test_a_second_look_that_the_store_did_not_answer_is_made_again(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = filled.root("Account", "a"), filled.root("Bank", "b")
    at_b = filled.call(a, "Bank", "b")
    at_a = filled.call(b, "Account", "a", accept=False)
    engine, loop = FakeEngine(filled, at_b, "Bank"), Loop(filled)
    find, looks = check_module.find_cycles, []

    async def in_between(*arguments: Any) -> deadlocks.Cycles:
        looks.append(arguments)
        if len(looks) == 2:
            filled.accept(at_a, "Account", "a", filled.caller(b, 1))
            raise StoreUnavailable("nobody is there")
        return await find(*arguments)

    monkeypatch.setattr(check_module, "find_cycles", in_between)
    await loop.ask(engine)
    assert (len(looks), len(engine.failed)) == (3, 1)


async def test_calls_that_gather_during_a_look_share_the_next(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    a = filled.root("Account", "a")
    engines = [FakeEngine(filled, filled.call(a, "Account", "a"), "Account") for _ in range(30)]
    loop = Loop(filled)
    starts = []
    find = check_module.find_cycles

    async def counted(*arguments: Any) -> deadlocks.Cycles:
        starts.append(len(arguments[2]))
        if len(starts) == 1:
            for engine in engines[1:]:
                loop.check.ask(cast(ShardEngine, engine), engine.asked)
        return await find(*arguments)

    monkeypatch.setattr(check_module, "find_cycles", counted)
    await loop.ask(engines[0])
    assert starts == [1, 29]
    assert all(len(engine.failed) == 1 for engine in engines)


async def test_a_cycle_whose_worker_died_before_the_look_is_found_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(accounts("Account"), partitions=2)
    with monkeypatch.context() as dead:
        asked: list[Live] = []
        dead.setattr(DeadlockCheck, "ask", lambda self, engine, live: asked.append(live))
        async with working(cluster):
            id_ = cluster.call("Account", "visit", ["b", "a"], "a")
            await until(lambda: bool(asked), "the queued call")
    async with working(cluster):
        assert "409 this call would wait for itself: " in await cluster.result(id_)
