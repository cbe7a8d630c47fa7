"""Subscriptions on the command line: who reads the file, and what is refused before a server is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from barnabas.cli.main import app
from barnabas.cli.worker import worker_command

APP = "tests.scenario.subscriptions_app:app"
SERVERS = ["--kafka", "nowhere:1", "--redis", "redis://nowhere:1"]


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", **environment}).invoke(app, list(arguments))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "subscriptions.yaml"
    file.write_text("- {topic: orders, handler: Ledger/note, name: orders}")
    return file


@pytest.mark.parametrize("command", ["worker", "dev"])
def test_both_take_a_file_and_refuse_one_that_is_none(command: str, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("- {topic: orders}")
    servers = SERVERS if command == "worker" else ["--data", str(tmp_path)]
    for ended in (
        run(command, APP, "--subscriptions", str(bad), *servers),
        run(command, APP, *servers, BARNABAS_SUBSCRIPTIONS=str(bad)),
    ):
        assert ended.exit_code == 2
        assert "handler is missing" in ended.output


def test_the_members_of_a_supervisor_read_the_file_too(file: Path) -> None:
    command = worker_command(APP, "info", file)
    assert command[command.index("--subscriptions") + 1] == str(file)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text("- {topic: a, handler: A/b, name: x}\n- {topic: c, handler: A/b, name: x}")
    ended = run("worker", APP, "--subscriptions", str(file), *SERVERS)
    assert ended.exit_code == 2
    assert "two subscriptions are named 'x'" in ended.output


def test_a_registry_that_is_no_url_is_refused_without_repeating_it() -> None:
    ended = run("worker", APP, *SERVERS, BARNABAS_REGISTRY="me:secret@host")
    assert ended.exit_code == 2
    assert "BARNABAS_REGISTRY must be a URL" in ended.output
    assert "secret" not in ended.output


@pytest.mark.parametrize(
    ("name", "to", "why"),
    [
        ("other", "earliest", "there is no subscription 'other'; there are: orders"),
        ("orders", "yesterday", "neither earliest nor latest nor a time"),
        ("orders", "2026-01-31T00:00:00", "give it a timezone"),
    ],
)
def test_a_reset_that_makes_no_sense_is_refused(file: Path, name: str, to: str, why: str) -> None:
    ended = run("subscriptions", "reset", APP, name, "--to", to, "--subscriptions", str(file), *SERVERS)
    assert ended.exit_code == 2
    assert why in ended.output
