"""A real server that is starved, misconfigured, paused or killed, and connections that misbehave."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import redis

from barnabas.devstack.process import wait_until
from barnabas.devstack.store import Store as Server
from barnabas.store.port import Applied, Commit, Op, Refused, Shard, StoreUnavailable, UnsafeStore
from barnabas.store.redis import RedisStore, check_settings
from tests.contract.store.wires import FakeServer, SlowProxy

SHARD = Shard("Plane", 3)
LEASE = b"lease"
Connect = Callable[..., RedisStore]


async def committed(store: RedisStore, number: int, *ops: Op) -> object:
    return (await store.commit([Commit(SHARD, LEASE, number, list(ops))]))[0]


async def list_of(store: RedisStore) -> list[bytes]:
    values: list[bytes] = (await store.read([(SHARD, ("LRANGE", "l", 0, -1))]))[0]
    return values


@contextmanager
def administration(server: Server) -> Iterator[Any]:
    with redis.Redis(port=server.port) as client:
        yield client


def starve(client: Any) -> None:
    client.config_set("maxmemory", 1)


def make_replica(client: Any) -> None:
    client.replicaof("127.0.0.1", 1)


def ask_for_replicas(client: Any) -> None:
    client.config_set("min-replicas-to-write", 1)


@pytest.mark.parametrize(
    ("break_it", "mend", "word"),
    [
        (starve, lambda client: client.config_set("maxmemory", 0), "OOM"),
        (make_replica, lambda client: client.replicaof("NO", "ONE"), "READONLY"),
        (ask_for_replicas, lambda client: client.config_set("min-replicas-to-write", 0), "NOREPLICAS"),
    ],
)
async def test_a_server_that_takes_no_writes_is_an_outage_and_nothing_was_changed(
    server: Server, connect: Connect, break_it: Callable[[Any], None], mend: Callable[[Any], None], word: str
) -> None:
    """F43, R15. Ops that free memory are refused too, so none of the commit's others can go ahead alone."""
    store = connect(server.address)
    await store.take(SHARD, LEASE, "w1")
    await committed(store, 1, ("RPUSH", "l", "a", "b"))
    ops: list[Op] = [("LTRIM", "l", 1, -1), ("RPUSH", "l", "c"), ("HSET", "h", "f", "v")]
    with administration(server) as client:
        break_it(client)
        outcome = await committed(store, 2, *ops)
        assert isinstance(outcome, StoreUnavailable)
        assert word in str(outcome)
        with pytest.raises(StoreUnavailable, match=word):
            await store.take(SHARD, b"next", "w2")
        assert await list_of(store) == [b"a", b"b"]
        mend(client)
    assert await committed(store, 2, *ops) == Applied()
    assert await list_of(store) == [b"b", b"c"]


async def test_a_server_that_cannot_save_is_an_outage(server: Server, connect: Connect) -> None:
    """F45: MISCONF."""
    store = connect(server.address)
    await store.take(SHARD, LEASE, "w1")
    folder = server.directory / "store"
    hidden = server.directory / "hidden"
    with administration(server) as client:
        client.config_set("save", "3600 1")
        folder.rename(hidden)
        # the server works in the renamed folder; only one that is gone makes its snapshot fail
        for file in sorted(hidden.rglob("*"), reverse=True):
            file.unlink() if file.is_file() else file.rmdir()
        hidden.rmdir()
        client.bgsave()
        assert wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 10)
        outcome = await committed(store, 1, ("RPUSH", "l", "x"))
        assert isinstance(outcome, StoreUnavailable)
        assert "MISCONF" in str(outcome)
        client.config_set("stop-writes-on-bgsave-error", "no")
    assert await committed(store, 1, ("RPUSH", "l", "x")) == Applied()


async def test_a_server_that_wants_a_password_is_an_outage(server: Server, connect: Connect) -> None:
    with administration(server) as client:
        client.config_set("requirepass", "secret")
        with pytest.raises(StoreUnavailable, match="uthentication"):
            await connect(server.address).take(SHARD, LEASE, "w1")
        with_password = server.address.replace("redis://", "redis://:secret@")
        assert (await connect(with_password).take(SHARD, LEASE, "w1")).takes == 1


async def test_a_server_busy_with_a_script_is_an_outage(server: Server, connect: Connect) -> None:
    store = connect(server.address)
    await store.take(SHARD, LEASE, "w1")
    with administration(server) as client, redis.Redis(port=server.port, retry=None) as hog:
        client.config_set("busy-reply-threshold", 10)
        endless = asyncio.create_task(asyncio.to_thread(hog.eval, "while true do end", 0))
        outcome: object = Applied()
        number = 0
        while outcome == Applied():
            number += 1
            outcome = await committed(store, number, ("RPUSH", "l", number))
        assert isinstance(outcome, StoreUnavailable)
        assert "BUSY" in str(outcome)
        client.script_kill()
        with pytest.raises(redis.ResponseError):
            await endless
    assert await committed(store, number, ("RPUSH", "l", number)) == Applied()


async def test_a_dead_server_is_an_outage_and_the_next_use_after_its_start_connects_again(
    server: Server, connect: Connect
) -> None:
    store = connect(server.address)
    await store.take(SHARD, LEASE, "w1")
    assert await committed(store, 1, ("RPUSH", "l", "a")) == Applied()
    server.kill()
    for _ in range(3):
        assert isinstance(await committed(store, 2, ("RPUSH", "l", "b")), StoreUnavailable)
    with pytest.raises(StoreUnavailable):
        await store.read([(SHARD, ("LLEN", "l"))])
    with pytest.raises(StoreUnavailable):
        await store.time_ms()
    server.start()
    assert await committed(store, 2, ("RPUSH", "l", "b")) == Applied()
    assert await list_of(store) == [b"a", b"b"]


async def test_a_connection_that_was_closed_while_idle_costs_no_commit(server: Server, connect: Connect) -> None:
    store = connect(server.address)
    await store.take(SHARD, LEASE, "w1")
    with administration(server) as client:
        client.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)  # the end of the stream has no sign that could be awaited
    assert await committed(store, 1, ("RPUSH", "l", "a")) == Applied()


async def test_a_stopped_server_is_an_outage_in_time_and_late_requests_change_nothing_under_a_new_lease(
    server: Server, connect: Connect
) -> None:
    store = connect(server.address, timeout_seconds=0.5)
    await store.take(SHARD, LEASE, "w1")
    assert await committed(store, 1, ("RPUSH", "l", "a")) == Applied()
    process = server.process
    assert process is not None
    process.send(signal.SIGSTOP)
    try:
        started = time.monotonic()
        calls = [store.commit([Commit(SHARD, LEASE, 2, [("RPUSH", "l", "b")])]) for _ in range(3)]
        outcomes = [outcome for call in await asyncio.gather(*calls) for outcome in call]
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        # those that waited for their turn have the same deadline
        assert time.monotonic() - started < 1.5
    finally:
        process.send(signal.SIGCONT)
    number = (await store.take(SHARD, b"next", "w2")).number
    assert number in (1, 2)  # the request that was sent may have been applied, once
    assert await list_of(store) == [b"a", b"b"][:number]
    assert await committed(store, 3, ("RPUSH", "l", "x")) == Refused("lease", number)


async def test_a_paused_server_is_an_outage_in_time(server: Server, connect: Connect) -> None:
    store = connect(server.address, timeout_seconds=0.3)
    await store.take(SHARD, LEASE, "w1")
    with administration(server) as client:
        client.client_pause(60_000, all=False)  # else the server would not hear the end of it
        started = time.monotonic()
        assert isinstance(await committed(store, 1, ("RPUSH", "l", "a")), StoreUnavailable)
        assert time.monotonic() - started < 1.0
        client.client_unpause()
    assert (await store.take(SHARD, b"next", "w1")).takes == 2


async def test_scripts_that_the_server_forgot_are_loaded_again_and_run_once(server: Server, connect: Connect) -> None:
    """F46."""
    store = connect(server.address)
    shards = [Shard("Plane", partition) for partition in range(4)]
    with administration(server) as client:
        for shard in shards:
            client.script_flush()
            await store.take(shard, LEASE, "w1")
        for number in range(1, 6):
            client.script_flush()
            commits = [Commit(shard, LEASE, number, [("RPUSH", "l", number)]) for shard in shards]
            assert await store.commit(commits) == [Applied()] * 4
    lengths = await store.read([(shard, ("LLEN", "l")) for shard in shards])
    assert lengths == [5] * 4


async def test_outcomes_that_were_read_before_the_connection_broke_stand(connect: Connect) -> None:
    async with FakeServer(b"*2\r\n$7\r\napplied\r\n$1\r\n1\r\n", None) as fake:
        store = connect(fake.address)
        commits = [Commit(Shard("Plane", partition), LEASE, 1, [("HSET", "h", "f", "v")]) for partition in range(3)]
        outcomes = await store.commit(commits)
    assert outcomes[0] == Applied()
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes[1:])


async def test_a_commit_or_take_whose_reply_did_not_come_is_not_sent_again(connect: Connect) -> None:
    """R3."""
    async with FakeServer(None, None) as fake:
        store = connect(fake.address)
        assert isinstance(await committed(store, 1), StoreUnavailable)
        assert fake.scripts_called == 1
        with pytest.raises(StoreUnavailable):
            await store.take(SHARD, LEASE, "w1")
        assert fake.scripts_called == 2


async def test_cancelled_callers_never_leave_their_replies_to_others(server: Server, connect: Connect) -> None:
    """F18."""
    rng = random.Random(18)
    direct = connect(server.address)
    await direct.take(SHARD, LEASE, "w1")
    tokens = [b"token-%d" % i for i in range(200)]
    await committed(direct, 1, *(("HSET", "echo", token, token) for token in tokens))
    async with SlowProxy(server.port, rng) as proxy:
        store = connect(proxy.address)

        async def echo(token: bytes) -> bytes:
            answers = await store.read([(SHARD, ("HGET", "echo", token)), (SHARD, ("HLEN", "echo"))])
            assert answers[1] == len(tokens)
            return bytes(answers[0])

        calls = {token: asyncio.create_task(echo(token)) for token in tokens}
        victims = rng.sample(tokens, 100)
        for token in victims:
            await asyncio.sleep(rng.random() * 0.003)
            calls[token].cancel()
        results = await asyncio.gather(*calls.values(), return_exceptions=True)
    answered = 0
    for token, result in zip(tokens, results, strict=True):
        if not isinstance(result, asyncio.CancelledError):
            assert result == token
            answered += 1
    assert answered >= 100
    assert answered < 200


async def test_a_commit_whose_caller_was_cancelled_is_whole_and_the_next_one_gets_its_own_outcome(
    server: Server, connect: Connect
) -> None:
    rng = random.Random(19)
    async with SlowProxy(server.port, rng) as proxy:
        store = connect(proxy.address)
        await store.take(SHARD, LEASE, "w1")
        for number in range(1, 40):
            call = asyncio.create_task(committed(store, number, ("RPUSH", "l", number), ("RPUSH", "m", number)))
            await asyncio.sleep(rng.random() * 0.004)
            call.cancel()
            await asyncio.wait([call])
            assert await committed(store, number) == Applied()
    sizes = await connect(server.address).read([(SHARD, ("LLEN", "l")), (SHARD, ("LLEN", "m"))])
    assert sizes == [39, 39]


async def test_closing_ends_what_is_under_way_at_once(connect: Connect) -> None:
    async with FakeServer() as mute:
        store = connect(mute.address, timeout_seconds=60)
        call = asyncio.create_task(committed(store, 1))
        await mute.called.wait()
        started = time.monotonic()
        await store.aclose()
        assert isinstance(await call, StoreUnavailable)
        assert time.monotonic() - started < 1
        assert isinstance(await committed(store, 1), StoreUnavailable)


async def test_closing_before_a_call_has_begun_is_an_outage_for_it(server: Server, connect: Connect) -> None:
    store = connect(server.address)
    results = await asyncio.gather(committed(store, 1), store.aclose())
    assert isinstance(results[0], StoreUnavailable)


async def test_the_start_up_check_refuses_a_server_that_evicts(server: Server, connect: Connect) -> None:
    """F44."""
    store = connect(server.address)
    settings = await store.settings()
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "always"
    assert settings["version"].split(".")[0].isdigit()
    check_settings(settings)
    with administration(server) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(UnsafeStore, match="CONFIG SET maxmemory-policy noeviction"):
            check_settings(await store.settings())


async def test_the_scripts_run_in_a_cluster_whatever_the_keys_are_called(cluster: Server, connect: Connect) -> None:
    """F22: a script that touched a key of another slot would be refused."""
    store = connect(cluster.address)
    await store.take(SHARD, LEASE, "w1")
    names = [b"{other}", b"}{", b"{}", b"a}b{c}", b"", b"\x00{x}"]
    assert await committed(store, 1, *(("HSET", b"st:" + name, "n", name) for name in names)) == Applied()
    assert await store.read([(SHARD, ("HGET", b"st:" + name, "n")) for name in names]) == names
    await store.register([])
