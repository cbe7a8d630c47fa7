"""What people do to invocations: cancel, kill, pause, resume, purge, restart; one by one and many at a time.

Each is a signal that the shard's owner answers. Statuses are those of the admin API (docs/design/doors.md); a signal
that nobody answers in time lies in Kafka, and is done as soon as the shard has an owner again. Called by the admin API
and by the command line.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import urandom
from typing import Final, Protocol

from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Reply, Signal, SignalKind
from barnabas.ingress.errors import GatewayError, NoAnswer
from barnabas.introspection.listing import Wanted, list_page
from barnabas.introspection.statuses import COMPLETED
from barnabas.store.port import Service, Store

KINDS: Final = {
    "cancel": SignalKind.CANCEL,
    "kill": SignalKind.KILL,
    "pause": SignalKind.PAUSE,
    "resume": SignalKind.RESUME,
    "purge": SignalKind.PURGE,
    "purge-journal": SignalKind.PURGE_JOURNAL,
    "restart-as-new": SignalKind.RESTART,
}
#: Those that are about invocations that are over.
OF_FINISHED: Final = frozenset({"purge", "purge-journal", "restart-as-new"})
#: Those that cannot be done to one that is scheduled.
OF_BEGUN: Final = frozenset({"pause", "resume"})
ANSWER_SECONDS: Final = 10.0
_AT_A_TIME: Final = 200
_PAGE: Final = 1_000

_SAID: Final = {200: "done", 202: "accepted"}


class Door(Protocol):
    """The part of a `Gateway` that operations need."""

    @property
    def store(self) -> Store: ...

    def service_of(self, id_: InvocationId) -> Service: ...

    async def signal(self, signal: Signal, *, wait: bool, timeout: float | None = None) -> Reply | None: ...  # noqa: ASYNC109


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of an operation on one invocation. `status` is that of the admin API."""

    id: InvocationId
    status: int
    message: str
    new_invocation_id: str | None = None

    @property
    def done(self) -> bool:
        """Whether it was done, or will be."""
        return self.status < 300


@dataclass(frozen=True, slots=True)
class Batch:
    """What came of an operation on many. `more`: there are others that fit, beyond the limit."""

    outcomes: list[Outcome]
    more: bool


async def operate(
    gateway: Door, operation: str, id_: InvocationId, *, keep: int = 0, seconds: float = ANSWER_SECONDS
) -> Outcome:
    """Do it to one. `keep`: how many commands of the journal a restarted one has already.

    Failures are part of the outcome: 404 for an id that nobody knows, 503 and 504 where nobody can say.
    """
    try:
        signal = Signal(KINDS[operation], id_)
        if signal.kind is SignalKind.RESTART:
            signal.call_id, signal.position = new_id_like(id_, gateway.service_of(id_)), keep
        reply = await gateway.signal(signal, wait=True, timeout=seconds)
    except NoAnswer:
        return Outcome(
            id_,
            504,
            f"no answer within {seconds:g} s: is a worker of its service running? The request lies in Kafka and is "
            "carried out when its shard has an owner",
        )
    except GatewayError as error:
        return Outcome(id_, error.status, str(error))
    assert reply is not None
    return _outcome(id_, reply)


async def operate_on_all(
    gateway: Door, operation: str, ids: Sequence[InvocationId], *, seconds: float = ANSWER_SECONDS
) -> list[Outcome]:
    """Do it to each of them, many at a time; the outcomes are in the same order."""
    turns = asyncio.Semaphore(_AT_A_TIME)

    async def one(id_: InvocationId) -> Outcome:
        async with turns:
            return await operate(gateway, operation, id_, seconds=seconds)

    return list(await asyncio.gather(*map(one, ids)))


async def operate_on_fitting(
    gateway: Door,
    services: dict[str, Service],
    operation: str,
    wanted: Wanted,
    *,
    limit: int,
    seconds: float = ANSWER_SECONDS,
) -> Batch:
    """Do it to all that fit, at most `limit`. They are looked up first, so that none is met twice.

    Where `wanted` has no status, those are meant that the operation is for: what is over for purges and restarts, what
    has begun or is queued for pause and resume, else all that is not over. Raises StoreUnavailable, StoreCorrupt.
    """
    if wanted.status is None and operation in OF_FINISHED:
        wanted = replace(wanted, status=COMPLETED)
    elif wanted.status is None and operation in OF_BEGUN:
        wanted = replace(wanted, begun=True)
    ids: list[InvocationId] = []
    after = None
    while len(ids) < limit:
        page = await list_page(gateway.store, services, wanted, min(_PAGE, limit - len(ids)), after)
        ids += [picture.id for picture in page.pictures]
        after = page.after
        if after is None:
            break
    return Batch(await operate_on_all(gateway, operation, ids, seconds=seconds), after is not None)


def new_id_like(id_: InvocationId, service: Service) -> InvocationId:
    """A new id for the same target, so of the same shard."""
    if service.kind != "service":
        key_hash = id_.key_hash.to_bytes(4, "big")
        return InvocationId(id_[:4] + key_hash + urandom(16))
    while True:  # an id of a service says its partition by all of its bytes: one in so many tries fits
        new = random_id(service.name, None)
        if new.partition(service.partitions) == id_.partition(service.partitions):
            return new


def _outcome(id_: InvocationId, reply: Reply) -> Outcome:
    if reply.failure is not None:
        return Outcome(id_, reply.failure.code, reply.failure.message)
    try:
        said = json.loads(reply.result or b"")
        status = int(said["status"])
    except (ValueError, KeyError, TypeError):
        return Outcome(id_, 500, "its worker answered what this version does not understand: are versions mixed?")
    return Outcome(id_, status, _SAID.get(status, str(status)), said.get("new_invocation_id"))
