"""How this process reaches Kafka. Built by the composition root, read by the Kafka adapters, nothing else.

Options of librdkafka pass through as a mapping; those that the delivery rules of the log layer lean on are refused,
each with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

OptionValue = str | int | float | bool

_OWN_FIELD = "is set by the field `{}` of these settings"
_PREFIX_OFFSETS = "offsets live in the store and move with their effects"
_PREFIX_SESSION = "a producer session must be idempotent and keep order without gaps"

REFUSED_OPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "bootstrap.servers": _OWN_FIELD.format("bootstrap"),
        "metadata.broker.list": _OWN_FIELD.format("bootstrap"),
        "client.id": _OWN_FIELD.format("client_id"),
        "group.id": _OWN_FIELD.format("group"),
        "group.instance.id": _OWN_FIELD.format("instance_id"),
        "group.protocol": _OWN_FIELD.format("group_protocol"),
        "session.timeout.ms": _OWN_FIELD.format("session_timeout_ms"),
        "heartbeat.interval.ms": "follows from the field `session_timeout_ms` of these settings",
        "linger.ms": _OWN_FIELD.format("linger_ms"),
        "queue.buffering.max.ms": _OWN_FIELD.format("linger_ms"),
        "batch.size": _OWN_FIELD.format("batch_bytes"),
        "queue.buffering.max.messages": _OWN_FIELD.format("producer_queue"),
        "batch.num.messages": "a session decides it: records go one by one after a refused batch",
        "enable.idempotence": f"{_PREFIX_SESSION}: always on",
        "enable.gapless.guarantee": f"{_PREFIX_SESSION}: always on",
        "acks": f"{_PREFIX_SESSION}: always `all`",
        "request.required.acks": f"{_PREFIX_SESSION}: always `all`",
        "message.timeout.ms": "a delivery that times out leaves a gap: records wait until the broker is back",
        "delivery.timeout.ms": "a delivery that times out leaves a gap: records wait until the broker is back",
        "retries": f"{_PREFIX_SESSION}: the library tries for as long as it takes",
        "message.send.max.retries": f"{_PREFIX_SESSION}: the library tries for as long as it takes",
        "transactional.id": "the log layer uses no transactions",
        "partitioner": "the partition of a key is worked out by Barnabas and passed explicitly",
        "delivery.report.only.error": "every record's delivery is followed",
        "enable.auto.commit": _PREFIX_OFFSETS,
        "enable.auto.offset.store": _PREFIX_OFFSETS,
        "auto.offset.reset": "an offset outside the log must stop its partition loudly",
        "partition.assignment.strategy": "members of one group must agree: cooperative-sticky",
        "enable.partition.eof": "the adapters that need the end of a partition switch it on themselves",
        "allow.auto.create.topics": "topics are created by `barnabas topics apply`, with the right partition count",
    }
)


def checked_options(options: Mapping[str, OptionValue]) -> Mapping[str, OptionValue]:
    """The options, if they may be set. Raises ValueError, which names those that may not, and no value."""
    refused = [f"{name}: {REFUSED_OPTIONS[name]}" for name in options if name in REFUSED_OPTIONS]
    if refused:
        raise ValueError("these Kafka options cannot be set: " + "; ".join(refused))
    return options


#: A field of settings that takes options from `BARNABAS_KAFKA_OPTIONS`, a JSON object.
KafkaOptions = Annotated[
    dict[str, OptionValue],
    Field(default_factory=dict, description="passed to librdkafka", repr=False),
    AfterValidator(checked_options),
]

_SESSION_TIMEOUT_MS = 6_000  # a killed worker's shards move after this time
_BATCH_BYTES = 1_000_000
_PRODUCER_QUEUE = 100_000


class KafkaSettings(BaseModel):
    """Where the brokers are and how to talk to them. Never shows `options` in its repr or in errors: they hold secrets.

    The partitions of one consumer group go to its members; a member with an `instance_id` gets its own back when it
    starts again within `session_timeout_ms`. `group_protocol` "consumer" is KIP-848, where the broker sets the times.
    `batch_bytes` must not exceed `max.message.bytes` of the topics produced to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    bootstrap: str = Field(min_length=1)
    group: str | None = Field(default=None, min_length=1)
    instance_id: str | None = Field(default=None, min_length=1)
    group_protocol: Literal["classic", "consumer"] = "classic"
    client_id: str = "barnabas"
    session_timeout_ms: int = Field(default=_SESSION_TIMEOUT_MS, ge=1_000)
    linger_ms: float = Field(default=0, ge=0, le=100)
    batch_bytes: int = Field(default=_BATCH_BYTES, ge=1_000)
    producer_queue: int = Field(default=_PRODUCER_QUEUE, ge=1)
    max_batch: int = Field(default=1_000, ge=1)
    request_seconds: float = Field(default=30.0, gt=0)
    options: Mapping[str, OptionValue] = Field(default_factory=dict, repr=False)

    @field_validator("options")
    @classmethod
    def _refuse_dangerous(cls, options: Mapping[str, OptionValue]) -> Mapping[str, OptionValue]:
        return MappingProxyType(dict(checked_options(options)))

    def common(self) -> dict[str, OptionValue]:
        """What every client of librdkafka gets; the pass-through options come last in each adapter."""
        return {
            "bootstrap.servers": self.bootstrap,
            "client.id": self.client_id,
            "socket.nagle.disable": True,
        }
