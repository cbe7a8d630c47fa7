"""Topic names, and what `topics plan` finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from barnabas.contract import declarations, topics
from barnabas.contract.declarations import folder, schemas
from barnabas.contract.topics import ConfigDiffers, Create, PartitionsDiffer, Step, TopicNames, families, plan

SERVICE_TOPICS = ["demo.Plane.invocations", "demo.Plane.signals"]
SHARED_TOPICS = ["demo.dead-letters", "demo.delays", "demo.replies"]

Existing = dict[str, tuple[int, dict[str, str]]]


def cluster_of(steps: list[Step]) -> Existing:
    """The cluster on which those steps were applied."""
    return {step.topic: (step.partitions, dict(step.config)) for step in steps if isinstance(step, Create)}


def test_names_are_the_declared_ones() -> None:
    names = TopicNames("demo")
    assert names.invocations("Plane") == "demo.Plane.invocations"
    assert names.signals("Plane") == "demo.Plane.signals"
    assert names.delays == "demo.delays"
    assert names.changelog == "demo.changelog"
    assert names.replies == "demo.replies"
    assert names.dead_letters == "demo.dead-letters"


def test_a_topic_tells_its_service() -> None:
    names = TopicNames("demo")
    assert names.service_of("demo.Plane.invocations") == ("Plane", "invocations")
    assert names.service_of("demo.Plane.signals") == ("Plane", "signals")


@pytest.mark.parametrize(
    "other",
    ["demo.replies", "demo.Plane.other", "other.Plane.signals", "demo.a.b.signals", "demo..signals", "signals", ""],
)
def test_other_topics_have_no_service(other: str) -> None:
    assert TopicNames("demo").service_of(other) is None


@pytest.mark.parametrize("bad", ["", "a.b", "a b", "ä", "a/b", "a\n", "{a}"])
def test_names_that_cannot_be_in_a_topic_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        TopicNames(bad)
    with pytest.raises(ValueError, match="service name"):
        TopicNames("demo").invocations(bad)
    with pytest.raises(ValueError, match="service name"):
        plan("demo", {bad: None}, {})
    with pytest.raises(ValueError, match="namespace"):
        plan(bad, {}, {})


def test_names_beyond_kafkas_limit_are_refused() -> None:
    with pytest.raises(ValueError, match="249"):
        TopicNames("demo").invocations("S" * 240)


def test_every_family_is_declared_as_design_says() -> None:
    declared = families()
    assert set(declared) == {"invocations", "signals", "delays", "changelog", "replies", "dead-letters"}
    assert {name for name, family in declared.items() if family.per_service} == {"invocations", "signals"}
    for family in declared.values():
        assert family.partitions == 8
        assert family.config["message.timestamp.type"] == "LogAppendTime"
        assert family.config["cleanup.policy"] == "delete"
        assert all(isinstance(value, str) for value in (family.config | family.replicated_config).values())
        if family.value is not None:
            assert schemas(family.value)
    assert int(declared["replies"].config["retention.ms"]) < int(declared["invocations"].config["retention.ms"])
    assert declared["invocations"].partitions == declared["signals"].partitions


def test_an_empty_cluster_gets_the_topics_in_use() -> None:
    steps = plan("demo", {"Plane": None}, {})
    assert sorted(step.topic for step in steps) == sorted(SERVICE_TOPICS + SHARED_TOPICS)
    assert all(isinstance(step, Create) and step.partitions == 8 for step in steps)
    assert "create demo.Plane.invocations with 8 partitions" in "\n".join(map(str, steps))


def test_a_cluster_as_planned_needs_nothing() -> None:
    services = {"Plane": 3, "Carrier": None}
    cluster = cluster_of(plan("demo", services, {}))
    assert cluster["demo.Plane.invocations"][0] == cluster["demo.Plane.signals"][0] == 3
    assert plan("demo", services, cluster) == []
    cluster["unrelated"] = (1, {})
    assert plan("demo", services, cluster) == []


def test_copies_are_demanded_only_where_there_can_be_three() -> None:
    single, triple = plan("demo", {}, {}, brokers=1), plan("demo", {}, {}, brokers=3)
    assert all("min.insync.replicas" not in step.config for step in single if isinstance(step, Create))
    assert all(step.config["min.insync.replicas"] == "2" for step in triple if isinstance(step, Create))


def test_other_settings_are_named_with_both_values() -> None:
    cluster = cluster_of(plan("demo", {"Plane": None}, {}))
    cluster["demo.Plane.invocations"][1]["cleanup.policy"] = "compact"
    del cluster["demo.replies"][1]["retention.ms"]
    steps = plan("demo", {"Plane": None}, cluster)
    assert steps == [
        ConfigDiffers("demo.Plane.invocations", {"cleanup.policy": ("compact", "delete")}),
        ConfigDiffers("demo.replies", {"retention.ms": (None, "86400000")}),
    ]
    assert "cleanup.policy: compact -> delete" in str(steps[0])


def test_another_partition_count_is_no_step_to_apply() -> None:
    cluster = cluster_of(plan("demo", {"Plane": 8}, {}))
    steps = plan("demo", {"Plane": 12}, cluster)
    assert steps == [PartitionsDiffer(topic, 8, 12) for topic in SERVICE_TOPICS]
    assert "8 partitions, 12 are declared" in str(steps[0])


def test_a_declaration_that_says_too_little_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "topic_declarations", lambda: {"replies": {"name": "x", "used_by": []}})
    with pytest.raises(ValueError, match=r"topics/replies\.yaml"):
        families.__wrapped__()


def test_declarations_are_found_in_a_wheel_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = tmp_path / "site" / "barnabas" / "contract" / "declarations.py"
    monkeypatch.setattr(declarations, "__file__", str(module))
    with pytest.raises(FileNotFoundError, match="Install the package again"):
        folder("schemas")
    (tmp_path / "site" / "barnabas" / "schemas").mkdir(parents=True)
    assert folder("schemas") == (tmp_path / "site" / "barnabas" / "schemas").resolve()
    with pytest.raises(FileNotFoundError, match="'nothing'"):
        schemas.__wrapped__("nothing")
