"""The log in memory: what the contract does not cover, because only tests and the simulator use it."""

from __future__ import annotations

import asyncio

import pytest

from barnabas.log.memory import MemoryConsumer, MemoryLog, MemoryLogCore, MemoryProducerSession
from barnabas.log.port import OutRecord, Position, Record
from tests.contract.log.backends import ConsumerEars, ProducerEars


def out(value: bytes, partition: int = 0) -> OutRecord:
    return OutRecord("t", partition, b"k", value, None)


def test_the_core_keeps_offsets_and_append_times() -> None:
    core = MemoryLogCore()
    core.create("t", 2)
    assert [core.append(out(b"a"), 10), core.append(out(b"b"), 11), core.append(out(b"c", 1), 12)] == [0, 1, 0]
    assert core.read("t", 0, 1, 9) == [Record(1, 11, b"k", b"b", None)]
    core.truncate_before("t", 0, 1)
    assert core.bounds("t", 0) == (1, 2)
    assert core.append(out(b"d"), 13) == 2
    assert [record.value for record in core.read("t", 0, 1, 9)] == [b"b", b"d"]
    with pytest.raises(IndexError):
        core.read("t", 0, 0, 1)


async def test_a_member_reads_what_it_was_assigned_until_it_is_revoked() -> None:
    log = MemoryLog(lambda: 0)
    log.core.create("t", 1)
    ears = ConsumerEars()
    member = MemoryConsumer(log, ears, asyncio.get_running_loop(), grouped=True)
    log.append(out(b"a"))
    member.read_from(Position("t", 0, 0), epoch=1)  # not assigned: ignored
    member.assign([("t", 0)])
    await asyncio.sleep(0)
    assert ears.batches == []
    member.read_from(Position("t", 0, 0), epoch=2)
    await ears.until(lambda: ears.offsets(epoch=2) == [0], "the record")
    member.revoke([("t", 0)], lost=True)
    log.append(out(b"b"))
    await asyncio.sleep(0)
    assert ears.offsets() == [0]
    assert ears.said == [("assigned", ("t", 0)), ("lost", ("t", 0))]


async def test_a_session_can_be_broken() -> None:
    log = MemoryLog(lambda: 0)
    log.core.create("t", 1)
    ears = ProducerEars()
    session = MemoryProducerSession(log, ears, asyncio.get_running_loop())
    session.produce(out(b"a"), 1)
    session.fail(ConnectionError("gone"))
    await asyncio.sleep(0)
    assert ears.delivered == []
    assert len(ears.over) == 1
    assert not session.produce(out(b"b"), 2)
