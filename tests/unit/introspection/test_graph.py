"""Cycles in made-up graphs: what is found is a cycle, and where there is none nothing is found."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from barnabas.introspection.graph import CALL, KEY, Node, Wait, cycle_through, find_deadlocks, in_both

Edges = set[tuple[int, int]]
edges = st.sets(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30)


def id_of(number: int) -> bytes:
    return number.to_bytes(24, "big")


def graph(pairs: Iterable[tuple[int, int]], how: str = CALL) -> dict[bytes, Node]:
    pairs = list(pairs)
    numbers = {number for pair in pairs for number in pair}
    return {
        id_of(number): Node(
            id_of(number), "S", "h", None, "running", number,
            tuple(Wait(how, id_of(target)) for source, target in pairs if source == number),
        )
        for number in numbers
    }  # fmt: skip


def numbers_of(nodes: Iterable[Node]) -> list[int]:
    return [int.from_bytes(node.id, "big") for node in nodes]


def reachable(pairs: Edges, start: int) -> set[int]:
    """Everything that a walk of one step or more from `start` comes to."""
    found: set[int] = set()
    frontier = {start}
    while frontier:
        frontier = {target for source, target in pairs if source in frontier} - found
        found |= frontier
    return found


@given(edges)
def test_what_is_found_is_every_invocation_that_waits_for_itself_and_no_other(pairs: Edges) -> None:
    found = find_deadlocks(graph(pairs))
    caught = sorted(number for one in found for number in numbers_of((*one.cycle, *one.others)))
    assert caught == sorted(
        number for number in {n for pair in pairs for n in pair} if number in reachable(pairs, number)
    )
    for one in found:
        numbers = numbers_of(one.cycle)
        assert len(set(numbers)) == len(numbers)
        assert all(pair in pairs for pair in pairwise([*numbers, numbers[0]]))
        for other in numbers_of(one.others):
            assert other in reachable(pairs, numbers[0])
            assert numbers[0] in reachable(pairs, other)


@given(edges)
def test_without_edges_that_lead_back_nothing_is_found(pairs: Edges) -> None:
    forward = {(source, target) for source, target in pairs if source < target}
    assert find_deadlocks(graph(forward)) == []
    assert all(cycle_through(graph(forward), id_of(number)) is None for number in range(12))


@given(edges, st.integers(0, 11))
def test_the_cycle_through_one_of_them_begins_with_it(pairs: Edges, start: int) -> None:
    cycle = cycle_through(graph(pairs), id_of(start))
    if start not in reachable(pairs, start):
        assert cycle is None
    else:
        assert cycle is not None
        numbers = numbers_of(cycle)
        assert numbers[0] == start
        assert len(set(numbers)) == len(numbers)
        assert all(pair in pairs for pair in pairwise([*numbers, start]))


def test_a_long_chain_needs_no_deep_stack() -> None:
    pairs = [(i, i + 1) for i in range(50_000)]
    assert find_deadlocks(graph(pairs[:0])) == []
    nodes = {id_of(i): Node(id_of(i), "S", "h", None, "", i, (Wait(CALL, id_of(i + 1)),)) for i in range(50_000)}
    assert find_deadlocks(nodes) == []
    nodes[id_of(50_000)] = Node(id_of(50_000), "S", "h", None, "", 0, (Wait(KEY, id_of(0)),))
    [found] = find_deadlocks(nodes)
    assert len(found.cycle) == 50_001


def test_separate_deadlocks_are_listed_apart() -> None:
    found = find_deadlocks(graph([(1, 2), (2, 1), (3, 3), (4, 1), (5, 6), (6, 7), (7, 5), (7, 6)]))
    assert sorted(sorted(numbers_of(one.cycle)) for one in found) == [[1, 2], [3], [5, 6, 7]]


def test_edges_count_only_if_they_were_there_both_times() -> None:
    assert find_deadlocks(in_both(graph([(1, 2)]), graph([(2, 1), (1, 2)]))) == []
    assert find_deadlocks(in_both(graph([(1, 2), (2, 1)], KEY), graph([(1, 2), (2, 1)], CALL))) == []
    assert len(find_deadlocks(in_both(graph([(1, 2), (2, 1)]), graph([(1, 2), (2, 1), (3, 1)])))) == 1
