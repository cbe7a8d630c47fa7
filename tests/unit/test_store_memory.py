"""What the memory adapter has beyond the contract: falling back, exact integers, an injected clock."""

from __future__ import annotations

import pytest

from barnabas.store.memory import MemoryCore, MemoryStore
from barnabas.store.port import Applied, Commit, Refused, Service, Shard

SHARD = Shard("Plane", 3)


def test_a_store_that_falls_back_forgets_what_came_later_and_refuses_its_successor() -> None:
    core = MemoryCore()
    core.take(SHARD, b"lease", "w")
    ops = [("HSET", "h", "f", 1), ("RPUSH", "l", 1), ("ZADD", "z", 1, "m"), ("SADD", "s", "a")]
    core.commit(Commit(SHARD, b"lease", 1, ops))
    snapshot = core.snapshot()
    core.commit(
        Commit(SHARD, b"lease", 2, [("HSET", "h", "f", 2), ("RPUSH", "l", 2), ("DEL", "z"), ("SADD", "s", "b")])
    )
    core.register([Service("Plane", "object", 8, "main", {})])
    core.restore(snapshot)
    queries = [("HGETALL", "h"), ("LRANGE", "l", 0, -1), ("ZRANGE", "z", 0, -1), ("SMEMBERS", "s")]
    answers = [core.read(SHARD, query) for query in queries]
    assert answers == [{b"f": b"1"}, [b"1"], [(b"m", 1.0)], {b"a"}]
    assert core.services() == {}
    assert core.commit(Commit(SHARD, b"lease", 3, [])) == Refused("number", 1)


def test_a_snapshot_can_be_restored_more_than_once() -> None:
    core = MemoryCore()
    core.take(SHARD, b"lease", "w")
    snapshot = core.snapshot()
    for _ in range(2):
        assert core.commit(Commit(SHARD, b"lease", 1, [("RPUSH", "l", 1)])) == Applied()
        core.restore(snapshot)
        assert core.read(SHARD, ("LLEN", "l")) == 0


def test_an_answer_is_not_the_store_itself() -> None:
    core = MemoryCore()
    core.take(SHARD, b"lease", "w")
    core.commit(Commit(SHARD, b"lease", 1, [("HSET", "h", "f", 1), ("RPUSH", "l", 1), ("SADD", "s", 1)]))
    core.read(SHARD, ("HGETALL", "h")).clear()
    core.read(SHARD, ("LRANGE", "l", 0, -1)).clear()
    core.read(SHARD, ("SMEMBERS", "s")).clear()
    assert core.read(SHARD, ("HLEN", "h")) == core.read(SHARD, ("LLEN", "l")) == 1
    assert core.read(SHARD, ("SMEMBERS", "s")) == {b"1"}


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, 1.5, None, True, ["x"]])
def test_what_would_not_arrive_exactly_at_a_server_is_refused(value: object) -> None:
    core = MemoryCore()
    core.take(SHARD, b"lease", "w")
    with pytest.raises(ValueError, match="malformed"):
        core.commit(Commit(SHARD, b"lease", 1, [("RPUSH", "l", value)]))


async def test_the_clock_is_the_one_that_was_given() -> None:
    assert await MemoryStore(clock_ms=lambda: 42).time_ms() == 42
