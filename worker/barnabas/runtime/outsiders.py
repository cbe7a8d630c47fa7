"""Who may ask for an invocation: callers from outside reach public handlers alone (`ingress_private`, PATCH of admin).

A record without a label comes from outside: labels are given by a shard's outbox, so to a handler's calls and sends,
by the scheduler, and by a subscription, which keeps to public handlers itself. A record that another shard sends on has
a label too, so whoever reads it first must ask here. Called by the two intakes, before anything else is done with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from barnabas.contract.errors import PoisonRecord
from barnabas.contract.records import Failure, Invocation
from barnabas.runtime.operating import STATE_PATCH
from barnabas.store.port import Service

#: The reason of the dead letter.
PRIVATE: Final = "private"
_BAD_REQUEST: Final = 400


def is_shut_out(services: Mapping[str, Service], invocation: Invocation) -> bool:
    """Whether it comes from outside, for a handler that is not public.

    A patch of state is none of the handlers: it is for those who operate the namespace, as signals are, and raw records
    cannot name it.
    """
    if invocation.label is not None or invocation.handler == STATE_PATCH:
        return False
    service = services.get(invocation.service)
    return service is not None and not service.is_public(invocation.handler)


def refusal(invocation: Invocation) -> tuple[PoisonRecord, Failure]:
    """What becomes of its record, and what those who wait for it are told."""
    what = f"{invocation.service}/{invocation.handler} is not public"
    return PoisonRecord(PRIVATE, f"{what}, and this came from outside"), Failure(_BAD_REQUEST, f"the invoked {what}")
