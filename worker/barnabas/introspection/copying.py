"""Copies of shards as they were at one moment, decoded: what the SQL tables are made of.

`copies` raises StoreUnavailable, StoreCorrupt, and TooLarge where a shard has more of what is wanted than one look at
it may take.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from barnabas.introspection.reading import DELAY_SHARDS, DELAYS, Places
from barnabas.runtime.kept import unpack_kept
from barnabas.runtime.live import Live, unpack_live
from barnabas.runtime.ring import RingEntry, unpack_ring_entry
from barnabas.runtime.spilled import unpack_spilled
from barnabas.store import keys
from barnabas.store.looking import EACH, Looks
from barnabas.store.port import Query, Service, Shard

#: Part of a shard -> the question for it.
PARTS: Final[dict[str, Query]] = {
    "live": ("HGETALL", keys.LIVE),
    "inputs": ("HGETALL", keys.INPUTS),
    "journals": (EACH, keys.LIVE, keys.journal(b"")),
    "ring": ("LRANGE", keys.RING, 0, -1),
    "kept": ("HGETALL", keys.KEPT),
    "heads": ("HGETALL", keys.HEADS),
    "spilled": (EACH, keys.SPILL_COUNTS, keys.spilled("")),
    "waiting": ("HGETALL", keys.WAITING),
    "records": ("HGETALL", keys.WAITING_INPUTS),
}
#: Parts that the scheduler's shards alone have; those have no other.
OF_DELAYS: Final = frozenset({"waiting", "records"})
#: Parts that lie under a key of their own for each object or workflow key: begin of their suffix.
BY_KEY: Final = {"states": keys.state(""), "promises": keys.promises("")}

#: Object and workflow keys that are looked at, at most.
MOST_KEYS: Final = 100_000


@dataclass(slots=True)
class Copy:
    """One shard as it was at one moment, as far as it was asked for. Parts by their names in `PARTS` and `BY_KEY`."""

    shard: Shard
    services: Mapping[str, Service]  # all that are registered
    parts: dict[str, Any] = field(default_factory=dict)
    _lives: list[Live] | None = None

    @property
    def service(self) -> Service | None:
        """None: it is the scheduler's shard."""
        return self.services.get(self.shard.service)

    def lives(self) -> list[Live]:
        """Its invocations that are not over, decoded once; with input where that was asked for."""
        if self._lives is None:
            inputs = self.parts.get("inputs", {})
            self._lives = []
            for id_, packed in self.parts.get("live", {}).items():
                live = unpack_live(id_, self.shard.service, packed)
                if id_ in inputs:
                    live.load_input(inputs[id_])
                self._lives.append(live)
        return self._lives

    def holder(self, key: str | None) -> bytes | None:
        """Whom others of this key wait for, if that was asked for."""
        found: bytes | None = self.parts.get("heads", {}).get((key or "").encode())
        return found

    def finished(self) -> Iterator[tuple[RingEntry, str | None, int | None]]:
        """Those that are over: entry, idempotency key, and when they expire."""
        for packed in self.parts.get("ring", ()):
            yield unpack_ring_entry(packed), None, None
        for packed in self.parts.get("kept", {}).values():
            kept = unpack_kept(packed)
            yield unpack_ring_entry(kept.entry), kept.idempotency_key, kept.expires_at

    def spilled(self) -> Iterator[tuple[str, bytes]]:
        """Key and id of those that wait with their input left in Kafka, in order."""
        for key, entries in self.parts.get("spilled", {}).items():
            for packed in entries:
                yield key.decode(), unpack_spilled(packed).id


async def copies(looks: Looks, services: Mapping[str, Service], parts: Collection[str]) -> AsyncIterator[Copy]:
    """One copy of each shard of the registered services, and of the scheduler's where they have a part of it."""
    of_services = [part for part in parts if part in PARTS and part not in OF_DELAYS]
    by_key = {part: await looks.suffixes(begin, MOST_KEYS) for part, begin in BY_KEY.items() if part in parts}
    if of_services or by_key:
        for shard in Places(services).shards():
            yield await _copied(looks, shard, services, of_services, by_key)
    of_delays = [part for part in parts if part in OF_DELAYS]
    if of_delays:
        for partition in range(DELAY_SHARDS):
            yield await _copied(looks, Shard(DELAYS, partition), services, of_delays, {})


async def _copied(
    looks: Looks,
    shard: Shard,
    services: Mapping[str, Service],
    parts: list[str],
    by_key: Mapping[str, Mapping[Shard, list[bytes]]],
) -> Copy:
    found = [(part, BY_KEY[part], key) for part, of_part in by_key.items() for key in of_part.get(shard, ())]
    questions: list[Query] = [PARTS[part] for part in parts]
    questions += [("HGETALL", begin + key) for _, begin, key in found]
    answers = iter(await looks.look(shard, questions) if questions else ())
    copy = Copy(shard, services, {part: next(answers) for part in parts})
    copy.parts |= {part: {} for part in by_key}
    for part, _, key in found:
        copy.parts[part][key] = next(answers)
    return copy
