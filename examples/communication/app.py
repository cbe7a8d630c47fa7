"""All services of this folder's examples: `barnabas dev examples.communication.app:app`."""

from __future__ import annotations

import barnabas
from examples.communication import (
    attach,
    awakeables,
    cancel,
    combinators,
    deadlocks,
    deduplication,
    definitions,
    definitions_protocol,
    delayed,
    generic,
    idempotency,
    kill,
    one_way,
    order,
    promises,
    request_headers,
    request_response,
    shop,
    signals,
)

app = barnabas.app(
    [
        shop.greeter,
        shop.cart,
        shop.order,
        attach.lobby,
        awakeables.review,
        cancel.work,
        combinators.party,
        deadlocks.patient,
        deadlocks.careful,
        deduplication.clumsy,
        definitions.shelf,
        definitions_protocol.kiosk,
        delayed.reminders,
        generic.gateway,
        idempotency.ordering,
        kill.machine,
        one_way.shipping,
        order.packing,
        promises.approval,
        request_headers.echo,
        request_response.tour,
        signals.radio,
    ]
)
