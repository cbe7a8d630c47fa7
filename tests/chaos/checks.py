"""The checkers of FAULTS.md C1, as functions that return what is wrong: an empty list is a pass.

They look at the store and at the topics past all adapters of ours, with plain drivers. Called by the tests through
`conftest.Arena`.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import cast

import msgpack
from confluent_kafka import Consumer, TopicPartition
from redis import Redis

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import DeadLetter
from barnabas.contract.topics import TopicNames
from barnabas.runtime import journal as j
from barnabas.store import keys
from barnabas.store.keys import Keys
from barnabas.store.port import Shard
from tests.chaos.app import STEPS
from tests.chaos.traffic import ACCOUNTS, PARTITIONS, Traffic

SERVICES = ("Log", "Account", "Desk")
SHARDS = [Shard(service, partition) for service in SERVICES for partition in range(PARTITIONS)]

LEFT_OVER = (keys.LIVE, keys.INPUTS, keys.OUTBOX, keys.SPILL, keys.SPILL_COUNTS)

_DUMP = """
local found = {}
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  found[#found + 1] = key
  found[#found + 1] = redis.call('DUMP', key)
end
return found
"""


class StoreView:
    """One namespace of the store, as it stands there."""

    def __init__(self, url: str, namespace: str) -> None:
        self.redis = Redis.from_url(url)
        self._keys = Keys(namespace)
        self._pattern = f"{{{namespace}/*"

    def state(self, service: str, key: str) -> dict[bytes, bytes]:
        """All values of an object."""
        shard = Shard(service, random_id(service, key).partition(PARTITIONS))
        return self._hash(shard, keys.state(key))

    def take(self, shard: Shard) -> None:
        """Take a shard as a worker does that nobody knows of."""
        script = (files("barnabas.store") / "scripts" / "take.lua").read_text()
        self.redis.eval(script, 1, self._keys.prefix(shard) + keys.META, random.randbytes(12), "nobody/0")

    def meta(self, shard: Shard) -> dict[bytes, bytes]:
        """Lease, number, takes, owner and offsets."""
        return self._hash(shard, keys.META)

    def field(self, shard: Shard, suffix: bytes, field: bytes) -> bytes | None:
        """One field of one hash."""
        return cast("bytes | None", self.redis.hget(self._keys.prefix(shard) + suffix, cast("str", field)))

    def length(self, shard: Shard, suffix: bytes) -> int:
        """How many fields a hash has."""
        return self.redis.hlen(self._keys.prefix(shard) + suffix)

    def headers(self, shard: Shard) -> dict[bytes, bytes]:
        """All invocations that are not over."""
        return self._hash(shard, keys.LIVE)

    def journal(self, shard: Shard, id_: bytes) -> list[j.Entry]:
        """What an invocation has done, as the store has it."""
        entries = cast("list[bytes]", self.redis.lrange(self._keys.prefix(shard) + keys.journal(id_), 0, -1))
        return [j.unpack_entry(entry) for entry in entries]

    def timers(self, shard: Shard) -> int:
        """How many timers are armed."""
        return self.redis.zcard(self._keys.prefix(shard) + keys.TIMERS)

    def left_over(self, shard: Shard, names: Sequence[bytes] = LEFT_OVER) -> list[str]:
        """What a shard with nothing to do should not have, of these hashes; and timers."""
        prefix = self._keys.prefix(shard)
        hashes = {name: self.redis.hlen(prefix + name) for name in names}
        hashes[keys.TIMERS] = self.redis.zcard(prefix + keys.TIMERS)
        return [f"{shard} has {count} of '{name.decode()}'" for name, count in hashes.items() if count]

    def loose_keys(self) -> list[str]:
        """Journals and spilled inputs that belong to nothing."""
        found = (key.split(b"}:", 1) for key in self.redis.scan_iter(self._pattern, count=1000))
        return [f"{shard!r}: key {suffix!r}" for shard, suffix in found if suffix.startswith((b"j:", b"sp:"))]

    def finished(self) -> set[bytes]:
        """Ids of the invocations whose end the rings hold."""
        rings = (self.redis.lrange(self._keys.prefix(shard) + keys.RING, 0, -1) for shard in SHARDS)
        return {msgpack.unpackb(entry)[1] for ring in rings for entry in cast("list[bytes]", ring)}

    def journals(self) -> dict[bytes, list[j.Entry]]:
        """Journals of the invocations that are not over, by id."""
        found = {}
        for shard in SHARDS:
            prefix = self._keys.prefix(shard)
            for id_ in cast("list[bytes]", self.redis.hkeys(prefix + keys.LIVE)):
                entries = cast("list[bytes]", self.redis.lrange(prefix + keys.journal(id_), 0, -1))
                found[id_] = [j.unpack_entry(entry) for entry in entries]
        return found

    def dump(self) -> dict[bytes, bytes]:
        """Every key of every shard, in the server's own format, at one instant."""
        flat = cast("list[bytes]", self.redis.eval(_DUMP, 0, self._pattern))
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def fall_back(self, to: dict[bytes, bytes]) -> None:
        """Make the shards what they were when `to` was dumped, at one instant; no connection notices."""
        names = set(self.redis.scan_iter(self._pattern, count=1000))
        with self.redis.pipeline(transaction=True) as pipe:
            pipe.delete(*names | set(to))
            for name, value in to.items():
                pipe.restore(name, 0, value)
            pipe.execute()

    def close(self) -> None:
        """Let go of the connection."""
        self.redis.close()

    def _hash(self, shard: Shard, suffix: bytes) -> dict[bytes, bytes]:
        return cast("dict[bytes, bytes]", self.redis.hgetall(self._keys.prefix(shard) + suffix))


class LogView:
    """How long the topics of one namespace are."""

    def __init__(self, kafka: str, names: TopicNames) -> None:
        self._names = names
        self._consumer = Consumer({"bootstrap.servers": kafka, "group.id": "chaos-view", "enable.auto.commit": False})

    def end(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        return self._consumer.get_watermark_offsets(TopicPartition(topic, partition))[1]

    def unread(self, shard: Shard, meta: dict[bytes, bytes]) -> list[str]:
        """What the shard has not read of its topics, by its own offsets."""
        ends = {
            b"inv": self.end(self._names.invocations(shard.service), shard.partition),
            b"sig": self.end(self._names.signals(shard.service), shard.partition),
        }
        read = {field: int(meta.get(field, b"0")) for field in ends}
        return [
            f"{shard} stands at {field.decode()} {read[field]} of {ends[field]}"
            for field in ends
            if read[field] != ends[field]
        ]

    def dead_letters(self, partition: int = 0) -> list[DeadLetter]:
        """All of them, each once: like a reply, a dead letter may have been produced several times."""
        topic = self._names.dead_letters
        values = dict.fromkeys(self.values(topic, partition, self.end(topic, partition)))
        return [codec.decode_dead_letter(value) for value in values]

    def values(self, topic: str, partition: int, end: int) -> list[bytes]:
        """All records before this offset."""
        found: list[bytes] = []
        self._consumer.assign([TopicPartition(topic, partition, 0)])
        position = 0
        while position < end:
            for message in self._consumer.consume(1000, 1.0):
                assert message.error() is None, message.error()
                found.append(message.value() or b"")
                position = (message.offset() or 0) + 1
        self._consumer.unassign()
        return found

    def close(self) -> None:
        """Let go of the connection."""
        self._consumer.close()


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the world saw, in order: steps by invocation (as text)."""

    path: Path

    def lines(self) -> list[tuple[str, str]]:
        """(step, invocation) for each execution."""
        if not self.path.exists():
            return []
        return [(step, id_) for step, id_ in (line.split() for line in self.path.read_text().splitlines())]

    def by_invocation(self) -> dict[str, list[str]]:
        """The steps of each invocation, in the order in which they ran; without the marks of bodies."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for step, id_ in self.lines():
            if step != "body":
                found[id_].append(step)
        return found


def k1_outcomes(traffic: Traffic) -> list[str]:
    """Every request has one outcome, the right one; a reply that comes twice is the same."""
    wrong = [f"no outcome: {request.service}/{request.handler} {request.id}" for request in traffic.unanswered()]
    for id_, replies in traffic.replies.items():
        request = traffic.requests.get(id_)
        if request is None:
            wrong.append(f"a reply to a request that nobody sent: {replies[0]}")
            continue
        outcomes = {(reply.result, None if reply.failure is None else reply.failure.message) for reply in replies}
        if len(outcomes) > 1:
            wrong.append(f"{request.service}/{request.handler} {request.id} has {len(outcomes)} outcomes: {outcomes}")
        result, failure = next(iter(outcomes))
        if failure is not None or (request.expected is not None and json.loads(result or b"null") != request.expected):
            wrong.append(
                f"{request.service}/{request.handler} {request.id}: {result!r} {failure!r}, not {request.expected!r}"
            )
    return wrong


def k2_order(traffic: Traffic, store: StoreView) -> list[str]:
    """Every log has its numbers once, in order, without a gap."""
    wrong = []
    for key, count in traffic.appended.items():
        state = {name.decode(): json.loads(value) for name, value in store.state("Log", key).items()}
        if state != {"last": count, "count": count}:
            wrong.append(f"Log {key!r} was sent {count} numbers and has {state}")
    return wrong


def k3_sum(store: StoreView) -> list[str]:
    """Transfers keep the sum."""
    balances = [int(store.state("Account", f"a{number}").get(b"balance", b"0")) for number in range(ACCOUNTS)]
    return [f"the accounts hold {balances}, which is {sum(balances)}"] if sum(balances) else []


def k4_ledger(traffic: Traffic, ledger: Ledger, repeats: float, late: float) -> list[str]:
    """Every step ran; at most `repeats` ran again; none ran again once a later one of its invocation had begun.

    `late`: how many may do that after all. An action that has begun when its process is frozen ends when that goes on.
    """
    wrong: list[str] = []
    again: list[str] = []
    seen = ledger.by_invocation()
    for request in traffic.errands:
        steps = seen.pop(str(request.id), [])
        if sorted(set(steps)) != sorted(STEPS):
            wrong.append(f"errand {request.id} ran {steps}")
        if steps != sorted(steps, key=STEPS.index):
            again.append(f"errand {request.id} ran a recorded step again: {steps}")
        if max(Counter(steps).values(), default=0) > 1:
            repeats -= len(steps) - len(STEPS)
    if repeats < 0:
        wrong.append(f"{-repeats} steps more than allowed ran twice")
    if len(again) > late:
        wrong += again
    return wrong + [f"steps of an errand that nobody sent: {id_}" for id_ in seen]


def k5_quiet(store: StoreView, log: LogView) -> list[str]:
    """Nothing is left to do anywhere."""
    wrong = []
    for shard in SHARDS:
        wrong += store.left_over(shard)
        wrong += log.unread(shard, store.meta(shard))
    return wrong or store.loose_keys()


@dataclass
class Recorded:
    """What the store knew at one moment: steps with a result, and invocations that were over. None may run again."""

    steps: set[tuple[str, str]] = field(default_factory=set)
    finished: set[str] = field(default_factory=set)
    lines: int = 0
    unrecorded: int = 0  # steps that had run without the store knowing: each may run once more

    @classmethod
    def now(cls, store: StoreView, ledger: Ledger) -> Recorded:
        """Look while no worker runs."""
        found = cls(lines=len(ledger.lines()))
        found.finished = {_text(id_) for id_ in store.finished()}
        for id_, journal in store.journals().items():
            names = [entry[1] if entry[0] == j.RUN else "" for entry in journal if entry[0] < j.FIRST_NOTIFICATION]
            done = {entry[1] for entry in journal if entry[0] >= j.FIRST_NOTIFICATION}
            found.steps |= {(name, _text(id_)) for position, name in enumerate(names, 1) if name and position in done}
        found.unrecorded = sum(
            (step, id_) not in found.steps and id_ not in found.finished for step, id_ in set(ledger.lines())
        )
        return found

    def run_again(self, ledger: Ledger) -> list[str]:
        """What of it ran again since then, bodies of finished invocations included."""
        later = ledger.lines()[self.lines :]
        return [
            f"{step} of {id_} ran again although it was recorded"
            for step, id_ in later
            if (step, id_) in self.steps or id_ in self.finished
        ]


def _text(id_: bytes) -> str:
    return str(InvocationId(id_))
