"""Where the keys of the store are made, all of them. Used by the adapters (`Keys`) and by the engine (the suffixes).

A shard's keys are `{namespace/Service/partition}:suffix`. The braces are Redis Cluster's hash tag: only what stands in
the first pair counts, and names with braces are refused, so all keys of a shard lie in one slot whatever bytes an
object's key puts into the suffix.
"""

from __future__ import annotations

import re

from barnabas.store.port import Shard

#: Hash. `lease`, `number`, `takes`, `owner` and `broken` belong to the scripts; the engine adds fields of its own.
META = b"meta"
#: Hash: invocation id -> header.
LIVE = b"live"
#: Hash: invocation id -> input.
INPUTS = b"in"
#: List: finished plain invocations, capped.
RING = b"ring"
#: Hash: outbox number -> record.
OUTBOX = b"out"
#: Hash: receiving topic, sending shard and lease -> highest number accepted (R1).
MARKS = b"marks"
#: Sorted set: timer by its due time.
TIMERS = b"timers"
#: Hash: invocation id -> key and offset of an input that stayed in Kafka (R11).
SPILL = b"spill"
#: Hash: invocation id -> record, of those in SPILL whose topic will not keep it for much longer (R11).
SPILL_RECORDS = b"spr"
#: Hash: object key -> how many invocations wait for it with their input left in Kafka (R11).
SPILL_COUNTS = b"spn"
#: Hash: invocation id -> header, of calls in SPILL that are to be looked at: they fail if they wait for themselves.
UNCHECKED = b"unc"

#: Hash: invocation id -> outcome of a finished one that has an idempotency key or is a workflow's run (R10, R13).
KEPT = b"kept"
#: Sorted set: ids of KEPT by the append time at which they expire.
EXPIRY = b"expiry"
#: Hash: number -> signal about an invocation that has not come yet (R7).
PARKED = b"parked"
#: Hash: number -> signal that is sent once the invocation it is about was acknowledged (R6).
DEFERRED = b"deferred"
#: Hash: object key -> id of the invocation that others of this key wait for.
HEADS = b"heads"

#: Hash: id of an invocation that waits for its due time -> header (the scheduler's shards alone, as all that follow).
WAITING = b"wait"
#: Hash: id -> the invocation's record.
WAITING_INPUTS = b"wi"
#: Sorted set: order of arrival and id, by due time.
DUE = b"due"
#: Set: services that nobody has registered, and that due invocations wait for.
STRANDED = b"str"

_NAME = re.compile(r"[^\s{}/\x00-\x1f]+")


def journal(id: bytes) -> bytes:
    """Suffix of an invocation's journal."""
    return b"j:" + id


def state(key: str) -> bytes:
    """Suffix of the state of one object key, a hash."""
    return b"st:" + key.encode()


def promises(key: str) -> bytes:
    """Suffix of the promises of one workflow key, a hash: name -> value, error or who waits."""
    return b"pr:" + key.encode()


def spilled(key: str) -> bytes:
    """Suffix of the list of ids, in order, that wait for one key with their input left in Kafka (R11)."""
    return b"sp:" + key.encode()


def stranded(service: str) -> bytes:
    """Suffix of the sorted set of due invocations whose service nobody has registered, as `DUE`."""
    return b"str:" + service.encode()


class Keys:
    """Full keys of one namespace. Raises ValueError for a namespace or service name that could leave its hash tag."""

    __slots__ = ("_namespace", "_prefixes", "api_keys", "public", "services")

    def __init__(self, namespace: str) -> None:
        self._namespace = _checked("namespace", namespace)
        self._prefixes: dict[Shard, bytes] = {}
        #: The registry of services, a hash; its own slot.
        self.services = f"{{{namespace}}}:services".encode()
        #: Which of them callers from outside may reach, where somebody has said so: a hash, name -> 0 or 1.
        self.public = f"{{{namespace}}}:public".encode()
        #: Who may come in by the doors, a hash: id -> role and salted hash.
        self.api_keys = f"{{{namespace}}}:keys".encode()

    def prefix(self, shard: Shard) -> bytes:
        """What all keys of the shard begin with; a suffix of any bytes may follow."""
        prefix = self._prefixes.get(shard)
        if prefix is None:
            service = _checked("service name", shard.service)
            prefix = f"{{{self._namespace}/{service}/{shard.partition}}}:".encode()
            self._prefixes[shard] = prefix
        return prefix


def _checked(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"the {what} {name!r} may not be empty or contain braces, slashes, spaces or control characters"
        )
    return name
