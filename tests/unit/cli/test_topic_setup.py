"""Comparing and applying topics, on the in-memory log."""

from __future__ import annotations

import pytest

import barnabas
from barnabas.cli.topic_setup import WrongPartitions, apply, compare
from barnabas.log.memory import MemoryAdmin, MemoryLog

greeter = barnabas.Service("Greeter")


@greeter.handler()
async def greet(ctx: barnabas.Context, name: str) -> str:
    return name


APP = barnabas.app([greeter])


@pytest.fixture
def admin() -> MemoryAdmin:
    return MemoryAdmin(MemoryLog(lambda: 0))


async def test_applying_leaves_nothing_to_do(admin: MemoryAdmin) -> None:
    await apply(admin, await compare(admin, "demo", APP))
    topics = ["demo.Greeter.invocations", "demo.Greeter.signals", "demo.replies", "demo.dead-letters", "demo.delays"]
    assert await admin.partitions(topics) == dict.fromkeys(topics, 8)
    found = await compare(admin, "demo", APP)
    assert found.steps == []
    assert sorted(found.topics) == sorted(topics)


async def test_a_setting_that_differs_is_set(admin: MemoryAdmin) -> None:
    await apply(admin, await compare(admin, "demo", APP))
    await admin.set_configs("demo.replies", {"retention.ms": "1", "segment.bytes": "7"})
    await apply(admin, await compare(admin, "demo", APP))
    config = (await admin.configs(["demo.replies"]))["demo.replies"]
    assert (config["retention.ms"], config["segment.bytes"]) == ("86400000", "7")


async def test_the_count_that_stands_is_kept_unless_another_is_asked_for(admin: MemoryAdmin) -> None:
    await apply(admin, await compare(admin, "demo", APP, partitions=4))
    assert (await admin.partitions(["demo.Greeter.signals"])) == {"demo.Greeter.signals": 4}
    assert (await compare(admin, "demo", APP)).steps == []


async def test_another_partition_count_is_refused_before_anything_changes(admin: MemoryAdmin) -> None:
    await admin.create("demo.Greeter.invocations", 4, {})
    with pytest.raises(WrongPartitions, match=r"demo\.Greeter\.invocations has 4 partitions, 6 are declared"):
        await apply(admin, await compare(admin, "demo", APP, partitions=6))
    assert await admin.partitions(["demo.Greeter.signals", "demo.replies"]) == {}
