"""Servers and stores for the contract of the store: the same tests on the memory adapter and on a real server."""

from __future__ import annotations

import os
import random
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
import redis

from barnabas.devstack.process import wait_until
from barnabas.devstack.store import Store as Server
from barnabas.store.memory import MemoryStore
from barnabas.store.port import Store
from barnabas.store.redis import RedisStore


def free_port() -> int:
    """A port that is free, and the one 10,000 above it too: a cluster's node talks to others there, and knows no port
    above 65535.

    Both lie below the ports that outgoing connections are given, so none of those takes one meanwhile.
    """
    for port in random.sample(range(20_000, 22_700), 200):
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
        except OSError:
            continue
        return port
    raise RuntimeError("none of 200 ports is free")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that tests share; each keeps to a namespace of its own and leaves the server's settings alone."""
    if url := os.environ.get("BARNABAS_REDIS"):
        yield url
        return
    server = Server(tmp_path_factory.mktemp("redis"), free_port())
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server of the test's own, to be stopped, starved and misconfigured."""
    own = Server(tmp_path, free_port())
    own.start()
    try:
        yield own
    finally:
        own.kill()


@pytest.fixture
def namespace() -> str:
    return f"t{uuid.uuid4().hex[:12]}"


@pytest.fixture(params=["memory", "server"])
async def store(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Store]:
    on_memory = request.param == "memory"
    made: Store = MemoryStore() if on_memory else RedisStore(request.getfixturevalue("redis_url"), namespace)
    yield made
    await made.aclose()


@pytest.fixture
async def connect(namespace: str) -> AsyncIterator[Callable[..., RedisStore]]:
    """Makes stores on the address of a server, in the test's namespace, and closes them."""
    made: list[RedisStore] = []

    def connect(address: str, *, timeout_seconds: float = 5.0) -> RedisStore:
        made.append(RedisStore(address, namespace, timeout_seconds=timeout_seconds))
        return made[-1]

    yield connect
    for store in made:
        await store.aclose()


class ClusterServer(Server):
    """A cluster of one node: it refuses what a real cluster would refuse about slots."""

    def _prepare(self) -> list[str | Path]:
        return [*super()._prepare(), "--cluster-enabled", "yes"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Server]:
    node = ClusterServer(tmp_path, free_port())
    node.start()
    try:
        with redis.Redis(port=node.port) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            assert wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 10)
        yield node
    finally:
        node.kill()
