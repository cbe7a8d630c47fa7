"""The contract of a store, on the memory adapter and on a real server."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from barnabas.store.port import (
    Applied,
    Commit,
    Op,
    Query,
    Refused,
    RegistryConflict,
    Service,
    Shard,
    Store,
    StoreCorrupt,
    Taken,
)

SHARD = Shard("Plane", 3)
OTHER = Shard("Plane", 4)
LEASE = b"\x00lease\xff"
EVERY_BYTE = bytes(range(256)) + b"}{ braces {x} \r\n"


async def committed(store: Store, number: int, *ops: Op, shard: Shard = SHARD, lease: bytes = LEASE) -> object:
    return (await store.commit([Commit(shard, lease, number, list(ops))]))[0]


async def asked(store: Store, *query: Any, shard: Shard = SHARD) -> Any:
    return (await store.read([(shard, query)]))[0]


async def test_a_shard_that_never_was_has_number_zero_and_is_taken_for_the_first_time(store: Store) -> None:
    assert await store.take(SHARD, LEASE, "w1") == Taken(number=0, takes=1)
    assert await store.take(SHARD, b"next", "w2") == Taken(number=0, takes=2)
    assert await store.take(OTHER, b"other", "w2") == Taken(number=0, takes=1)


async def test_a_take_tells_the_number_of_the_last_commit(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    assert await committed(store, 1, ("HSET", "h", "f", "v")) == Applied()
    assert await committed(store, 2, ("HSET", "h", "f", "v")) == Applied()
    assert await store.take(SHARD, b"next", "w2") == Taken(number=2, takes=2)


async def test_every_verb_changes_what_its_question_shows(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    ops: list[Op] = [
        ("HSET", "h", "a", "1", "b", "2"),
        ("HSET", "h", "c", "3"),
        ("HDEL", "h", "b", "absent"),
        ("RPUSH", "l", "a", "b", "c", "d"),
        ("LTRIM", "l", -3, -1),
        ("ZADD", "z", 20, "late", 10, "b", 10, "a", "1.5", "early"),
        ("ZREM", "z", "late"),
        ("SADD", "s", "a", "b"),
        ("SREM", "s", "b"),
        ("RPUSH", "gone", "x"),
        ("DEL", "gone"),
    ]
    assert await committed(store, 1, *ops) == Applied()
    queries: list[tuple[Query, Any]] = [
        (("HGETALL", "h"), {b"a": b"1", b"c": b"3"}),
        (("HGET", "h", "a"), b"1"),
        (("HGET", "h", "absent"), None),
        (("HMGET", "h", "c", "absent", "a"), [b"3", None, b"1"]),
        (("HLEN", "h"), 2),
        (("LRANGE", "l", 0, -1), [b"b", b"c", b"d"]),
        (("LRANGE", "l", -2, 1), [b"c"]),
        (("LLEN", "l"), 3),
        (("ZRANGE", "z", 0, -1), [(b"early", 1.5), (b"a", 10.0), (b"b", 10.0)]),
        (("SMEMBERS", "s"), {b"a"}),
        (("LLEN", "gone"), 0),
    ]
    answers = await store.read([(SHARD, query) for query, _ in queries])
    assert answers == [expected for _, expected in queries]


async def test_bounds_count_from_either_end_and_may_lie_outside(store: Store) -> None:
    bounds = [(first, last) for first in range(-6, 7) for last in range(-6, 7)]
    values = [b"a", b"b", b"c", b"d"]
    await store.take(SHARD, LEASE, "w1")
    ops: list[Op] = [("ZADD", "z", 1, "d", 1, "c", 1, "b", 1, "a")]
    for first, last in bounds:
        trimmed = f"{first} {last}"
        ops += [("RPUSH", trimmed, *values), ("LTRIM", trimmed, first, last)]
    await committed(store, 1, ("RPUSH", "l", *values), *ops)
    questions: list[Query] = []
    for first, last in bounds:
        questions += [("LRANGE", "l", first, last), ("LRANGE", f"{first} {last}", 0, -1), ("ZRANGE", "z", first, last)]
    answers = await store.read([(SHARD, question) for question in questions])
    for position, (first, last) in enumerate(bounds):
        places = range(first if first >= 0 else first + 4, (last if last >= 0 else last + 4) + 1)
        expected = [value for place, value in enumerate(values) if place in places]
        ranged, kept, ranked = answers[3 * position : 3 * position + 3]
        assert ranged == kept == expected
        assert ranked == [(value, 1.0) for value in expected]


async def test_what_never_was_reads_as_empty(store: Store) -> None:
    queries: list[Query] = [
        ("HGETALL", "x"),
        ("HGET", "x", "f"),
        ("HMGET", "x", "f", "g"),
        ("HLEN", "x"),
        ("LRANGE", "x", 0, -1),
        ("LLEN", "x"),
        ("ZRANGE", "x", 0, -1),
        ("SMEMBERS", "x"),
    ]
    answers = await store.read([(SHARD, query) for query in queries])
    assert answers == [{}, None, [None, None], 0, [], 0, [], set()]
    assert await store.read([]) == []
    assert await store.commit([]) == []


async def test_a_late_request_of_a_former_lease_is_refused(store: Store) -> None:
    """A worker that was paused, or a copy of a request that lay on the wire, after the shard has moved (R3)."""
    await store.take(SHARD, LEASE, "w1")
    await committed(store, 1, ("RPUSH", "l", "mine"))
    await store.take(SHARD, b"next", "w2")
    assert await committed(store, 2, ("RPUSH", "l", "late")) == Refused("lease", 1)
    assert await committed(store, 2, ("RPUSH", "l", "theirs"), lease=b"next") == Applied()
    assert await asked(store, "LRANGE", "l", 0, -1) == [b"mine", b"theirs"]


async def test_a_shard_that_nobody_took_refuses_everyone(store: Store) -> None:
    assert await committed(store, 1, ("RPUSH", "l", "x")) == Refused("lease", 0)
    assert await committed(store, 0) == Refused("lease", 0)
    assert await asked(store, "LLEN", "l") == 0


@pytest.mark.parametrize("number", [-1, 0, 1, 2, 4, 1000])
async def test_only_the_next_number_is_taken(store: Store, number: int) -> None:
    await store.take(SHARD, LEASE, "w1")
    await committed(store, 1, ("RPUSH", "l", "1"))
    await committed(store, 2, ("RPUSH", "l", "2"))
    assert await committed(store, number, ("RPUSH", "l", "no")) == Refused("number", 2)
    assert await committed(store, 3, ("RPUSH", "l", "3")) == Applied()
    assert await asked(store, "LRANGE", "l", 0, -1) == [b"1", b"2", b"3"]


async def test_the_lease_is_looked_at_before_the_number(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    assert await committed(store, 99, ("RPUSH", "l", "x"), lease=b"other") == Refused("lease", 0)


async def test_a_check_changes_nothing_and_notices_lease_and_number(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    assert await committed(store, 0) == Applied()
    await committed(store, 1, ("HSET", "h", "f", "v"))
    assert await committed(store, 1) == Applied()
    assert await committed(store, 0) == Refused("number", 1)
    assert await committed(store, 3) == Refused("number", 1)
    assert await committed(store, 1, lease=b"other") == Refused("lease", 1)
    assert (await store.take(SHARD, LEASE, "w1")).number == 1


async def test_a_check_that_is_one_ahead_of_the_store_is_refused(store: Store) -> None:
    """F63: taken for a commit, it would make a store that fell back by one commit look whole again."""
    await store.take(SHARD, LEASE, "w1")
    assert await committed(store, 1) == Refused("number", 0)
    assert (await store.take(SHARD, LEASE, "w1")).number == 0


async def test_each_shard_of_a_call_has_its_own_outcome(store: Store) -> None:
    shards = [Shard("Plane", partition) for partition in range(8)]
    for shard in shards[:6]:
        await store.take(shard, LEASE, "w1")
    commits = [Commit(shard, LEASE, 1, [("HSET", "h", "p", shard.partition)]) for shard in shards]
    commits[2].number = 5
    outcomes = await store.commit(commits)
    expected: list[object] = [Applied()] * 8
    expected[2] = Refused("number", 0)
    expected[6] = expected[7] = Refused("lease", 0)
    assert outcomes == expected
    fields = await store.read([(shard, ("HGET", "h", "p")) for shard in shards])
    assert fields == [b"0", b"1", None, b"3", b"4", b"5", None, None]


async def test_keys_fields_values_leases_and_members_may_hold_any_bytes(store: Store) -> None:
    """F22."""
    await store.take(SHARD, EVERY_BYTE, "w1")
    ops: list[Op] = [
        ("HSET", b"st:" + EVERY_BYTE, EVERY_BYTE, EVERY_BYTE),
        ("RPUSH", b"j:" + EVERY_BYTE, EVERY_BYTE, b""),
        ("ZADD", b"z" + EVERY_BYTE, 1, EVERY_BYTE),
        ("SADD", b"", EVERY_BYTE),
        ("HSET", "schlüssel", "größe", "1 m²"),
    ]
    assert await committed(store, 1, *ops, lease=EVERY_BYTE) == Applied()
    assert await asked(store, "HGETALL", b"st:" + EVERY_BYTE) == {EVERY_BYTE: EVERY_BYTE}
    assert await asked(store, "LRANGE", b"j:" + EVERY_BYTE, 0, -1) == [EVERY_BYTE, b""]
    assert await asked(store, "ZRANGE", b"z" + EVERY_BYTE, 0, -1) == [(EVERY_BYTE, 1.0)]
    assert await asked(store, "SMEMBERS", b"") == {EVERY_BYTE}
    assert await asked(store, "HGET", "schlüssel", "größe".encode()) == "1 m²".encode()


async def test_integers_arrive_as_their_digits(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    values = [0, -1, 7, 2**31, 1_700_000_000_123, 10**15, 2**53, -(2**53)]
    await committed(store, 1, ("RPUSH", "l", *values))
    assert await asked(store, "LRANGE", "l", 0, -1) == [b"%d" % value for value in values]


async def test_a_commit_of_twenty_thousand_ops_is_one_commit(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    ops: list[Op] = [("HSET", b"st:%d" % (i % 700), b"f%d" % i, i) for i in range(20_000)]
    assert await committed(store, 1, *ops) == Applied()
    assert sum(await store.read([(SHARD, ("HLEN", b"st:%d" % i)) for i in range(700)])) == 20_000


@pytest.mark.parametrize("count", [3997, 3998, 3999, 4000, 4001, 10_000])
async def test_an_op_may_have_more_arguments_than_a_script_can_unpack(store: Store, count: int) -> None:
    await store.take(SHARD, LEASE, "w1")
    names = [b"%d" % i for i in range(count)]
    pairs = [part for name in names for part in (name, name)]
    ops: list[Op] = [("RPUSH", "l", *names), ("HSET", "h", *pairs), ("ZADD", "z", *pairs), ("SADD", "s", *names)]
    assert await committed(store, 1, *ops) == Applied()
    assert await asked(store, "LRANGE", "l", 0, -1) == names
    assert await asked(store, "HGETALL", "h") == {name: name for name in names}
    assert await asked(store, "ZRANGE", "z", 0, -1) == [(name, float(name)) for name in names]
    assert await asked(store, "SMEMBERS", "s") == set(names)
    drops: list[Op] = [("HDEL", "h", *names[1:]), ("ZREM", "z", *names[1:]), ("SREM", "s", *names[1:])]
    assert await committed(store, 2, *drops, ("LTRIM", "l", -1, -1)) == Applied()
    sizes = await store.read([(SHARD, ("HLEN", "h")), (SHARD, ("LLEN", "l"))])
    assert sizes == [1, 1]
    assert await asked(store, "ZRANGE", "z", 0, -1) == [(b"0", 0.0)]
    assert await asked(store, "SMEMBERS", "s") == {b"0"}


@pytest.mark.parametrize(
    "op",
    [
        ("GET", "k"),
        ("FLUSHALL", "k"),
        ("hset", "k", "f", "v"),
        ("HSET",),
        ("HSET", "k"),
        ("HSET", "k", "f"),
        ("HSET", "k", "f", "v", "g"),
        ("HDEL", "k"),
        ("DEL", "k", "another"),
        ("RPUSH", "k"),
        ("LTRIM", "k", 1),
        ("LTRIM", "k", "a", "b"),
        ("ZADD", "k", 1),
        ("ZADD", "k", "soon", "m"),
        ("ZADD", "k", 1, "m", "nan", "n"),
        ("ZREM", "k"),
        ("SADD", "k"),
        ("SREM", "k"),
    ],
)
async def test_a_malformed_op_is_an_error_and_nothing_of_its_commit_happens(store: Store, op: Op) -> None:
    await store.take(SHARD, LEASE, "w1")
    with pytest.raises(ValueError, match="malformed"):
        await committed(store, 1, ("RPUSH", "l", "before"), op, ("RPUSH", "l", "after"))
    assert await asked(store, "LLEN", "l") == 0
    assert await committed(store, 1, ("RPUSH", "l", "good")) == Applied()


@pytest.mark.parametrize(
    "query",
    [
        ("GET", "k"),
        ("DEL", "k"),
        ("HGETALL",),
        ("HGET", "k"),
        ("HMGET", "k"),
        ("LRANGE", "k", "a", "b"),
        ("HGET", "k", None),
    ],
)
async def test_a_malformed_question_is_an_error(store: Store, query: Query) -> None:
    with pytest.raises(ValueError, match="malformed"):
        await store.read([(SHARD, query)])


async def test_a_commit_that_fails_midway_closes_its_shard_and_no_other(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    await store.take(OTHER, LEASE, "w1")
    await committed(store, 1, ("RPUSH", "foreign", "a list"))
    half = Commit(SHARD, LEASE, 2, [("HSET", "h", "f", "v"), ("HSET", "foreign", "f", "v")])
    with pytest.raises(StoreCorrupt, match="commit 2 failed midway") as raised:
        await store.commit([half, Commit(OTHER, LEASE, 1, [("HSET", "h", "f", "v")])])
    assert isinstance(raised.value.outcomes[0], StoreCorrupt)
    assert raised.value.outcomes[1] == Applied()
    with pytest.raises(StoreCorrupt, match="commit 2 failed midway"):
        await committed(store, 2, ("RPUSH", "l", "x"))
    with pytest.raises(StoreCorrupt, match="commit 2 failed midway"):
        await store.take(SHARD, b"next", "w2")
    assert await asked(store, "HGET", "meta", "number") == b"1"
    assert await committed(store, 2, ("RPUSH", "l", "x"), shard=OTHER) == Applied()


async def test_a_question_about_a_key_of_another_type_is_no_outage(store: Store) -> None:
    await store.take(SHARD, LEASE, "w1")
    await committed(store, 1, ("RPUSH", "l", "x"))
    with pytest.raises(StoreCorrupt):
        await asked(store, "HGETALL", "l")


async def test_of_many_takes_at_once_the_last_one_holds_and_each_knows_its_turn(store: Store) -> None:
    leases = [b"lease-%d" % i for i in range(20)]
    taken = await asyncio.gather(*(store.take(SHARD, lease, "w") for lease in leases))
    assert sorted(t.takes for t in taken) == list(range(1, 21))
    last = leases[max(range(20), key=lambda i: taken[i].takes)]
    for lease in leases:
        outcome = await committed(store, 0, lease=lease)
        assert outcome == (Applied() if lease == last else Refused("lease", 0))


async def test_commits_and_reads_may_be_under_way_at_once(store: Store) -> None:
    shards = [Shard("Plane", partition) for partition in range(10)]
    for shard in shards:
        await store.take(shard, LEASE, "w1")

    async def work(shard: Shard) -> list[bytes]:
        for number in range(1, 21):
            assert await committed(store, number, ("RPUSH", "l", number), shard=shard) == Applied()
            assert await asked(store, "LLEN", "l", shard=shard) == number
        values: list[bytes] = await asked(store, "LRANGE", "l", 0, -1, shard=shard)
        return values

    for values in await asyncio.gather(*map(work, shards)):
        assert values == [b"%d" % number for number in range(1, 21)]


async def test_the_clock_is_milliseconds_since_the_epoch(store: Store) -> None:
    assert abs(await store.time_ms() - time.time() * 1000) < 10_000


PLANE = Service("Plane", "object", 8, "main", {"depart": "exclusive"})
CARRIER = Service("Carrier", "service", 8, "main", {"lookup": "service", "flüge": "service"})


async def test_registered_services_are_known_to_all_and_stay(store: Store) -> None:
    assert await store.services() == {}
    await store.register([PLANE])
    await store.register([CARRIER])
    assert await store.services() == {"Plane": PLANE, "Carrier": CARRIER}


async def test_what_a_service_says_about_itself_and_who_may_reach_it(store: Store) -> None:
    depart = {"public": True, "input_schema": {"type": "object", "properties": {}}}
    about = {"public": True, "handlers": {"depart": depart}}
    await store.register([replace(PLANE, about=about), CARRIER])
    await store.set_public("Plane", False)
    found = await store.services()
    assert found["Plane"].about == {"public": False, "handlers": {"depart": depart | {"public": False}}}
    assert not found["Plane"].public
    assert not found["Plane"].is_public("depart"), "what was said by hand holds for all handlers"
    assert found["Carrier"].public
    await store.register([replace(PLANE, about=about)])
    assert not (await store.services())["Plane"].public, "what was said by hand outlives a deployment"
    await store.set_public("Plane", True)
    assert (await store.services())["Plane"].public


async def test_the_newest_registration_of_a_service_has_its_handlers(store: Store) -> None:
    await store.register([PLANE, CARRIER])
    newer = Service("Plane", "object", 8, "main", {"arrive": "exclusive", "totals": "shared"})
    await store.register([newer])
    assert await store.services() == {"Plane": newer, "Carrier": CARRIER}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (Service("Plane", "service", 8, "main", {}), "kind is 'object' there and 'service' here"),
        (Service("Plane", "object", 16, "main", {}), "partition count is 8 there and 16 here"),
        (Service("Plane", "object", 8, "flights", {}), "consumer group is 'main' there and 'flights' here"),
    ],
)
async def test_a_registration_that_contradicts_another_writes_nothing(store: Store, other: Service, said: str) -> None:
    """F40: a partition count that changed is one of them."""
    await store.register([PLANE])
    with pytest.raises(RegistryConflict, match=said):
        await store.register([CARRIER, other])
    assert await store.services() == {"Plane": PLANE}


async def test_of_contradicting_registrations_at_once_one_wins(store: Store) -> None:
    variants = [Service("Plane", "object", count, "main", {}) for count in (4, 8, 16, 32)]
    results = await asyncio.gather(*(store.register([variant]) for variant in variants), return_exceptions=True)
    assert sum(result is None for result in results) == 1
    winner = variants[results.index(None)]
    assert await store.services() == {"Plane": winner}
