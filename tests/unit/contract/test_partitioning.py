"""Keys lie where Java's default partitioner puts them."""

from __future__ import annotations

import confluent_kafka
import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from barnabas.contract.partitioning import murmur2, partition_hash, partition_of, remembered_partition_hash

# From the tests of Kafka's own Utils class.
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("data", "expected"), JAVA_VECTORS.items())
def test_murmur2_is_javas(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected
    assert partition_hash(data) == expected & 0x7FFFFFFF


@given(st.binary(max_size=600))
def test_murmur2_agrees_with_aiokafka_for_any_bytes(data: bytes) -> None:
    assert murmur2(data) & 0xFFFFFFFF == aiokafka_murmur2(data) & 0xFFFFFFFF
    assert remembered_partition_hash(data) == partition_hash(data)


def test_a_thousand_keys_lie_where_both_clients_put_them() -> None:
    for number in range(1000):
        key = f"N{number * 7919}".encode() * (1 + number % 20)
        for partitions in (1, 8, 12):
            ours = partition_of(partition_hash(key), partitions)
            assert ours == confluent_kafka.murmur2(key, partitions)
            assert ours == (aiokafka_murmur2(key) & 0x7FFFFFFF) % partitions
