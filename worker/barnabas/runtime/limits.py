"""How much a shard keeps in memory, and when it lets go. Bounds are per shard unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds, with defaults for a worker that owns a dozen shards in half a gigabyte."""

    ring_entries: int = 1000  # finished plain invocations kept
    ring_bytes: int = 2 << 20
    queued: int = 2000  # waiting in memory behind busy keys; what comes on top spills to the store
    held_bytes: int = 4 << 20  # payloads; beyond it those that wait are read again when their turn comes
    # Of records that wait in the store; those of what comes on top are read again from Kafka.
    spilled_bytes: int = 64 << 20
    # What waits in Kafka alone for this long is copied to the store: half the retention. None: kept for ever.
    keep_after_ms: int | None = None
    state_bytes: int = 32 << 20
    waiting_attempts: int = 2000  # coroutines that wait; the oldest beyond it are suspended
    inactivity_ms: int = 60_000  # a coroutine that waits longer is suspended
    value_bytes: int = 900_000  # of a payload, a result or a state value; a record on Kafka holds a megabyte by default
    journal_entries: int = 50_000  # of one invocation
    refill: int = 100  # spilled entries read at a time
