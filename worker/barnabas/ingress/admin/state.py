"""The state of one object or workflow key: read from the store, and replaced through its key's queue.

A patch is an invocation of a reserved handler, so it waits behind the exclusive handler that runs. Called by the admin
API and the command line.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Reply
from barnabas.ingress.requests import Request, request_of
from barnabas.runtime.operating import STATE_PATCH, state_version
from barnabas.store import keys
from barnabas.store.port import Service, Shard, Store

#: How long a patch is waited for. Behind a busy handler it takes as long as that.
PATCH_SECONDS: Final = 5.0


class Door(Protocol):
    """The part of a `Gateway` that this needs."""

    @property
    def store(self) -> Store: ...

    async def call(self, request: Request) -> Reply: ...


class NoState(ValueError):
    """A service has no keys, so no state; the message says so."""


@dataclass(frozen=True, slots=True)
class State:
    """All values of a key, and the text that names this state to a patch which expects it."""

    values: dict[str, bytes]
    version: str


@dataclass(frozen=True, slots=True)
class Patched:
    """What came of a patch. `status`: 202, or what was wrong; `applied`: the state is the new one already."""

    status: int
    message: str
    invocation: InvocationId
    applied: bool = False


async def read_state(store: Store, service: Service, key: str) -> State:
    """The state as the last commit has it. Raises NoState, StoreUnavailable, StoreCorrupt."""
    id_ = _patch_request(service, key, b"").id
    shard = Shard(service.name, id_.partition(service.partitions))
    [fields] = await store.read([(shard, ("HGETALL", keys.state(key)))])
    values = {name.decode(): value for name, value in fields.items()}
    return State(values, state_version(values))


async def replace_state(
    gateway: Door,
    service: Service,
    key: str,
    values: Mapping[str, bytes],
    version: str | None,
    *,
    seconds: float = PATCH_SECONDS,
) -> Patched:
    """Put these values in the place of all that the key has; with `version` only where it is still that state.

    Returns when it is done, or after `seconds` while it waits behind a handler. Raises NoState, GatewayError, and
    ValueError for a name that is no text.
    """
    for name in values:
        name.encode()
    encoded = {name: b64encode(value).decode() for name, value in values.items()}
    request = _patch_request(service, key, json.dumps({"state": encoded, "version": version}).encode())
    try:
        async with asyncio.timeout(seconds):
            reply = await gateway.call(request)
    except TimeoutError:
        return Patched(202, f"accepted; it waits behind what runs at this key, as {request.id}", request.id)
    if reply.failure is not None:
        return Patched(reply.failure.code, reply.failure.message, request.id)
    return Patched(202, "done", request.id, applied=True)


def _patch_request(service: Service, key: str, payload: bytes) -> Request:
    if service.kind == "service":
        raise NoState(f"{service.name} is a service, and has no keys and no state: objects and workflows have")
    return request_of(service, STATE_PATCH, key, payload)
