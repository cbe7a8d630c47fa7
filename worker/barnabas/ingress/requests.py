"""What the gateway is asked for, as values: an invocation to make, and what the store says of one. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from barnabas.contract.ids import InvocationId, idempotent_id, random_id, workflow_id
from barnabas.contract.records import LATEST_DUE, Failure, Invocation, ReplyTo
from barnabas.store.port import Service


class Request(NamedTuple):
    """An invocation that somebody outside wants. Make one with `request_of`; its id is fixed then."""

    id: InvocationId
    service: Service
    handler: str
    key: str | None
    payload: bytes
    headers: Mapping[str, str]
    idempotency_key: str | None
    due: int | None  # ms since the epoch, by the store's clock

    @property
    def derived(self) -> bool:
        """Whether every repeat of the request has this id."""
        return self.idempotency_key is not None or self.is_run

    @property
    def is_run(self) -> bool:
        """Whether it submits a workflow."""
        return self.service.handlers.get(self.handler) == "workflow"

    def invocation(self, reply_to: ReplyTo | None) -> Invocation:
        """The record that asks for it."""
        return Invocation(
            self.id,
            self.service.name,
            self.handler,
            self.key,
            self.payload,
            dict(self.headers),
            reply_to=reply_to,
            idempotency_key=self.idempotency_key,
            due=self.due,
        )


def request_of(
    service: Service,
    handler: str,
    key: str | None,
    payload: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    idempotency_key: str | None = None,
    due: int | None = None,
) -> Request:
    """A request for a handler of a registered service; that there is such a handler, and who may ask, is not checked.

    Raises UnicodeEncodeError, a ValueError, for text that has no UTF-8 form.
    """
    id_ = id_of(service, handler, key, idempotency_key, delayed=due is not None)
    if due is not None:
        due = min(due, LATEST_DUE)
    return Request(id_, service, handler, key, payload, headers or {}, idempotency_key, due)


def id_of(
    service: Service, handler: str, key: str | None, idempotency_key: str | None, *, delayed: bool = False
) -> InvocationId:
    """The id of a request for this target: a new one each time, unless it is a workflow's run or has a key."""
    if service.handlers.get(handler) == "workflow" and key is not None:
        return workflow_id(service.name, key)
    if idempotency_key is not None:
        return idempotent_id(service.name, handler, key, idempotency_key)
    return random_id(service.name, key, delayed=delayed)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an invocation. `finished`: `result` or `failure` says how it ended."""

    handler: str  # empty where nobody has said
    finished: bool
    result: bytes | None = None
    failure: Failure | None = None
    due: int | None = None  # while it is scheduled, ms
    expires_at: int | None = None  # append time in ms at which the outcome is dropped; None: nobody may count on it
