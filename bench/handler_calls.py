"""Calls from handler to handler, one after the other, beside two bare Kafka hops and two commits on the same servers.

    python -m bench.handler_calls [--calls 200]

One handler makes all the calls, so a client's own way there and back is subtracted. The two are measured in turns, and
each round is compared with the bare calls just before it: other work on the machine comes and goes.
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
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

import barnabas
from barnabas.contract.topics import TopicNames
from bench.bare_loop import SCRIPT
from bench.latency import _reader
from bench.throughput import prepare
from bench.workload import Chain, chain

ROUNDS = 9
WARM_UP = 30
BAR = 1.5


class BareCalls:
    """Commit, produce, consume; commit, produce, consume: what a call is made of. A thread stands for the callee."""

    def __init__(self, bootstrap: str, redis_url: str) -> None:
        self._names = [f"bare-{uuid.uuid4().hex[:8]}.{side}" for side in ("calls", "results")]
        admin = AdminClient({"bootstrap.servers": bootstrap})
        topics = [NewTopic(name, num_partitions=1, replication_factor=1) for name in self._names]
        for future in admin.create_topics(topics).values():
            future.result(20)
        self._calls, self._results = (_reader(bootstrap, name) for name in self._names)
        config = {"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0}
        self._caller, self._callee = Producer(config), Producer(config)
        self._stores = [redis.Redis.from_url(redis_url) for _ in range(2)]
        self._sha = self._stores[0].script_load(SCRIPT)
        for name in self._names:
            self._stores[0].set(f"{{{name}}}:lease", "L")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def measure(self, calls: int) -> float:
        """Milliseconds a call, over that many in a row."""
        for _ in range(WARM_UP):
            self._call()
        began = time.perf_counter()
        for _ in range(calls):
            self._call()
        return (time.perf_counter() - began) * 1e3 / calls

    def _call(self) -> None:
        self._commit(0)
        self._caller.produce(self._names[0], value=b"{}", partition=0)
        self._caller.poll(0)
        _next(self._results)

    def _answer(self) -> None:
        while not self._stop.is_set():
            message = self._calls.poll(0.05)
            if message is None or message.error():
                continue
            self._commit(1)
            self._callee.produce(self._names[1], value=b"1", partition=0)
            self._callee.poll(0)

    def _commit(self, side: int) -> None:
        ops = msgpack.packb([[b"SET", b"x", b"1"]], use_bin_type=False)
        self._stores[side].evalsha(self._sha, 1, f"{{{self._names[side]}}}:lease", "L", ops)

    def close(self) -> None:
        """End the thread and all connections."""
        self._stop.set()
        self._thread.join()
        for producer in (self._caller, self._callee):
            producer.flush(5)
        for consumer in (self._calls, self._results):
            consumer.close()
        for store in self._stores:
            store.close()


def _next(consumer: Consumer) -> None:
    while (message := consumer.poll(2)) is None or message.error():
        pass


async def measure(client: barnabas.Client, calls: int, keyed: bool) -> float:
    """Milliseconds a call of one handler that makes that many, one after the other."""

    async def whole(count: int) -> float:
        began = time.perf_counter()
        await client.service_call(chain, Chain(calls=count, keyed=keyed), timeout=120)
        return time.perf_counter() - began

    await whole(WARM_UP)
    without = statistics.median([await whole(0) for _ in range(5)])
    return (await whole(calls) - without) * 1e3 / calls


async def compare(bootstrap: str, redis_url: str, calls: int) -> dict[str, list[float]]:
    """Rounds of bare calls, calls to a service and calls to an object, with a worker process of its own."""
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    await prepare(bootstrap, TopicNames(namespace))
    command = [sys.executable, "-m", "barnabas.cli.main", "worker", "bench.workload:app"]
    worker = subprocess.Popen(command, env={**os.environ, "BARNABAS_NAMESPACE": namespace})
    times: dict[str, list[float]] = {"bare": [], "service": [], "object": []}
    bare = await asyncio.to_thread(BareCalls, bootstrap, redis_url)
    try:
        async with barnabas.Client(bootstrap, namespace) as client:
            await client.service_call(chain, Chain(calls=1, keyed=True), timeout=60)
            for _ in range(ROUNDS):
                times["bare"].append(await asyncio.to_thread(bare.measure, calls))
                times["service"].append(await measure(client, calls, keyed=False))
                times["object"].append(await measure(client, calls, keyed=True))
    finally:
        bare.close()
        worker.terminate()
        worker.wait(30)
    return times


def report(times: dict[str, list[float]]) -> dict[str, float]:
    """Print medians, of the rounds' ratios to the bare calls too; returns these ratios."""
    ratios = {}
    for name, title in (
        ("bare", "two hops, two commits"),
        ("service", "handler calls service"),
        ("object", "handler calls object"),
    ):
        middle = statistics.median(times[name])
        ratios[name] = statistics.median(one / bare for one, bare in zip(times[name], times["bare"], strict=True))
        spread = f"{min(times[name]):.2f} to {max(times[name]):.2f}"
        print(f"{title:22} p50 {middle:6.2f} ms   rounds {spread} ms   {ratios[name]:.2f} of the bare calls")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100)
    arguments = parser.parse_args()
    report(uvloop.run(compare(os.environ["BARNABAS_KAFKA"], os.environ["BARNABAS_REDIS"], arguments.calls)))


if __name__ == "__main__":
    main()
