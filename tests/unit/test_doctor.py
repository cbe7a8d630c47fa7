"""The doctor's judgement about what servers say of themselves."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from barnabas.cli import doctor as command
from barnabas.contract.topics import TopicNames
from barnabas.devstack.doctor import (
    Finding,
    Severity,
    check_brokers,
    check_namespace,
    check_partitions,
    check_store,
    check_topic,
)
from barnabas.devstack.errors import ServerUnreachableError
from barnabas.devstack.probe import BrokerFacts, TopicFacts
from barnabas.store.port import Service

SAFE_STORE = {"version": "7.2.4", "maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "always"}
SAFE_TOPIC = {
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
    "retention.ms": "2592000000",
    "retention.bytes": "-1",
}


def severities(findings: list[Finding]) -> set[Severity]:
    return {finding.severity for finding in findings}


def test_a_safe_store_and_cluster_have_nothing_to_change() -> None:
    facts = BrokerFacts(3, {"auto.create.topics.enable": "false"}, {"demo.A.invocations": TopicFacts(8, 3, SAFE_TOPIC)})
    findings = [*check_store(SAFE_STORE), *check_brokers(facts), *check_namespace("demo", facts)]
    findings += check_topic("demo.A.invocations", facts.topics["demo.A.invocations"], 3)
    assert severities(findings) == {Severity.OK}
    assert not any(finding.change for finding in findings)


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("maxmemory-policy", "allkeys-lru", Severity.LOSES),
        ("maxmemory-policy", "volatile-ttl", Severity.LOSES),
        ("appendonly", "no", Severity.LOSES),
        ("appendfsync", "no", Severity.LOSES),
        ("appendfsync", "everysec", Severity.RISK),
        ("appendfsync", "unknown", Severity.RISK),
        ("version", "6.2.1", Severity.LOSES),
    ],
)
def test_a_store_setting_that_loses_data_is_found(name: str, value: str, severity: Severity) -> None:
    [finding] = [f for f in check_store(SAFE_STORE | {name: value}) if f.severity is not Severity.OK]
    assert (finding.severity, finding.subject, finding.found) == (severity, f"store {name}", value)
    assert finding.change


@pytest.mark.parametrize(
    ("name", "value", "severity"),
    [
        ("min.insync.replicas", "1", Severity.LOSES),
        ("min.insync.replicas", "3", Severity.RISK),
        ("unclean.leader.election.enable", "true", Severity.LOSES),
        ("cleanup.policy", "compact,delete", Severity.LOSES),
        ("message.timestamp.type", "CreateTime", Severity.LOSES),
        ("retention.ms", "3600000", Severity.LOSES),
        ("retention.bytes", "1000000", Severity.RISK),
    ],
)
def test_a_topic_setting_that_loses_data_is_found(name: str, value: str, severity: Severity) -> None:
    [finding] = check_topic("demo.A.invocations", TopicFacts(8, 3, SAFE_TOPIC | {name: value}), brokers=3)
    assert (finding.severity, finding.subject, finding.found) == (severity, f"demo.A.invocations {name}", value)


def test_one_copy_loses_data_where_there_could_be_more() -> None:
    topic = TopicFacts(8, 1, SAFE_TOPIC | {"min.insync.replicas": "1"})
    assert severities(check_topic("demo.A.invocations", topic, brokers=3)) == {Severity.LOSES}
    assert severities(check_topic("demo.A.invocations", topic, brokers=1)) == {Severity.OK}


def test_a_small_cluster_that_makes_topics_by_itself_is_a_risk() -> None:
    findings = list(check_brokers(BrokerFacts(1, {"auto.create.topics.enable": "true"}, {})))
    assert [finding.severity for finding in findings] == [Severity.RISK, Severity.RISK]


def test_a_namespace_without_topics_does_not_look_healthy() -> None:
    [finding] = check_namespace("dmeo", BrokerFacts(3, {}, {}))
    assert finding.severity is Severity.RISK


def test_partition_counts_are_compared_with_the_stores_registry() -> None:
    service = Service("A", "object", 8, "demo.workers", {})
    topics = {"demo.A.invocations": TopicFacts(12, 3, {}), "demo.A.signals": TopicFacts(8, 3, {})}
    wrong, right = check_partitions(TopicNames("demo"), topics, {"A": service})
    assert (wrong.severity, wrong.found) == (Severity.LOSES, "12")
    assert "8" in wrong.change
    assert right.severity is Severity.OK
    del topics["demo.A.signals"]
    assert [f.found for f in check_partitions(TopicNames("demo"), topics, {"A": service})] == ["12", "no such topic"]


@pytest.mark.parametrize(("worst", "code"), [(Severity.LOSES, 1), (Severity.RISK, 0), (Severity.OK, 0)])
def test_the_command_ends_with_1_only_where_data_would_be_lost(
    worst: Severity, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding(worst, "store appendonly", "no", "CONFIG SET appendonly yes")

    async def examine(*_addresses: str) -> list[Finding]:
        return [finding]

    monkeypatch.setattr(command, "examine", examine)
    result = CliRunner().invoke(command.app, ["--kafka", "k:1", "--redis", "redis://r:1/0", "--json"])
    assert result.exit_code == code
    assert json.loads(result.stdout) == [
        {"severity": worst.value, "subject": finding.subject, "found": finding.found, "change": finding.change}
    ]


def test_the_command_ends_with_2_where_a_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(*_addresses: str) -> list[Finding]:
        raise ServerUnreachableError("The store at redis://r:1/0 does not answer")

    monkeypatch.setattr(command, "examine", examine)
    result = CliRunner().invoke(command.app, ["--kafka", "k:1", "--redis", "redis://r:1/0"])
    assert result.exit_code == 2
    assert "does not answer" in result.stderr
