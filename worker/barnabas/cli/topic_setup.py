"""Compares the topics that an app needs with a cluster's, and makes them so. For commands that may change topics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from barnabas.contract.topics import Create, PartitionsDiffer, Step, TopicNames, families, plan
from barnabas.log.port import Admin
from barnabas.sdk.app import App


class WrongPartitions(Exception):
    """Topics exist with another partition count: nothing was changed."""

    def __init__(self, steps: Sequence[PartitionsDiffer]) -> None:
        super().__init__(
            "the number of partitions cannot change under the keys of a topic. " + "; ".join(map(str, steps))
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a cluster has of an app's topics, and what is to do."""

    topics: list[str]
    existing: dict[str, tuple[int, dict[str, str]]]  # partition count and settings
    brokers: int
    steps: list[Step]


async def compare(admin: Admin, namespace: str, app: App, partitions: int | None = None) -> Comparison:
    """`partitions` for every service; None keeps what stands, and takes the declared count for what does not yet."""
    topics = _topics(namespace, app)
    counts = await admin.partitions(topics)
    configs = await admin.configs(list(counts))
    existing = {topic: (count, configs[topic]) for topic, count in counts.items()}
    brokers = await admin.brokers()
    names = TopicNames(namespace)
    services = {service: partitions or counts.get(names.invocations(service)) for service in app.services}
    return Comparison(topics, existing, brokers, plan(namespace, services, existing, brokers=brokers))


async def apply(admin: Admin, found: Comparison) -> None:
    """Do what is to do. Raises WrongPartitions, before anything was changed."""
    wrong = [step for step in found.steps if isinstance(step, PartitionsDiffer)]
    if wrong:
        raise WrongPartitions(wrong)
    for step in found.steps:
        if isinstance(step, Create):
            await admin.create(step.topic, step.partitions, step.config, copies=min(3, found.brokers))
        elif not isinstance(step, PartitionsDiffer):
            wanted = {name: wanted for name, (_, wanted) in step.differences.items()}
            await admin.set_configs(step.topic, wanted)


def _topics(namespace: str, app: App) -> list[str]:
    """All that the app needs, shared ones last."""
    used = [family for family in families().values() if family.used_by]
    own = [family.topic(namespace, service) for service in app.services for family in used if family.per_service]
    return own + [family.topic(namespace) for family in used if not family.per_service]
