"""The serdes of the public API, under the module name that handlers written for Restate import them by."""

from barnabas.sdk.avro import AvroSerde
from barnabas.sdk.serde import (
    BytesSerde,
    DefaultSerde,
    JsonSerde,
    MsgspecJsonSerde,
    PydanticJsonSerde,
    Serde,
    TypedJsonSerde,
)

__all__ = [
    "AvroSerde",
    "BytesSerde",
    "DefaultSerde",
    "JsonSerde",
    "MsgspecJsonSerde",
    "PydanticJsonSerde",
    "Serde",
    "TypedJsonSerde",
]
