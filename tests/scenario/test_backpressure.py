"""R11: what waits costs store, not memory, and holds nobody up. A real worker process, real servers."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Producer

import barnabas
from barnabas.contract.codec import encode_invocation
from barnabas.contract.ids import random_id
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.records import Invocation
from barnabas.contract.topics import TopicNames
from barnabas.store import keys
from barnabas.store.port import Shard
from barnabas.store.redis import RedisStore
from tests.scenario.backpressure_app import app, quick
from tests.scenario.live_worker import Servers, worker

PARTITIONS = 8
PAD = "x" * 100
TARGET = "tests.scenario.backpressure_app:app"

pytestmark = pytest.mark.timeout(180)


def produce(servers: Servers, namespace: str, count: int, key_of: Callable[[int], str]) -> None:
    """Invocations of `nap` that hold their keys for ten minutes."""
    producer = Producer({"bootstrap.servers": servers.kafka, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    topic = TopicNames(namespace).invocations("Sleeper")
    for i in range(count):
        key = key_of(i)
        id_ = random_id("Sleeper", key)
        record = encode_invocation(Invocation(id_, "Sleeper", "nap", key, b"600", {"pad": PAD}))
        producer.produce(topic, record, key, partition=id_.partition(PARTITIONS))
        if i % 5_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


async def taken_in(store: RedisStore) -> int:
    """How many records the worker's shards have behind them, as the store has it."""
    offsets = await store.read([(Shard("Sleeper", p), ("HGET", keys.META, b"inv")) for p in range(PARTITIONS)])
    return sum(int(offset or 0) for offset in offsets)


async def until_taken_in(store: RedisStore, count: int) -> None:
    deadline = time.monotonic() + 60
    while await taken_in(store) < count:
        assert time.monotonic() < deadline, f"only {await taken_in(store)} of {count} records were taken in"
        await asyncio.sleep(0.05)


def resident_megabytes(process: subprocess.Popen[bytes]) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from /proc")
async def test_memory_stays_flat_while_200_000_records_wait_for_1000_sleeping_keys(
    barnabas_stack: Servers, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = f"bp-{uuid4().hex[:8]}"
    store = RedisStore(barnabas_stack.redis, namespace)
    async with worker(barnabas_stack, namespace, TARGET, app, PARTITIONS) as process:
        memory = []
        for done in range(50_000, 200_001, 50_000):
            produce(barnabas_stack, namespace, 50_000, lambda i: f"k{i % 1000}")
            await until_taken_in(store, done)
            memory.append(resident_megabytes(process))
    _, half, _, whole = memory
    await store.aclose()
    with capsys.disabled():
        print(f"\nR11: worker's memory with 100,000 records waiting {half:.0f} MB, with 200,000 {whole:.0f} MB")  # noqa: T201
    assert whole < half * 1.1 + 10


async def test_a_slow_key_with_100_000_behind_it_holds_up_no_other_key_of_its_partition(
    barnabas_stack: Servers,
) -> None:
    """F62 in small."""
    namespace = f"bp-{uuid4().hex[:8]}"
    store = RedisStore(barnabas_stack.redis, namespace)
    partition = partition_of(partition_hash(b"slow"), PARTITIONS)
    other = next(
        k for k in map("key{}".format, range(1000)) if partition_of(partition_hash(k.encode()), PARTITIONS) == partition
    )
    async with worker(barnabas_stack, namespace, TARGET, app, PARTITIONS):
        produce(barnabas_stack, namespace, 100_000, lambda _: "slow")
        async with barnabas.Client(barnabas_stack.kafka, namespace) as client:
            assert await client.object_call(quick, key=other, arg=7, timeout=60) == 7
            await until_taken_in(store, 100_001)
            began = time.monotonic()
            assert await client.object_call(quick, key=other, arg=8, timeout=10) == 8
            assert time.monotonic() - began < 2
        [waiting] = await store.read([(Shard("Sleeper", partition), ("HLEN", keys.SPILL))])
        assert waiting > 90_000, "the test should have made the key spill"
    await store.aclose()
