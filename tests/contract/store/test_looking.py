"""Looks into the store: the same on memory and on a server, and what a server adds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from barnabas.store import keys
from barnabas.store.looking import EACH, Looks, MemoryLooks, RedisLooks, TooLarge
from barnabas.store.memory import MemoryStore
from barnabas.store.port import Commit, Op, Shard, Store, StoreCorrupt
from barnabas.store.redis import RedisStore

SHARD = Shard("Cart", 3)


@pytest.fixture
async def looks(store: Store, request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Looks]:
    made: Looks
    if isinstance(store, MemoryStore):
        made = MemoryLooks(store.core)
    else:
        made = RedisLooks(request.getfixturevalue("redis_url"), namespace, most_bytes=100_000)
    yield made
    await made.aclose()


async def write(store: Store, *ops: Op, shard: Shard = SHARD) -> None:
    taken = await store.take(shard, b"lease", "me")
    [outcome] = await store.commit([Commit(shard, b"lease", taken.number + 1, list(ops))])
    assert type(outcome).__name__ == "Applied"


async def test_all_questions_are_answered_in_the_shapes_of_the_port(store: Store, looks: Looks) -> None:
    await write(
        store,
        ("HSET", keys.LIVE, b"one", b"1", b"two\xff", b"2"),
        ("RPUSH", keys.journal(b"one"), b"a", b"b"),
        ("RPUSH", keys.journal(b"two\xff"), b"c"),
        ("ZADD", keys.EXPIRY, 5, b"x"),
        ("SADD", keys.STRANDED, b"s"),
    )
    answers = await looks.look(
        SHARD,
        [
            ("HGETALL", keys.LIVE),
            (EACH, keys.LIVE, keys.journal(b"")),
            ("ZRANGE", keys.EXPIRY, 0, -1),
            ("SMEMBERS", keys.STRANDED),
            ("LRANGE", keys.RING, 0, -1),
            ("HGET", keys.META, b"number"),
            (EACH, keys.KEPT, b"j:"),
        ],
    )
    assert answers == [
        {b"one": b"1", b"two\xff": b"2"},
        {b"one": [b"a", b"b"], b"two\xff": [b"c"]},
        [(b"x", 5.0)],
        {b"s"},
        [],
        b"1",
        {},
    ]


async def test_a_shard_that_nobody_has_written_to_is_empty(looks: Looks) -> None:
    assert await looks.look(Shard("Nobody", 0), [("HGETALL", keys.META), ("HLEN", keys.LIVE)]) == [{}, 0]


async def test_suffixes_are_found_in_all_shards_of_the_namespace_alone(
    store: Store, looks: Looks, request: pytest.FixtureRequest
) -> None:
    odd = "}:st:{*?[a]\\ü"
    await write(store, ("HSET", keys.state("a"), b"n", b"1"), ("HSET", keys.state(odd), b"n", b"1"))
    await write(
        store, ("HSET", keys.state("b"), b"n", b"1"), ("HSET", keys.promises("p"), b"n", b"1"), shard=Shard("W", 0)
    )
    if isinstance(looks, RedisLooks):
        other = RedisStore(request.getfixturevalue("redis_url"), "another")
        await write(other, ("HSET", keys.state("c"), b"n", b"1"))
        await other.aclose()
    found = await looks.suffixes(keys.state(""), 100)
    assert {shard: sorted(found[shard]) for shard in found} == {
        SHARD: sorted([b"a", odd.encode()]),
        Shard("W", 0): [b"b"],
    }
    assert await looks.suffixes(keys.promises(""), 100) == {Shard("W", 0): [b"p"]}
    with pytest.raises(TooLarge, match="more than 2"):
        await looks.suffixes(b"", 2)


async def test_a_key_of_another_type_is_corrupt(store: Store, looks: Looks) -> None:
    await write(store, ("HSET", keys.RING, b"no", b"list"))
    with pytest.raises(StoreCorrupt):
        await looks.look(SHARD, [("LRANGE", keys.RING, 0, -1)])


async def test_a_shard_that_is_too_large_is_not_read(redis_url: str, namespace: str) -> None:
    store, looks = RedisStore(redis_url, namespace), RedisLooks(redis_url, namespace, most_bytes=100_000)
    try:
        await write(store, ("HSET", keys.LIVE, b"one", b"x"), ("RPUSH", keys.journal(b"one"), *[b"y" * 1_000] * 200))
        assert await looks.look(SHARD, [("HLEN", keys.LIVE)]) == [1]
        with pytest.raises(TooLarge, match="of Cart/3"):
            await looks.look(SHARD, [(EACH, keys.LIVE, keys.journal(b""))])
    finally:
        await store.aclose()
        await looks.aclose()
