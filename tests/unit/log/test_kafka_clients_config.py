"""The configurations that the adapters give to librdkafka."""

from __future__ import annotations

import asyncio

import pytest
from confluent_kafka import Consumer

from barnabas.log.kafka_consumer import GroupConsumer, _fetching, _membership, _no_membership
from barnabas.log.settings import KafkaSettings
from tests.contract.log.backends import ConsumerEars

BROKER_DECIDES = ("session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy")


def test_kip_848_leaves_the_times_and_the_assignor_to_the_broker() -> None:
    config = _membership(KafkaSettings(bootstrap="b:1", group="g", group_protocol="consumer"), ["t"])
    assert config["group.protocol"] == "consumer"
    assert not any(name in config for name in BROKER_DECIDES)


def test_the_classic_protocol_is_cooperative_with_a_short_session() -> None:
    config = _membership(KafkaSettings(bootstrap="b:1", group="g", instance_id="worker-1"), ["t"])
    assert config["partition.assignment.strategy"] == "cooperative-sticky"
    assert config["session.timeout.ms"] == 6_000
    assert str(config["group.instance.id"]).startswith("worker-1-")


def test_a_static_member_with_other_topics_is_another_one() -> None:
    """A group gives one that comes back what it had: the topics of a service that was added would be nobody's."""
    settings = KafkaSettings(bootstrap="b:1", group="g", instance_id="worker-1")
    one, same, other = (_membership(settings, topics) for topics in (["a", "b"], ["b", "a"], ["a", "b", "c"]))
    assert one["group.instance.id"] == same["group.instance.id"] != other["group.instance.id"]


async def test_a_member_needs_a_group_and_topics() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(ValueError, match="group"):
        GroupConsumer(KafkaSettings(bootstrap="b:1"), ["t"], ConsumerEars(), loop)
    with pytest.raises(ValueError, match="topic"):
        GroupConsumer(KafkaSettings(bootstrap="b:1", group="g"), [], ConsumerEars(), loop)


def test_a_short_poll_interval_holds_for_the_reader_without_a_group_too() -> None:
    """librdkafka refuses one that is shorter than the session, which is 45 s where nobody sets it."""
    settings = KafkaSettings(bootstrap="b:1", group="g", options={"max.poll.interval.ms": 7_000})
    config = _no_membership(settings)
    assert config["session.timeout.ms"] == 6_000
    Consumer({**_fetching(settings), **config}).close()
