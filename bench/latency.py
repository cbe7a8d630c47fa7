"""One call at a time, client to handler and back over Kafka, beside two bare Kafka hops and a commit on the same
servers.

    python -m bench.latency [--calls 300]

The two are measured in turns, three rounds each, and compared by their medians.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import threading
import time
import uuid

import msgpack
import redis
import uvloop
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import barnabas
from barnabas.contract.topics import TopicNames
from bench.bare_loop import SCRIPT
from bench.throughput import prepare
from bench.workload import add, noop

WARM_UP = 50


def bare_hops(bootstrap: str, redis_url: str, calls: int) -> list[float]:
    """Milliseconds of: produce, consume, one store call, produce, consume; a thread stands for the worker."""
    names = [f"bare-{uuid.uuid4().hex[:8]}.{side}" for side in ("in", "out")]
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics(
        [NewTopic(name, num_partitions=1, replication_factor=1) for name in names]
    ).values():
        future.result(20)
    store = redis.Redis.from_url(redis_url)
    sha = store.script_load(SCRIPT)
    store.set(f"{{{names[0]}}}:lease", "L")
    incoming, outgoing = (_reader(bootstrap, name) for name in names)
    back = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            message = incoming.poll(0.05)
            if message is None or message.error():
                continue
            store.evalsha(
                sha, 1, f"{{{names[0]}}}:lease", "L", msgpack.packb([[b"SET", b"x", b"1"]], use_bin_type=False)
            )
            back.produce(names[1], value=b"1", partition=0)
            back.poll(0)

    worker = threading.Thread(target=work)
    worker.start()
    there = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all"})
    times = []
    for _ in range(calls + WARM_UP):
        began = time.perf_counter()
        there.produce(names[0], value=b"{}", partition=0)
        there.poll(0)
        while (message := outgoing.poll(2)) is None or message.error():
            pass
        times.append((time.perf_counter() - began) * 1e3)
    stop.set()
    worker.join()
    for producer in (there, back):
        producer.flush(5)
    for consumer in (incoming, outgoing):
        consumer.close()
    return times[WARM_UP:]


def _reader(bootstrap: str, topic: str) -> Consumer:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "fetch.wait.max.ms": 50})
    consumer.assign([TopicPartition(topic, 0, 0)])
    return consumer


async def calls_of(client: barnabas.Client, calls: int, keyed: bool) -> list[float]:
    """Milliseconds of one call after the other."""
    times = []
    for i in range(calls + WARM_UP):
        began = time.perf_counter()
        if keyed:
            await client.object_call(add, key=f"k{i % 10}", arg=1)
        else:
            await client.service_call(noop, arg=None)
        times.append((time.perf_counter() - began) * 1e3)
    return times[WARM_UP:]


async def compare(bootstrap: str, redis_url: str, calls: int) -> dict[str, list[float]]:
    """Rounds of bare hops, calls to a service and calls to an object, with a worker process of its own."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    await prepare(bootstrap, TopicNames(namespace))
    command = [sys.executable, "-m", "barnabas.cli.main", "worker", "bench.workload:app"]
    worker = subprocess.Popen(command, env={**os.environ, "BARNABAS_NAMESPACE": namespace})
    times: dict[str, list[float]] = {"bare": [], "service": [], "object": []}
    try:
        async with barnabas.Client(bootstrap, namespace) as client:
            await client.service_call(noop, arg=None, timeout=60)
            for _ in range(3):
                times["bare"] += await asyncio.to_thread(bare_hops, bootstrap, redis_url, calls)
                times["service"] += await calls_of(client, calls, keyed=False)
                times["object"] += await calls_of(client, calls, keyed=True)
    finally:
        worker.terminate()
        worker.wait(30)
    return times


def report(times: dict[str, list[float]]) -> dict[str, float]:
    """Print medians as ratios to the bare hops; returns the ratios."""
    base = statistics.median(times["bare"])
    ratios = {}
    for name, title in (
        ("bare", "two hops and a commit"),
        ("service", "call, service no-op"),
        ("object", "call, object add"),
    ):
        ordered = sorted(times[name])
        p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
        ratios[name] = p50 / base
        print(f"{title:22} p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   {p50 / base:.2f} of the bare hops")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    report(uvloop.run(compare(os.environ["BARNABAS_KAFKA"], os.environ["BARNABAS_REDIS"], arguments.calls)))


if __name__ == "__main__":
    main()
