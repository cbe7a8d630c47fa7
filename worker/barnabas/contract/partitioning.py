"""Which partition a key belongs to: murmur2, as Java's default partitioner computes it.

Every producer of ours passes the partition that this module works out, because librdkafka and aiokafka place keys
differently by default. Pure; called by `ids`, by clients and by the worker.
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF

# Ready-made structs for keys up to 256 bytes: formatting one per call costs a tenth of the whole.
_WORDS: Final = tuple(Struct(f"<{count}I") for count in range(65))


def _murmur2_unsigned(data: bytes) -> int:
    length = len(data)
    count = length >> 2
    words = _WORDS[count] if count <= 64 else Struct(f"<{count}I")
    state = _SEED ^ length
    for word in words.unpack_from(data):
        word = word * _M & _MASK
        # Only the low 32 bits count, so both products are cut in one go.
        state = (state * _M ^ (word ^ word >> 24) * _M) & _MASK
    if rest := length & 3:
        state = (state ^ int.from_bytes(data[-rest:], "little")) * _M & _MASK
    state = (state ^ state >> 13) * _M & _MASK
    return state ^ state >> 15


def murmur2(data: bytes) -> int:
    """Kafka's murmur2 of `data`, as the signed 32-bit number that Java's `Utils.murmur2` returns."""
    value = _murmur2_unsigned(data)
    return value - (1 << 32) if value >> 31 else value


def partition_hash(key: bytes) -> int:
    """The 31-bit hash of a partition key (0 .. 2**31 - 1); `partition_of` makes it a partition."""
    return _murmur2_unsigned(key) & 0x7FFFFFFF


@lru_cache(maxsize=16384)
def _remembered_hash(key: bytes) -> int:
    return partition_hash(key)


def remembered_partition_hash(key: bytes) -> int:
    """`partition_hash` for keys that come again and again (object keys); long ones are not kept, to bound memory."""
    return _remembered_hash(key) if len(key) <= 128 else partition_hash(key)


def partition_of(key_hash: int, partitions: int) -> int:
    """The partition (0 .. partitions - 1) of a key with that hash, on a topic with that many partitions."""
    return key_hash % partitions
