"""What is known of an invocation without asking its shard: from the store, and from what this process has just sent.

It only answers early; that one request is one invocation is the engine's work (R10). Raises StoreUnavailable.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final, NamedTuple

from barnabas.contract.ids import InvocationId
from barnabas.ingress.registry import Registry
from barnabas.ingress.requests import Known
from barnabas.runtime.kept import unpack_kept
from barnabas.runtime.live import SCHEDULED, unpack_live
from barnabas.runtime.ring import unpack_ring_entry
from barnabas.runtime.scheduling.scheduler import FAMILY
from barnabas.runtime.scheduling.waiting import unpack_waiting
from barnabas.store import keys
from barnabas.store.port import Service, Shard, Store

#: Of what was sent: a shard's owner has usually stored it long before.
_REMEMBERED_SECONDS: Final = 5.0
_REMEMBERED: Final = 20_000


class _Sent(NamedTuple):
    """Something that this process has sent, until the store has it."""

    due: int | None
    until: float  # on the monotonic clock


class Lookup:
    """Looks invocations up by their ids."""

    def __init__(self, store: Store, registry: Registry, delay_partitions: int) -> None:
        self._store = store
        self._registry = registry
        self._delay_partitions = delay_partitions
        self._sent: OrderedDict[bytes, _Sent] = OrderedDict()  # oldest first

    def remember(self, id_: bytes, due: int | None) -> None:
        """This has been sent: it exists, though its shard may not have stored it yet."""
        now = time.monotonic()
        sent = self._sent
        sent[id_] = _Sent(due, now + _REMEMBERED_SECONDS)
        while len(sent) > _REMEMBERED or next(iter(sent.values())).until < now:
            sent.popitem(last=False)

    async def find(self, id_: InvocationId, *, derived: bool) -> Known | None:
        """What is known of this invocation; None: nothing. `derived`: no ring has it, and no scheduler."""
        service = await self._registry.owner(id_)
        if service is None:
            return None
        shard = Shard(service.name, id_.partition(service.partitions))
        found = await self._stored(service, shard, id_)
        if found is None and id_.delayed:
            found = await self._scheduled(id_)
        if found is None and not derived:
            found = await self._ring(shard, id_)
        if found is not None:
            self._sent.pop(id_, None)
            return found
        sent = self._sent.get(id_)
        return None if sent is None or sent.until < time.monotonic() else Known("", finished=False, due=sent.due)

    async def _stored(self, service: Service, shard: Shard, id_: InvocationId) -> Known | None:
        live, kept, spilled = await self._store.read(
            [(shard, ("HGET", keys.LIVE, id_)), (shard, ("HGET", keys.KEPT, id_)), (shard, ("HGET", keys.SPILL, id_))]
        )
        if live is not None:
            found = unpack_live(id_, service.name, live)
            return Known(found.handler, finished=False, due=found.due if found.status == SCHEDULED else None)
        if kept is not None:
            outcome = unpack_kept(kept)
            return Known(outcome.handler, True, outcome.result, outcome.failure, expires_at=outcome.expires_at)
        return None if spilled is None else Known("", finished=False)

    async def _scheduled(self, id_: InvocationId) -> Known | None:
        shard = Shard(FAMILY, id_.partition(self._delay_partitions))
        [header] = await self._store.read([(shard, ("HGET", keys.WAITING, id_))])
        return None if header is None else Known("", finished=False, due=unpack_waiting(id_, header).due)

    async def _ring(self, shard: Shard, id_: InvocationId) -> Known | None:
        [ring] = await self._store.read([(shard, ("LRANGE", keys.RING, 0, -1))])
        for packed in reversed(ring):
            if id_ in packed:  # an entry holds it as it is, so most need not be unpacked
                entry = unpack_ring_entry(packed)
                if entry.id == id_:
                    return Known(entry.handler, True, entry.result, entry.failure)
        return None
