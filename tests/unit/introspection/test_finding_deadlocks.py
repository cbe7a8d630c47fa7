"""Deadlocks in a store that was filled with the engine's own packers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from barnabas.contract.ids import InvocationId
from barnabas.introspection import deadlocks, reading
from barnabas.introspection.deadlocks import describe_cycle, find_cycle, find_cycles, find_deadlocks
from barnabas.introspection.graph import ATTACH, CALL, KEY, Node
from barnabas.introspection.reading import Places, Ref
from barnabas.runtime import journal as j
from barnabas.store import keys
from tests.unit.introspection.filling import Filled, service


@pytest.fixture
def filled() -> Filled:
    return Filled(service("Account"), service("Bank"), service("Teller", "service"))


def ids(cycle: Sequence[Node] | None) -> list[bytes] | None:
    return None if cycle is None else [node.id for node in cycle]


async def listed(filled: Filled) -> list[list[bytes]]:
    return [[node.id for node in one.cycle] for one in await find_deadlocks(filled.store, filled.services)]


async def cycle_of(filled: Filled, id_: bytes, name: str, key: str | None) -> list[bytes] | None:
    return ids(await find_cycle(filled.store, filled.services, Ref(id_, name, "transfer", key)))


async def test_an_object_that_calls_an_object_that_calls_it(filled: Filled) -> None:
    a = filled.root("Account", "a")
    b = filled.call(a, "Bank", "b")
    again = filled.call(b, "Account", "a")
    [found] = await find_deadlocks(filled.store, filled.services)
    assert [(node.id, node.service, node.key, node.handler) for node in found.cycle] == [
        (a, "Account", "a", "transfer"),
        (b, "Bank", "b", "transfer"),
        (again, "Account", "a", "transfer"),
    ]
    assert [node.waits[0].how for node in found.cycle] == [CALL, CALL, KEY]
    assert found.others == []
    assert await cycle_of(filled, again, "Account", "a") == [again, a, b]


async def test_an_object_that_calls_itself(filled: Filled) -> None:
    a = filled.root("Account", "a")
    again = filled.call(a, "Account", "a")
    assert await listed(filled) == [[a, again]]
    assert await cycle_of(filled, again, "Account", "a") == [again, a]


async def test_two_that_started_apart_and_call_each_other(filled: Filled) -> None:
    """The seed's cross deadlock: no call chain has it, each of the two queued calls sees it."""
    a, b = filled.root("Account", "a"), filled.root("Bank", "b")
    at_b = filled.call(a, "Bank", "b")
    assert await listed(filled) == []
    assert await cycle_of(filled, at_b, "Bank", "b") is None
    at_a = filled.call(b, "Account", "a")
    assert await listed(filled) == [[a, at_b, b, at_a]]
    assert await cycle_of(filled, at_b, "Bank", "b") == [at_b, b, at_a, a]
    assert await cycle_of(filled, at_a, "Account", "a") == [at_a, a, at_b, b]


async def test_a_cycle_by_way_of_a_service_and_suspended_invocations(filled: Filled) -> None:
    a = filled.root("Account", "a")
    teller = filled.call(a, "Teller")
    again = filled.call(teller, "Account", "a")
    for id_ in (a, teller):
        filled.suspend(id_)
    assert await listed(filled) == [[a, teller, again]]
    assert await cycle_of(filled, again, "Account", "a") == [again, a, teller]


async def test_a_queue_is_no_deadlock_and_who_stands_behind_one_is_not_in_it(filled: Filled) -> None:
    a, b = filled.root("Account", "a"), filled.root("Account", "b")
    waiting = filled.call(b, "Account", "a")
    assert await listed(filled) == []
    assert await cycle_of(filled, waiting, "Account", "a") is None
    again = filled.call(a, "Account", "a")
    assert await listed(filled) == [[a, again]]
    assert await cycle_of(filled, waiting, "Account", "a") is None


async def test_an_answered_call_and_a_cancelled_one_are_no_edges(filled: Filled) -> None:
    a = filled.root("Account", "a")
    b = filled.call(a, "Bank", "b")
    again = filled.call(b, "Account", "a")
    filled.journal(a, [j.CANCELLED, 0, None])
    assert await listed(filled) == []
    assert await cycle_of(filled, again, "Account", "a") is None
    next_one = filled.call(a, "Bank", "b")  # after it was cancelled it calls again
    assert await listed(filled) == [[a, next_one, b, again]]
    filled.answer(b, again)
    assert await listed(filled) == []


async def test_a_call_that_waits_with_its_input_in_kafka(filled: Filled) -> None:
    a = filled.root("Account", "a")
    b = filled.call(a, "Bank", "b")
    spilled = filled.spill(b, "Account", "a")
    assert await listed(filled) == [[spilled, a, b]]
    assert await cycle_of(filled, spilled, "Account", "a") == [spilled, a, b]


async def test_attach_is_an_edge_too(filled: Filled) -> None:
    a, b = filled.root("Account", "a"), filled.root("Teller")
    again = filled.call(b, "Account", "a")
    filled.attach(a, b)
    [found] = await find_deadlocks(filled.store, filled.services)
    assert [node.id for node in found.cycle] == [a, b, again]
    assert found.cycle[0].waits[0].how == ATTACH
    assert await cycle_of(filled, again, "Account", "a") == [again, a, b]
    filled.attach(b, b)
    [found] = await find_deadlocks(filled.store, filled.services)
    assert {node.id for node in (*found.cycle, *found.others)} == {a, b, again}


async def test_an_attach_to_a_queued_invocation_finds_its_key_by_its_header(filled: Filled) -> None:
    a, b, c = (filled.root("Account", key) for key in "abc")
    queued = filled.call(b, "Account", "a")
    filled.attach(c, queued)
    at_c = filled.call(a, "Account", "c")
    assert await listed(filled) == [[a, at_c, c, queued]]
    assert await cycle_of(filled, at_c, "Account", "c") == [at_c, c, queued, a]


async def test_invocations_beyond_the_bound_are_not_looked_at(filled: Filled) -> None:
    a = filled.root("Account", "a")
    last = a
    for _ in range(6):
        last = filled.call(last, "Teller")
    again = filled.call(last, "Account", "a")
    start = Ref(again, "Account", "transfer", "a")
    assert await find_cycle(filled.store, filled.services, start, most=4) is None
    assert len(await find_cycle(filled.store, filled.services, start, most=8) or ()) == 8


async def test_calls_on_their_way_are_worth_another_look(filled: Filled) -> None:
    a = filled.root("Account", "a")
    b = filled.root("Bank", "b")
    at_b = filled.call(a, "Bank", "b")
    start = Ref(at_b, "Bank", "transfer", "b")
    assert await find_cycles(filled.store, filled.services, [start]) == deadlocks.Cycles({}, False)
    filled.call(b, "Account", "a", accept=False)
    assert await find_cycles(filled.store, filled.services, [start]) == deadlocks.Cycles({}, True)


async def test_several_questions_share_their_reads(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = filled.root("Account", "a"), filled.root("Bank", "b")
    starts = []
    for _ in range(50):
        starts.append(Ref(filled.call(a, "Bank", "b"), "Bank", "transfer", "b"))
        starts.append(Ref(filled.call(b, "Account", "a"), "Account", "transfer", "a"))
    reads = counted_reads(filled, monkeypatch)
    found = await find_cycles(filled.store, filled.services, starts)
    assert set(found.found) == {ref.id for ref in starts}
    assert len(reads) <= 4


async def test_a_cycle_that_was_never_whole_is_not_reported(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first edge was read and went before its last one came: the second look knows better."""
    a, b = filled.root("Account", "a"), filled.root("Bank", "b")
    at_b = filled.call(a, "Bank", "b")
    read = reading.read_nodes

    async def read_while_work_goes_on(store: Any, places: Places, refs: Any) -> Any:
        refs = list(refs)
        found = await read(store, places, refs)
        if not moved_on:
            moved_on.append(at_b)
            filled.end(at_b)  # it was cancelled, and its caller does not know yet
            filled.call(b, "Account", "a")
        looks.append({ref.id for ref in refs})
        return found

    moved_on: list[bytes] = []
    looks: list[set[bytes]] = []
    monkeypatch.setattr(deadlocks, "read_nodes", read_while_work_goes_on)
    assert await cycle_of(filled, at_b, "Bank", "b") is None
    assert {a, b, at_b} < looks[-1]
    assert await listed(filled) == []


async def test_a_listed_cycle_is_read_again(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    a = filled.root("Account", "a")
    b = filled.call(a, "Bank", "b")
    again = filled.call(b, "Account", "a")
    read = deadlocks.read_namespace

    async def read_and_move_on(store: Any, places: Places) -> Any:
        nodes = await read(store, places)
        filled.answer(b, again)
        return nodes

    monkeypatch.setattr(deadlocks, "read_namespace", read_and_move_on)
    assert await listed(filled) == []


async def test_journals_are_read_only_of_those_that_are_waited_for(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(300):
        teller = filled.root("Teller")
        filled.journal(teller, [j.SLEEP, "", 5])
    a = filled.root("Account", "a")
    again = filled.call(a, "Account", "a")
    reads = counted_reads(filled, monkeypatch)
    assert await listed(filled) == [[a, again]]
    assert [query[1] for one in reads for _, query in one if query[0] == "LRANGE"] == [
        keys.journal(a),
        keys.journal(a),
        keys.journal(again),
    ]


async def test_an_id_of_a_service_that_nobody_registered_ends_the_walk(filled: Filled) -> None:
    a = filled.root("Account", "a")
    filled.journal(a, [j.CALL, "Gone/h", "k", b"g" * 24], [j.ATTACH, "", b"h" * 24])
    again = filled.call(a, "Account", "a")
    assert await cycle_of(filled, again, "Account", "a") == [again, a]


async def test_a_cycle_is_described_in_one_line(filled: Filled) -> None:
    a = filled.root("Account", "a")
    again = filled.call(a, "Account", "a")
    cycle = await find_cycle(filled.store, filled.services, Ref(again, "Account", "transfer", "a"))
    assert cycle is not None
    names = [f"Account/a/transfer ({InvocationId(id_)})" for id_ in (again, a, again)]
    assert describe_cycle(cycle) == " -> ".join(names)
    long = describe_cycle([Node(InvocationId(a), "Account", "transfer", "k" * 100, "", 0)] * 30)
    assert "-> 18 more ->" in long
    assert "k" * 61 not in long


def counted_reads(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The round trips from now on."""
    read = filled.store.read
    reads: list[Any] = []

    async def counting(questions: Any) -> list[Any]:
        reads.append(questions)
        return await read(questions)

    monkeypatch.setattr(filled.store, "read", counting)
    return reads
