"""`barnabas topics plan|apply|list` on the in-memory log: what they print for programs, and how they end."""

from __future__ import annotations

import json
from collections.abc import Coroutine
from typing import Any

import pytest
from typer.testing import CliRunner

from barnabas.cli import topics
from barnabas.log.memory import MemoryAdmin, MemoryLog

APP = "tests.unit.cli.test_topic_setup:APP"


@pytest.fixture
def admin(monkeypatch: pytest.MonkeyPatch) -> MemoryAdmin:
    admin = MemoryAdmin(MemoryLog(lambda: 0))
    monkeypatch.setattr(topics, "KafkaAdmin", lambda settings: admin)
    return admin


def run(*words: str, code: int = 0) -> Any:
    result = CliRunner().invoke(topics.app, [*words, APP, "--kafka", "nowhere:1", "--namespace", "demo", "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def awaited(work: Coroutine[Any, Any, Any]) -> None:
    """Memory never has to be waited for."""
    with pytest.raises(StopIteration):
        work.send(None)


def test_steps_are_json(admin: MemoryAdmin) -> None:
    assert {one["name"]: one["exists"] for one in run("list")["topics"]}["demo.delays"] is False
    planned = {one["topic"]: one for one in run("plan")["steps"]}
    assert (planned["demo.delays"]["action"], planned["demo.delays"]["partitions"]) == ("create", 8)
    assert run("apply") == {"steps": list(planned.values())}
    assert run("plan") == {"steps": []}
    awaited(admin.set_configs("demo.replies", {"retention.ms": "1"}))
    [step] = run("plan")["steps"]
    assert (step["action"], step["config"]) == ("change", {"retention.ms": {"found": "1", "declared": "86400000"}})
    [refused, *_] = run("plan", "--partitions", "3", code=1)["steps"]
    assert (refused["action"], refused["partitions"]) == ("refuse", {"found": 8, "declared": 3})
    assert run("apply", "--partitions", "3", code=1)["steps"][0] == refused
    listed = {one["name"]: one for one in run("list")["topics"]}
    assert (listed["demo.replies"]["partitions"], listed["demo.replies"]["config"]["retention.ms"]) == (8, "1")
