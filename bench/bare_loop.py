"""What the pipeline could reach with no runtime on top of it: consume a batch, one script call a partition, one record
each.

uvloop and orjson, as fast as such a loop gets in Python. The measure beside which the runtime's figures stand; it
journals nothing, keeps no order per key, and loses work in a crash.
"""

from __future__ import annotations

import asyncio
import time
import uuid

import msgpack
import orjson
import redis
import uvloop
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
KEYS = 500

SCRIPT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('FENCED') end
local ops = cmsgpack.unpack(ARGV[2])
for i = 1, #ops do redis.call(unpack(ops[i])) end
return 1
"""


def bare_loop(bootstrap: str, redis_url: str, count: int) -> float:
    """Records a second, from the first batch to the last store call."""
    names = _topics(bootstrap)
    store = redis.Redis.from_url(redis_url)
    sha = store.script_load(SCRIPT)
    for partition in range(PARTITIONS):
        store.set(f"{{{names[0]}/{partition}}}:lease", "L")
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 2,
            "queue.buffering.max.messages": 2_000_000,
        }
    )
    for i in range(count):
        value = b'{"n":%d,"pad":"%s"}' % (i, b"x" * 100)
        producer.produce(names[0], key=b"k%d" % (i % KEYS), value=value, partition=i % KEYS % PARTITIONS)
        if i % 5_000 == 0:
            producer.poll(0)
    producer.flush(60)
    seconds = uvloop.run(_drain(bootstrap, store, sha, producer, names, count))
    producer.flush(60)
    return count / seconds


def _topics(bootstrap: str) -> tuple[str, str]:
    namespace = f"bare-{uuid.uuid4().hex[:8]}"
    names = (f"{namespace}.in", f"{namespace}.out")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    futures = admin.create_topics([NewTopic(name, num_partitions=PARTITIONS, replication_factor=1) for name in names])
    for future in futures.values():
        future.result(20)
    return names


async def _drain(
    bootstrap: str, store: redis.Redis, sha: str, producer: Producer, names: tuple[str, str], count: int
) -> float:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": names[0],
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(names[0], partition, 0) for partition in range(PARTITIONS)])
    loop = asyncio.get_running_loop()
    state: dict[bytes, int] = {}
    began: float | None = None
    done = 0

    async def handler(key: bytes, payload: dict[str, int]) -> int:
        state[key] = state.get(key, 0) + payload["n"]
        return state[key]

    def take() -> list[Message]:
        first = consumer.poll(0.5)
        return [] if first is None else [first, *consumer.consume(999, 0)]

    def commit(ops: dict[int, list[list[bytes]]]) -> None:
        pipe = store.pipeline(transaction=False)
        for partition, one in ops.items():
            pipe.evalsha(sha, 1, f"{{{names[0]}/{partition}}}:lease", "L", msgpack.packb(one, use_bin_type=False))
        pipe.execute()

    while done < count:
        messages = await loop.run_in_executor(None, take)
        if began is None and messages:
            began = time.perf_counter()
        tasks = [(m, asyncio.create_task(handler(m.key(), orjson.loads(m.value())))) for m in messages]
        ops: dict[int, list[list[bytes]]] = {}
        for m, task in tasks:
            tag = b"{%s/%d}" % (names[0].encode(), m.partition())
            ops.setdefault(m.partition(), []).append([b"HSET", tag + b":st:" + m.key(), b"n", b"%d" % await task])
        await loop.run_in_executor(None, commit, ops)
        for m, task in tasks:
            producer.produce(names[1], key=m.key(), value=b"%d" % task.result(), partition=m.partition())
        producer.poll(0)
        done += len(messages)
    consumer.close()
    assert began is not None
    return time.perf_counter() - began
