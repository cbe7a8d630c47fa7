"""How many invocations one worker process drains from a topic, beside a loop that has no runtime at all.

    python -m bench.throughput [--count 50000]

Each run is produced first and drained then, on the servers of BARNABAS_KAFKA and BARNABAS_REDIS. The bare loop consumes
a batch, makes one store call and produces one record each; the runtime's figures are given as a ratio to it, measured
in between.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
import uuid

import uvloop
from confluent_kafka import Producer

from barnabas.contract import codec
from barnabas.contract.ids import random_id
from barnabas.contract.records import Invocation
from barnabas.contract.topics import TopicNames
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from barnabas.worker.process import Worker
from barnabas.worker.settings import Settings
from bench.bare_loop import bare_loop
from bench.workload import app

PARTITIONS = 4
KEYS = 500


async def prepare(bootstrap: str, names: TopicNames) -> None:
    """Create the topics of the workload."""
    admin = KafkaAdmin(KafkaSettings(bootstrap=bootstrap))
    for service in app.services:
        await admin.create(names.invocations(service), PARTITIONS, {"message.timestamp.type": "LogAppendTime"})
        await admin.create(names.signals(service), PARTITIONS, {})
    await admin.create(names.replies, 1, {})
    await admin.create(names.delays, 1, {})
    await admin.create(names.dead_letters, 1, {})


def produce(bootstrap: str, names: TopicNames, service: str, handler: str, count: int) -> None:
    """Write `count` invocations, over all keys in turn where the service has keys."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 1_000_000})
    for i in range(count):
        key = None if service == "Nothing" else f"k{i % KEYS}"
        id_ = random_id(service, key)
        invocation = Invocation(id_, service, handler, key, b"" if key is None else b"%d" % i)
        producer.produce(
            names.invocations(service),
            codec.encode_invocation(invocation),
            key or id_.service_partition_key,
            partition=id_.partition(PARTITIONS),
        )
        if i % 5_000 == 0:
            producer.poll(0)
    producer.flush(60)


async def drain(namespace: str, count: int) -> float:
    """Seconds from the first batch to the last commit."""
    ready = asyncio.Event()
    worker = Worker(app, Settings(namespace=namespace), ready.set)
    running = asyncio.ensure_future(worker.run())
    await asyncio.wait([running, asyncio.ensure_future(ready.wait())], return_when=asyncio.FIRST_COMPLETED)
    began: float | None = None
    while not running.done():
        await asyncio.sleep(0.002)
        done = sum(t.engine.counts["completed"] for t in worker.driver.tenures.values() if t.engine is not None)
        if began is None and done:
            began = time.perf_counter()
            first = done
        if began is not None and done >= count and worker.driver.is_quiet():
            break
    assert began is not None
    seconds = time.perf_counter() - began
    worker.stop()
    await running
    return seconds * count / (count - first)


async def measure(bootstrap: str, service: str, handler: str, count: int) -> float:
    """Invocations a second."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    names = TopicNames(namespace)
    await prepare(bootstrap, names)
    produce(bootstrap, names, service, handler, count)
    return count / await drain(namespace, count)


def compare(bootstrap: str, redis_url: str, count: int, rounds: int = 2) -> dict[str, float]:
    """Rates of the bare loop, the service and the object, each the best of its rounds, measured in turns."""
    rates: dict[str, list[float]] = {"bare": [], "noop": [], "add": []}
    for _ in range(rounds):
        rates["bare"].append(bare_loop(bootstrap, redis_url, count))
        rates["noop"].append(uvloop.run(measure(bootstrap, "Nothing", "noop", count)))
        rates["add"].append(uvloop.run(measure(bootstrap, "Counter", "add", count)))
    return {name: max(values) for name, values in rates.items()}


def report(rates: dict[str, float]) -> None:
    """The rates as ratios to the bare loop."""
    base = rates["bare"]
    print(f"bare loop             {base:9,.0f}/s")
    print(f"service no-op         {rates['noop']:9,.0f}/s   {rates['noop'] / base:.2f} of the bare loop")
    print(f"object add, {KEYS} keys  {rates['add']:9,.0f}/s   {rates['add'] / base:.2f} of the bare loop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    arguments = parser.parse_args()
    report(compare(os.environ["BARNABAS_KAFKA"], os.environ["BARNABAS_REDIS"], arguments.count))


if __name__ == "__main__":
    main()
