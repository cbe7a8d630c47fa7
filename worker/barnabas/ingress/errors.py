"""What the gateway raises, sorted by what its caller can do. The HTTP sides make responses of it by `status`.

GatewayError
├── Unavailable     (503) Kafka or the store is out of reach, or this process is full or ending: ask again later
├── TooLarge        (413) a record of this size does not fit into Kafka
├── UnknownTarget   (404) no worker has registered the service that the id or the name belongs to
└── NoAnswer        (504) the shard's owner did not answer in time
"""

from __future__ import annotations

from typing import ClassVar


class GatewayError(Exception):
    """The request came to nothing here; the message says why and what to do."""

    status: ClassVar[int] = 500


class Unavailable(GatewayError):
    """Not now. Of what was on its way nothing is known, unless the message says so."""

    status = 503


class TooLarge(GatewayError):
    """Kafka takes no record of this size."""

    status = 413


class UnknownTarget(GatewayError):
    """Nobody has registered this service."""

    status = 404


class NoAnswer(GatewayError):
    """Nobody answered in time: no worker of the service may be running."""

    status = 504
