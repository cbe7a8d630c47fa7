"""The topics and shards of a namespace: partitions, how far they are read, who owns them. For people who operate it.

What the store says and what Kafka says is asked one after the other, so a lag may be wrong by what happened between.
Functions raise StoreUnavailable, StoreCorrupt and LogUnavailableError. Called by the admin API and the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from barnabas.contract.topics import TopicNames
from barnabas.introspection.reading import DELAYS, SHARDS_A_PAGE, Places, pages
from barnabas.log.port import Admin
from barnabas.store import keys
from barnabas.store.port import Query, Service, Shard, Store

_QUESTIONS: Final[list[Query]] = [
    ("HGETALL", keys.META),
    ("HLEN", keys.LIVE),
    ("HLEN", keys.WAITING),
    ("HLEN", keys.OUTBOX),
    ("HLEN", keys.PARKED),
]
_SETTINGS: Final = ("cleanup.policy", "retention.ms", "max.message.bytes", "min.insync.replicas")

Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a shard has read one of its topics."""

    topic: str
    next: int | None  # offset; None: nothing yet
    begin: int
    end: int

    @property
    def lag(self) -> int:
        """Records that are not read yet."""
        return max(0, self.end - (self.begin if self.next is None else max(self.next, self.begin)))


@dataclass(frozen=True, slots=True)
class ShardState:
    """One shard, as its owner has left it with its last commit."""

    service: str  # "@delays" for the scheduler's
    partition: int
    owner: str | None  # who took it last; None: nobody has
    lease: str | None
    takes: int  # how often it was taken
    commits: int
    invocations: int  # that are not over
    outbox: int  # records that are on their way out
    parked: int  # signals about invocations that have not come
    broken: str | None  # why nobody can use it
    readings: list[Reading]


@dataclass(frozen=True, slots=True)
class TopicState:
    """One topic of the namespace."""

    name: str
    what: str  # "invocations", "signals", "delays", "replies", "dead-letters", "changelog"
    service: str | None
    id: str  # the broker's, in hex
    partitions: list[Bounds]  # first and end offset of each
    config: dict[str, str]


async def read_shards(
    store: Store, admin: Admin, names: TopicNames, services: Mapping[str, Service], service: str | None = None
) -> list[ShardState]:
    """All shards, or one service's; the scheduler's among all, and under "@delays"."""
    chosen = {name: one for name, one in services.items() if service in (None, name)}
    shards = Places(chosen).shards()
    if service in (None, DELAYS):
        delays = (await admin.partitions([names.delays])).get(names.delays, 0)
        shards += [Shard(DELAYS, partition) for partition in range(delays)]
    topics = {shard: _topics(names, shard) for shard in shards}
    places = [(topic, shard.partition) for shard in shards for topic, _ in topics[shard]]
    bounds = await _bounds(admin, places)
    found = []
    for page in pages(shards, SHARDS_A_PAGE * 4):
        answers = iter(await store.read([(shard, query) for shard in page for query in _QUESTIONS]))
        found += [_state(shard, [next(answers) for _ in _QUESTIONS], topics[shard], bounds) for shard in page]
    return found


async def read_topics(admin: Admin, names: TopicNames, services: Mapping[str, Service]) -> list[TopicState]:
    """Those of the namespace's topics that exist."""
    known: dict[str, tuple[str, str | None]] = {}
    for name in services:
        known[names.invocations(name)] = ("invocations", name)
        known[names.signals(name)] = ("signals", name)
    known |= {
        names.delays: ("delays", None),
        names.replies: ("replies", None),
        names.dead_letters: ("dead-letters", None),
        names.changelog: ("changelog", None),
    }
    counts = await admin.partitions(list(known))
    ids, configs = await admin.topic_ids(list(counts)), await admin.configs(list(counts))
    bounds = await _bounds(admin, [(topic, n) for topic, count in counts.items() for n in range(count)])
    return [
        TopicState(
            topic,
            *known[topic],
            ids[topic].hex(),
            [bounds[topic, n] for n in range(counts[topic])],
            {name: configs[topic][name] for name in _SETTINGS if name in configs.get(topic, {})},
        )
        for topic in known
        if topic in counts and topic in ids
    ]


async def _bounds(admin: Admin, places: list[tuple[str, int]]) -> dict[tuple[str, int], Bounds]:
    existing = await admin.partitions(sorted({topic for topic, _ in places}))
    return await admin.end_offsets([(topic, n) for topic, n in places if n < existing.get(topic, 0)])


def _topics(names: TopicNames, shard: Shard) -> list[tuple[str, bytes]]:
    """The topics of a shard, each with the field of its meta hash that has the next offset."""
    if shard.service == DELAYS:
        return [(names.delays, b"inv")]
    return [(names.invocations(shard.service), b"inv"), (names.signals(shard.service), b"sig")]


def _state(
    shard: Shard, answers: list[Any], topics: list[tuple[str, bytes]], bounds: Mapping[tuple[str, int], Bounds]
) -> ShardState:
    meta, live, waiting, outbox, parked = answers
    readings = []
    for topic, field in topics:
        if (topic, shard.partition) in bounds:
            begin, end = bounds[topic, shard.partition]
            readings.append(Reading(topic, int(meta[field]) if field in meta else None, begin, end))
    return ShardState(
        shard.service,
        shard.partition,
        owner=_text(meta.get(b"owner")),
        lease=meta[b"lease"].hex() if b"lease" in meta else None,
        takes=int(meta.get(b"takes", 0)),
        commits=int(meta.get(b"number", 0)),
        invocations=live + waiting,
        outbox=outbox,
        parked=parked,
        broken=_text(meta.get(b"broken")),
        readings=readings,
    )


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
