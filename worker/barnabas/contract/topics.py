"""The names of our topics, what is declared about them, and what is missing on a cluster.

The one place where topic names are made. Called by clients, by the worker and by `barnabas topics`; pure, the caller
asks the cluster and does what the plan says.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from barnabas.contract.declarations import topic_declarations

#: Characters that are legal in topic names, without the dot, which separates the parts of ours.
_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")
_MAX_TOPIC_LENGTH: Final = 249  # Kafka's limit

ServiceTopic = Literal["invocations", "signals"]


class TopicNames:
    """The topics of one namespace. Raises ValueError for a namespace or service that cannot be part of a topic name."""

    __slots__ = ("_services", "changelog", "dead_letters", "delays", "namespace", "replies")

    def __init__(self, namespace: str) -> None:
        _check_name("namespace", namespace)
        self.namespace = namespace
        self.delays = _topic(namespace, "delays")
        self.changelog = _topic(namespace, "changelog")
        self.replies = _topic(namespace, "replies")
        self.dead_letters = _topic(namespace, "dead-letters")
        self._services: dict[str, tuple[str, str]] = {}

    def invocations(self, service: str) -> str:
        return self._of(service)[0]

    def signals(self, service: str) -> str:
        return self._of(service)[1]

    def service_of(self, topic: str) -> tuple[str, ServiceTopic] | None:
        """Whose invocations or signals these are; None if `topic` is neither, or of another namespace."""
        parts = topic.split(".")
        if len(parts) != 3 or parts[0] != self.namespace or not _NAME.fullmatch(parts[1]):
            return None
        if parts[2] == "invocations":
            return parts[1], "invocations"
        if parts[2] == "signals":
            return parts[1], "signals"
        return None

    def _of(self, service: str) -> tuple[str, str]:
        names = self._services.get(service)
        if names is None:
            _check_name("service name", service)
            names = _topic(self.namespace, "invocations", service), _topic(self.namespace, "signals", service)
            self._services[service] = names
        return names


@dataclass(frozen=True, slots=True)
class TopicFamily:
    """What one file of `topics/` declares."""

    family: str  # the file's name: "invocations", ...
    name: str  # template of the topic's name
    per_service: bool
    key: str  # what the record key is, for people
    value: str | None  # name of the value's schema; None where it is no Avro record
    doc: str
    used_by: tuple[str, ...]  # parts of Barnabas that read or write it
    partitions: int  # unless a service declares its own
    config: dict[str, str]
    replicated_config: dict[str, str]  # besides `config`, on clusters that keep three copies

    def topic(self, namespace: str, service: str = "") -> str:
        return self.name.format(namespace=namespace, service=service)


@dataclass(frozen=True, slots=True)
class Create:
    """The topic does not exist."""

    topic: str
    partitions: int
    config: dict[str, str]

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.config.items())
        return f"create {self.topic} with {self.partitions} partitions ({settings})"


@dataclass(frozen=True, slots=True)
class ConfigDiffers:
    """The topic has other settings than declared."""

    topic: str
    differences: dict[str, tuple[str | None, str]]  # setting: (found, declared)

    def __str__(self) -> str:
        changes = ", ".join(f"{name}: {found} -> {wanted}" for name, (found, wanted) in self.differences.items())
        return f"change {self.topic} ({changes})"


@dataclass(frozen=True, slots=True)
class PartitionsDiffer:
    """The topic has another partition count than declared: nothing to apply, keys would change their shards."""

    topic: str
    found: int
    declared: int

    def __str__(self) -> str:
        return (
            f"{self.topic} has {self.found} partitions, {self.declared} are declared: declare {self.found}, "
            "or move to a new namespace"
        )


Step = Create | ConfigDiffers | PartitionsDiffer


@cache
def families() -> dict[str, TopicFamily]:
    """All declared families by name. Raises ValueError naming the file that says too little or too much."""
    found = {}
    for family, declared in topic_declarations().items():
        try:
            found[family] = TopicFamily(family=family, **{**declared, "used_by": tuple(declared["used_by"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"topics/{family}.yaml does not declare a topic family: {error}") from error
    return found


def plan(
    namespace: str,
    services: Mapping[str, int | None],
    existing: Mapping[str, tuple[int, Mapping[str, str]]],
    *,
    brokers: int = 1,
) -> list[Step]:
    """What differs between the declarations and a cluster; nothing if the list is empty.

    `services` are the services to serve, with the partition count each declares (None: the family's). `existing` are
    the cluster's topics with partition count and settings. From three `brokers` on, the settings for replicated topics
    count as well. Raises ValueError for names that cannot be part of a topic name.
    """
    TopicNames(namespace)
    for service in services:
        _check_name("service name", service)
    steps: list[Step] = []
    for family, topic, partitions in _wanted(namespace, services):
        config = family.config | family.replicated_config if brokers >= 3 else family.config
        steps.extend(_compared(topic, partitions, config, existing.get(topic)))
    return steps


def _wanted(namespace: str, services: Mapping[str, int | None]) -> Iterable[tuple[TopicFamily, str, int]]:
    for family in families().values():
        if not family.used_by:
            continue
        if not family.per_service:
            yield family, family.topic(namespace), family.partitions
            continue
        for service, partitions in services.items():
            yield family, family.topic(namespace, service), family.partitions if partitions is None else partitions


def _compared(
    topic: str, partitions: int, config: dict[str, str], found: tuple[int, Mapping[str, str]] | None
) -> Iterable[Step]:
    if found is None:
        yield Create(topic, partitions, config)
        return
    found_partitions, found_config = found
    if found_partitions != partitions:
        yield PartitionsDiffer(topic, found_partitions, partitions)
    differences = {
        name: (found_config.get(name), wanted) for name, wanted in config.items() if found_config.get(name) != wanted
    }
    if differences:
        yield ConfigDiffers(topic, differences)


def _topic(namespace: str, family: str, service: str = "") -> str:
    topic = families()[family].topic(namespace, service)
    if len(topic) > _MAX_TOPIC_LENGTH:
        raise ValueError(f"the topic name {topic!r} has {len(topic)} characters, Kafka takes {_MAX_TOPIC_LENGTH}")
    return topic


def _check_name(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} is no legal {what}: it becomes part of topic names, so it may have letters, digits, '_' and '-'"
        )
