"""Looks at a broker and a store for settings that would lose data, and says what to change. Used by `barnabas doctor`.

The checks are plain functions of what the servers say of themselves; only `examine` talks to them. It changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from barnabas.contract.topics import TopicNames
from barnabas.devstack.errors import ServerUnreachableError
from barnabas.devstack.probe import NO_OPTIONS, BrokerFacts, TopicFacts, broker_facts
from barnabas.log.settings import OptionValue
from barnabas.store.address import is_encrypted, shown
from barnabas.store.port import Service, StoreUnavailable
from barnabas.store.redis import RedisStore

OLDEST_STORE = 7
DAY_MS = 24 * 60 * 60 * 1000


class Severity(Enum):
    """What a finding means for the data."""

    LOSES = "loses data"
    RISK = "risk"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    severity: Severity
    subject: str  # which server, topic or setting
    found: str
    change: str = ""  # what to do; empty where all is well


async def examine(
    kafka: str, redis: str, namespace: str, options: Mapping[str, OptionValue] = NO_OPTIONS
) -> list[Finding]:
    """Every finding about the servers at these addresses and the topics of `namespace`, the worst first.

    `options` are librdkafka's. Raises ServerUnreachableError where one of them does not answer, ValueError for a
    namespace that cannot be one.
    """
    names = TopicNames(namespace)
    settings, services = await _ask_store(redis, namespace)
    facts = broker_facts(kafka, f"{namespace}.", options=options)
    findings = [
        *check_connections(kafka, redis, options),
        *check_store(settings),
        *check_brokers(facts),
        *check_namespace(namespace, facts),
        *(finding for name, topic in facts.topics.items() for finding in check_topic(name, topic, facts.brokers)),
        *check_partitions(names, facts.topics, services),
    ]
    order = list(Severity)
    return sorted(findings, key=lambda finding: order.index(finding.severity))


async def _ask_store(redis: str, namespace: str) -> tuple[dict[str, str], dict[str, Service]]:
    store = RedisStore(redis, namespace)
    try:
        return await store.settings(), await store.services()
    except StoreUnavailable as error:
        raise ServerUnreachableError(f"The store at {shown(redis)} does not answer: {error}") from error
    finally:
        await store.aclose()


def check_connections(kafka: str, redis: str, options: Mapping[str, OptionValue]) -> Iterator[Finding]:
    """Whether others on the way could read, or say who they like to be. Names no option's value but the protocol."""
    protocol = str(options.get("security.protocol", "plaintext")).lower()
    if not _stays_here(kafka):
        if protocol in ("plaintext", "sasl_plaintext"):
            change = 'BARNABAS_KAFKA_OPTIONS={"security.protocol": "SASL_SSL", ...}: payloads and passwords can be read'
            yield Finding(Severity.RISK, "connection to Kafka", protocol, change)
        else:
            yield Finding(Severity.OK, "connection to Kafka", protocol)
    if not _stays_here(urlsplit(redis).netloc.rpartition("@")[2]):
        if is_encrypted(redis):
            yield Finding(Severity.OK, "connection to the store", "encrypted")
        else:
            change = "rediss:// in BARNABAS_REDIS: payloads, states and the password can be read on the way"
            yield Finding(Severity.RISK, "connection to the store", "not encrypted", change)


def _stays_here(addresses: str) -> bool:
    """Whether all these addresses, host:port with commas between, are this machine's own."""
    hosts = [address.strip().rpartition(":")[0] or address for address in addresses.split(",")]
    return all(host.strip("[]") in ("localhost", "::1", "") or host.startswith("127.") for host in hosts)


def check_store(settings: Mapping[str, str]) -> Iterator[Finding]:
    """What `RedisStore.settings` says about version, eviction and persistence."""
    for name, check in STORE_CHECKS.items():
        found = settings[name]
        if found == "unknown":
            change = "the server does not tell: see in its configuration that it does not lose data"
            yield Finding(Severity.RISK, f"store {name}", found, change)
        else:
            severity, change = check(found)
            yield Finding(severity, f"store {name}", found, change)


def _version(found: str) -> tuple[Severity, str]:
    if int(found.split(".")[0]) >= OLDEST_STORE:
        return Severity.OK, ""
    return Severity.LOSES, f"run Redis {OLDEST_STORE} or Valkey 8, or newer: the commit scripts need it"


def _eviction(found: str) -> tuple[Severity, str]:
    if found == "noeviction":
        return Severity.OK, ""
    return (
        Severity.LOSES,
        "CONFIG SET maxmemory-policy noeviction: any other policy deletes journals when memory is full",
    )


def _persistence(found: str) -> tuple[Severity, str]:
    if found == "yes":
        return Severity.OK, ""
    return (
        Severity.LOSES,
        "CONFIG SET appendonly yes: without it a restart of the store empties it, or goes back in time",
    )


def _fsync(found: str) -> tuple[Severity, str]:
    if found == "always":
        return Severity.OK, ""
    if found == "everysec":
        return Severity.RISK, "appendfsync always: a crash loses the last second, whose side effects then happen twice"
    return (
        Severity.LOSES,
        "CONFIG SET appendfsync always: with 'no' a crash loses as much as the system had not written",
    )


STORE_CHECKS: Mapping[str, Callable[[str], tuple[Severity, str]]] = {
    "version": _version,
    "maxmemory-policy": _eviction,
    "appendonly": _persistence,
    "appendfsync": _fsync,
}


def check_brokers(facts: BrokerFacts) -> Iterator[Finding]:
    """How many brokers there are, and what they do with topics that nobody declared."""
    if facts.brokers < 3:
        change = "three brokers or more: with fewer, no copy can be lost without losing data or standing still"
        yield Finding(Severity.RISK, "brokers", str(facts.brokers), change)
    else:
        yield Finding(Severity.OK, "brokers", str(facts.brokers))
    creates = facts.settings.get("auto.create.topics.enable", "unknown")
    if creates == "false":
        yield Finding(Severity.OK, "broker auto.create.topics.enable", creates)
    else:
        change = "set it to false: a mistyped name becomes a topic with the wrong partition count and retention"
        yield Finding(Severity.RISK, "broker auto.create.topics.enable", creates, change)


def check_namespace(namespace: str, facts: BrokerFacts) -> Iterator[Finding]:
    """Whether there is anything to look at: a mistyped namespace would look healthy."""
    if not facts.topics:
        change = "name another with --namespace, or make its topics: barnabas topics apply APP"
        yield Finding(Severity.RISK, f"namespace {namespace}", "no topics", change)


def check_topic(name: str, topic: TopicFacts, brokers: int) -> list[Finding]:
    """Copies, elections, clean-up and time stamps of one topic; one finding that says so where nothing is wrong."""
    found = [*_copies(name, topic, brokers), *_contents(name, topic)]
    return found or [Finding(Severity.OK, name, f"{topic.partitions} partitions, {topic.replicas} copies")]


def _copies(name: str, topic: TopicFacts, brokers: int) -> Iterator[Finding]:
    in_sync = int(topic.settings["min.insync.replicas"])
    if topic.replicas == 1:
        # One broker cannot do better: said once, about the brokers.
        if brokers > 1:
            change = "replication factor 3: with one copy, the loss of its broker is the loss of its records"
            yield Finding(Severity.LOSES, f"{name} replication factor", "1", change)
        return
    if in_sync < 2:
        change = "min.insync.replicas=2: otherwise a record that only the leader has is acknowledged, and lost with it"
        yield Finding(Severity.LOSES, f"{name} min.insync.replicas", str(in_sync), change)
    if in_sync >= topic.replicas:
        change = f"fewer than the {topic.replicas} copies: as it is, nothing can be produced while one broker is away"
        yield Finding(Severity.RISK, f"{name} min.insync.replicas", str(in_sync), change)
    if topic.settings["unclean.leader.election.enable"] == "true":
        change = "set it to false: a copy that lags behind would become leader, and what it lacks is gone"
        yield Finding(Severity.LOSES, f"{name} unclean.leader.election.enable", "true", change)


def _contents(name: str, topic: TopicFacts) -> Iterator[Finding]:
    settings = topic.settings
    if "compact" in settings["cleanup.policy"]:
        change = "cleanup.policy=delete: compaction removes all but the last record of a key"
        yield Finding(Severity.LOSES, f"{name} cleanup.policy", settings["cleanup.policy"], change)
    if settings["message.timestamp.type"] != "LogAppendTime":
        change = "message.timestamp.type=LogAppendTime: results are kept by append time, a client's clock may be wrong"
        yield Finding(Severity.LOSES, f"{name} message.timestamp.type", settings["message.timestamp.type"], change)
    if 0 <= int(settings["retention.ms"]) < DAY_MS:
        change = "a day or more: records that wait longer for a worker are deleted before anybody has read them"
        yield Finding(Severity.LOSES, f"{name} retention.ms", settings["retention.ms"], change)
    if int(settings["retention.bytes"]) >= 0:
        change = "retention.bytes=-1: a burst deletes records that nobody has read"
        yield Finding(Severity.RISK, f"{name} retention.bytes", settings["retention.bytes"], change)


def check_partitions(
    names: TopicNames, topics: Mapping[str, TopicFacts], services: Mapping[str, Service]
) -> Iterator[Finding]:
    """Whether the topics of every registered service have the partition count that the store's registry has for it."""
    for service in services.values():
        for topic in (names.invocations(service.name), names.signals(service.name)):
            subject, facts = f"{topic} partitions", topics.get(topic)
            if facts is None:
                change = "barnabas topics apply APP: the service is registered in the store, its topic does not exist"
                yield Finding(Severity.LOSES, subject, "no such topic", change)
            elif facts.partitions != service.partitions:
                change = (
                    f"the store's registry says {service.partitions}: keys have changed their shards, order and state "
                    "with them. Stop the workers; recreate the topic with that count, or move to a new namespace"
                )
                yield Finding(Severity.LOSES, subject, str(facts.partitions), change)
            else:
                yield Finding(Severity.OK, subject, str(facts.partitions))
