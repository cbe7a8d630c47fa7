"""Random commits and questions: the memory adapter and a real server never differ."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from barnabas.store.memory import MemoryCore
from barnabas.store.port import Commit, Op, Query, Shard, StoreCorrupt
from barnabas.store.redis import RedisStore

SHARDS = [Shard("Plane", 0), Shard("Plane", 1)]
LEASES = [b"a", b"b", b"\x00\xff"]

text = st.sampled_from([b"", b"f", b"\x00}", "ü", 7, -1])
bound = st.integers(-4, 4)
score = st.one_of(st.integers(-5, 5), st.sampled_from(["1.5", "inf", b"-0.25"]))


def op_on(kind: str) -> st.SearchStrategy[Op]:
    """Ops for one structure; suffixes are per kind, so that none is of the wrong type."""
    pairs = st.lists(st.tuples(text, text), min_size=1, max_size=3)
    some = st.lists(text, min_size=1, max_size=3)
    scored = st.lists(st.tuples(score, text), min_size=1, max_size=3)
    return {
        "h": st.one_of(pairs.map(lambda p: ("HSET", "h", *sum(p, ()))), some.map(lambda a: ("HDEL", "h", *a))),
        "l": st.one_of(
            some.map(lambda a: ("RPUSH", "l", *a)),
            some.map(lambda a: ("LREM", "l", a[0])),
            st.tuples(st.just("LTRIM"), st.just("l"), bound, bound),
        ),
        "z": st.one_of(scored.map(lambda p: ("ZADD", "z", *sum(p, ()))), some.map(lambda a: ("ZREM", "z", *a))),
        "s": st.one_of(some.map(lambda a: ("SADD", "s", *a)), some.map(lambda a: ("SREM", "s", *a))),
    }[kind]


any_op = st.one_of(*(op_on(kind) for kind in "hlzs"), st.sampled_from("hlzs").map(lambda suffix: ("DEL", suffix)))
any_query: st.SearchStrategy[Query] = st.one_of(
    st.sampled_from([("HGETALL", "h"), ("HLEN", "h"), ("LLEN", "l"), ("SMEMBERS", "s"), ("HGETALL", "meta")]),
    text.map(lambda field: ("HGET", "h", field)),
    st.lists(text, min_size=1, max_size=3).map(lambda fields: ("HMGET", "h", *fields)),
    st.tuples(st.sampled_from([("LRANGE", "l"), ("ZRANGE", "z")]), bound, bound).map(lambda p: (*p[0], p[1], p[2])),
)


class BothStores(RuleBasedStateMachine):
    """Does everything to both and compares every answer."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = RedisStore(self.url, f"t{uuid.uuid4().hex[:12]}")
        self.core = MemoryCore()
        self.numbers = dict.fromkeys(SHARDS, 0)
        self.leases: dict[Shard, bytes] = {}
        self.closed = 0

    def teardown(self) -> None:
        self.runner.run(self.store.aclose())
        self.runner.close()

    @rule(shard=st.sampled_from(SHARDS), lease=st.sampled_from(LEASES))
    def take(self, shard: Shard, lease: bytes) -> None:
        expected = self.core.take(shard, lease, "w")
        assert self.runner.run(self.store.take(shard, lease, "w")) == expected
        self.leases[shard] = lease

    @rule(
        shard=st.sampled_from(SHARDS),
        stray_lease=st.none() | st.none() | st.sampled_from(LEASES),
        step=st.sampled_from([1, 1, 1, 1, 0, 2, -1]),
        ops=st.lists(any_op, max_size=6),
    )
    def commit(self, shard: Shard, stray_lease: bytes | None, step: int, ops: list[Op]) -> None:
        lease = stray_lease or self.leases.get(shard, b"none")
        commit = Commit(shard, lease, self.numbers[shard] + step, ops)
        expected = self.core.commit(commit)
        assert self.runner.run(self.store.commit([commit])) == [expected]
        self.numbers[shard] = int(self.core.read(shard, ("HGET", "meta", "number")) or 0)

    @rule(shard=st.sampled_from(SHARDS), queries=st.lists(any_query, min_size=1, max_size=5))
    def read(self, shard: Shard, queries: list[Query]) -> None:
        expected: list[Any] = [self.core.read(shard, query) for query in queries]
        assert self.runner.run(self.store.read([(shard, query) for query in queries])) == expected

    @rule(ops=st.lists(any_op, max_size=3))
    def fail_midway(self, ops: list[Op]) -> None:
        """An op on a key of another type, after some that were right."""
        self.closed += 1
        shard = Shard("Closed", self.closed)
        self.core.take(shard, b"a", "w")
        self.runner.run(self.store.take(shard, b"a", "w"))
        commit = Commit(shard, b"a", 1, [*ops, ("RPUSH", "meta", "x"), ("HSET", "h", "never", "set")])
        with pytest.raises(StoreCorrupt):
            self.core.commit(commit)
        with pytest.raises(StoreCorrupt):
            self.runner.run(self.store.commit([commit]))
        queries: list[Query] = [("HGETALL", "h"), ("LRANGE", "l", 0, -1), ("HGET", "meta", "number")]
        expected = [self.core.read(shard, query) for query in queries]
        assert self.runner.run(self.store.read([(shard, query) for query in queries])) == expected


def test_memory_and_server_agree_on_any_sequence_of_takes_commits_and_questions(redis_url: str) -> None:
    machine = type("OnThisServer", (BothStores,), {"url": redis_url})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
