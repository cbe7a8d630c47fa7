"""`barnabas state`, `services`, `sql`, `dead-letters`, and completion: over a store and a log in memory."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from barnabas.cli import doctor
from barnabas.cli.main import app
from barnabas.cli.state import taken
from barnabas.contract.codec import encode_dead_letter, encode_invocation
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import DeadLetter, Failure, Invocation, Label
from barnabas.devstack.doctor import Finding, Severity
from barnabas.log.memory import MemoryAdmin, MemoryLog, MemoryReader
from barnabas.log.port import OutRecord
from barnabas.runtime.operating import state_version
from barnabas.store import keys
from barnabas.store.port import Shard
from tests.unit.cli.doors import FakeDoor
from tests.unit.introspection.filling import PARTITIONS, Filled

REDIS = ("--redis", "redis://nowhere")
SERVERS = ("--kafka", "nowhere:1", *REDIS)


def run(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", **environment}, prog_name="barnabas")


# -- state


@pytest.fixture
def mary(filled: Filled) -> dict[str, bytes]:
    """The state of Account/Mary."""
    state = {"balance": b"10", "bin": b"\xff", "spaced": b'{"a": 1}'}
    shard = filled.shard("Account", random_id("Account", "Mary"))
    filled.commit(shard, *(("HSET", keys.state("Mary"), name, value) for name, value in state.items()))
    return state


def patched(door: FakeDoor) -> tuple[dict[str, bytes], str | None]:
    """What the one patch says: values and version."""
    [request] = door.called
    assert (request.service.name, request.handler, request.key) == ("Account", "@state", "Mary")
    wanted = json.loads(request.payload)
    return {name: base64.b64decode(value) for name, value in wanted["state"].items()}, wanted["version"]


def test_state_is_shown(mary: dict[str, bytes]) -> None:
    shown = run("state", "get", "Account", "Mary", *REDIS)
    assert shown.exit_code == 0
    assert state_version(mary) in shown.stdout
    plain = json.loads(run("state", "get", "Account", "Mary", "--json", *REDIS).stdout)
    assert plain["state"] == {"balance": 10, "bin": {"$base64": "/w=="}, "spaced": {"a": 1}}
    assert plain["version"] == state_version(mary)
    assert json.loads(run("state", "get", "Account", "nobody", "--json", *REDIS).stdout)["state"] == {}


@pytest.mark.parametrize(("name", "said"), [("Teller", "is a service"), ("Acount", "with state there are: Account")])
def test_what_has_no_state_ends_with_2(filled: Filled, name: str, said: str) -> None:
    result = run("state", "get", name, "x", *REDIS)
    assert (result.exit_code, said in result.stderr) == (2, True)


def test_single_values_are_set_and_cleared_if_the_state_is_still_this_one(
    door: FakeDoor, mary: dict[str, bytes]
) -> None:
    result = run("state", "edit", "Account", "Mary", "--set", 'balance={"x":1}', "--remove", "bin", *SERVERS)
    assert result.exit_code == 0, result.output
    assert patched(door) == ({"balance": b'{"x":1}', "spaced": mary["spaced"]}, state_version(mary))
    assert result.stdout == "done\n"


def test_all_values_from_a_file(door: FakeDoor, mary: dict[str, bytes], tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text('{"spaced": {"a": 1}, "new": {"$base64": "AAE="}}')
    assert run("state", "edit", "Account", "Mary", "--file", str(file), *SERVERS).exit_code == 0
    assert patched(door)[0] == {"spaced": b'{"a": 1}', "new": b"\x00\x01"}


def test_in_an_editor(door: FakeDoor, mary: dict[str, bytes], tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/10/11/" "$1"\n')
    editor.chmod(0o755)
    result = run("state", "edit", "Account", "Mary", *SERVERS, VISUAL="", EDITOR=str(editor))
    assert result.exit_code == 0, result.output
    assert patched(door)[0] == {**mary, "balance": b"11"}


@pytest.mark.parametrize(("editor", "code"), [("true", 1), ("false", 2), ("/nowhere/vi", 2)])
def test_an_editor_that_changes_nothing_or_fails(
    door: FakeDoor, mary: dict[str, bytes], editor: str, code: int
) -> None:
    assert run("state", "edit", "Account", "Mary", *SERVERS, VISUAL="", EDITOR=editor).exit_code == code
    assert door.called == []


def test_a_refused_patch_ends_with_1(door: FakeDoor, mary: dict[str, bytes]) -> None:
    door.call_answer = Failure(409, "the state has changed")
    result = run("state", "edit", "Account", "Mary", "--set", "a=1", *SERVERS)
    assert (result.exit_code, "the state has changed" in result.stderr) == (1, True)


def test_a_patch_that_waits_is_no_failure(door: FakeDoor, mary: dict[str, bytes]) -> None:
    door.call_answer = TimeoutError()
    result = run("state", "clear", "Account", "Mary", "--json", *SERVERS)
    assert result.exit_code == 0
    said = json.loads(result.stdout)
    assert (said["status"], said["applied"]) == (202, False)
    assert patched(door) == ({}, None)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--set", "x"), "write NAME=JSON"),
        (("--set", "x=y"), "is no JSON"),
        (("--set", "x=NaN"), "not JSON compliant"),
        (("--set", 'x={"$base64": "!"}'), "is no base64"),
        (("--set", "x=" + "[" * 100_000), "is no JSON"),
        (("--set", "\udcff=1"), r"'\udcff' is no text"),
        (("--set", r'x="\udcff"'), "is no text"),
        (("--set", "x=1", "--file", "f"), "without --set"),
        (("--file", "/no"), "/no cannot be read"),
        (("--file", "/bin/true"), "is no text"),
    ],
)
def test_what_cannot_be_set(door: FakeDoor, mary: dict[str, bytes], flags: tuple[str, ...], said: str) -> None:
    result = run("state", "edit", "Account", "Mary", *flags, *SERVERS)
    assert (result.exit_code, said in result.stderr) == (2, True), result.output
    assert door.called == []


@pytest.mark.parametrize("value", [b"NaN", b"[-Infinity]", b"1e999", b"[" * 100_000, b"\xff"])
def test_what_is_no_json_is_shown_in_base64(filled: Filled, value: bytes) -> None:
    filled.commit(filled.shard("Account", random_id("Account", "Mary")), ("HSET", keys.state("Mary"), "x", value))

    def no_constant(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    shown = json.loads(run("state", "get", "Account", "Mary", "--json", *REDIS).stdout, parse_constant=no_constant)
    assert shown["state"] == {"x": {"$base64": base64.b64encode(value).decode()}}
    assert run("state", "get", "Account", "Mary", *REDIS).exit_code == 0


def test_an_object_that_looks_like_bytes_but_is_none_is_an_object(door: FakeDoor, mary: dict[str, bytes]) -> None:
    assert run("state", "edit", "Account", "Mary", "--set", 'x={"$base64": 1}', *SERVERS).exit_code == 0
    assert patched(door)[0]["x"] == b'{"$base64":1}'


# -- what comes from outside


ACTING = "a\x1b[2Jb\u202ec\x9bd[bold]e\nf"


def test_a_key_does_not_act_on_the_terminal(filled: Filled) -> None:
    a = filled.root("Account", ACTING)
    filled.call(filled.call(a, "Teller"), "Account", ACTING)
    filled.commit(filled.shard("Account", a), ("HSET", keys.state(ACTING), ACTING, json.dumps(ACTING)))
    for words in (
        ("invocations", "list"),
        ("invocations", "describe", str(InvocationId(a))),
        ("invocations", "deadlocks"),
        ("state", "get", "Account", ACTING),
        ("sql", "SELECT * FROM state"),
        ("sql", "SELECT target FROM sys_invocation"),
        ("invocations", "list", "--service", ACTING),
    ):
        result = run(*words, *REDIS)
        assert result.exit_code in (0, 1, 2), result.output
        for acting in "\x1b\u202e\x9b":
            assert acting not in result.output, (words, result.output)
        assert r"a\x1b[2Jb\u202ec\x9bd[bold]e" in result.output or "\\u001b" in result.output, (words, result.output)


def test_an_argument_that_is_no_text_is_refused_in_words(filled: Filled) -> None:
    result = run("invocations", "list", "--key", "\udcff", *REDIS)
    assert (result.exit_code, result.stderr) == (2, "barnabas: '\\udcff' is no text in UTF-8\n")


def test_in_a_pipe_a_row_is_a_line(filled: Filled) -> None:
    a = filled.root("Account", "k" * 50)
    shown = CliRunner().invoke(app, ["invocations", "list", *REDIS], env={"COLUMNS": "60"}).stdout
    assert re.search(rf"{InvocationId(a)} .* Account/k{{50}}/transfer .* running", shown), shown
    query = "SELECT id, target_service_key, target, status FROM sys_invocation"
    shown = CliRunner().invoke(app, ["sql", query, *REDIS], env={"COLUMNS": "60"}).stdout
    assert re.search(rf"{InvocationId(a)} .* running", shown), shown


def test_untouched_values_keep_their_bytes() -> None:
    before = {"a": b'{ "x" : 1 }', "b": b"\xfe"}
    assert taken({"a": {"x": 1}, "b": {"$base64": "/g=="}, "c": [1]}, before) == {**before, "c": b"[1]"}


# -- services


def test_services_are_listed_and_described(filled: Filled) -> None:
    about = {
        "description": "Money.",
        "public": True,
        "handlers": {
            "transfer": {
                "takes_input": True,
                "input_schema": {"$ref": "#/$defs/Order"},
                "output_schema": {"type": "array", "items": {"type": "string"}},
                "description": "Moves it.",
            }
        },
    }
    filled.store.core.register([replace(filled.services["Account"], about=about)])
    shown = run("services", *REDIS).stdout
    assert all(word in shown for word in ("Account", "object", "look, transfer", "Teller"))
    one = run("services", "Account", *REDIS).stdout
    assert all(word in one for word in ("Money.", "Order", "list of string", "Moves it.", f"{PARTITIONS} partitions"))
    assert [each["name"] for each in json.loads(run("services", "--json", *REDIS).stdout)["services"]] == [
        "Account",
        "Teller",
    ]
    missing = run("services", "Acount", *REDIS)
    assert (missing.exit_code, "there are: Account, Teller" in missing.stderr) == (1, True)


def test_a_service_is_closed_to_the_outside_and_opened_again(filled: Filled) -> None:
    assert json.loads(run("services", "Account", "--private", "--json", *REDIS).stdout)["public"] is False
    assert "private" in run("services", "Account", *REDIS).stdout
    assert json.loads(run("services", "Account", "--public", "--json", *REDIS).stdout)["public"] is True
    assert run("services", "--private", *REDIS).exit_code == 2


# -- sql


def test_sql(filled: Filled) -> None:
    filled.root("Account", "a")
    result = run("sql", "SELECT target, status FROM sys_invocation", "--json", *REDIS)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "rows": [{"target": "Account/a/transfer", "status": "running"}],
        "truncated": False,
    }
    assert "Account/a/transfer" in run("sql", "SELECT target, status FROM sys_invocation", *REDIS).stdout
    wide = run("sql", "SELECT * FROM sys_invocation", *REDIS).stdout  # a line for each value
    assert "target_service_name  Account" in " ".join(wide.split()).replace(" ", "  ")
    cut = run("sql", "SELECT * FROM range(5)", "--limit", "2", *REDIS)
    assert (cut.exit_code, "more than these 2 rows" in cut.stderr) == (0, True)
    refused = run("sql", "DROP TABLE state", *REDIS)
    assert (refused.exit_code, "one SELECT" in refused.stderr) == (2, True)


def test_sql_tables_are_listed_without_a_server() -> None:
    assert "sys_keyed_service_status" in run("sql").stdout
    assert json.loads(run("sql", "--json").stdout)["state"]["value"] == "BLOB"


# -- dead letters


@pytest.fixture
def log(door: FakeDoor) -> MemoryLog:
    log = MemoryLog(lambda: 1_799_999_999_000)
    log.core.create("n.dead-letters", 2, {}, bytes(16))
    log.core.create("n.Account.invocations", 3, {}, b"1" * 16)
    door.admin, door.reader = MemoryAdmin(log), MemoryReader(log)
    return log


def letter(log: MemoryLog, partition: int = 0, **fields: Any) -> None:
    """A dead letter on its topic."""
    content = {
        "reason": "undecodable",
        "detail": "it is no record",
        "topic": "n.Account.invocations",
        "partition": 2,
        "offset": 7,
        "timestamp": 5,
        "key": b"Mary",
        "value": b"\xff\x00text",
        "headers": [("barnabas-handler", b"transfer"), ("none", None)],
    }
    log.append(OutRecord("n.dead-letters", partition, b"k", encode_dead_letter(DeadLetter(**(content | fields))), None))


def test_dead_letters_are_listed_page_by_page(log: MemoryLog) -> None:
    for n in range(5):
        letter(log, n % 2, detail=f"number {n}")
    log.append(OutRecord("n.dead-letters", 0, None, b"no letter", None))
    shown = run("dead-letters", "list", *SERVERS).stdout
    assert all(word in shown for word in ("0-2", "1-1", "number 4", "n.Account.invocations[2] at 7", "unreadable"))
    seen = []
    before: tuple[str, ...] = ()
    while True:
        page = json.loads(run("dead-letters", "list", "--json", "--limit", "4", *before, *SERVERS).stdout)
        seen += [one["name"] for one in page["dead_letters"]]
        if page["before"] is None:
            break
        before = ("--before", page["before"])
    assert sorted(seen) == ["0-0", "0-1", "0-2", "0-3", "1-0", "1-1"]
    assert run("dead-letters", "list", "--before", "[1]", *SERVERS).exit_code == 2


def test_a_dead_letter_is_shown(log: MemoryLog) -> None:
    letter(log)
    shown = run("dead-letters", "show", "0-0", *SERVERS)
    assert shown.exit_code == 0
    assert all(
        word in shown.stdout for word in ("Mary", "it is no record", "header barnabas-handler", "transfer", "text")
    )
    plain = json.loads(run("dead-letters", "show", "0-0", "--json", *SERVERS).stdout)
    assert base64.b64decode(plain["value"]) == b"\xff\x00text"
    assert plain["headers"][1] == {"name": "none", "value": None}
    assert run("dead-letters", "show", "0-1", *SERVERS).exit_code == 1
    assert run("dead-letters", "show", "9-0", *SERVERS).exit_code == 1
    assert run("dead-letters", "show", "x", *SERVERS).exit_code == 2


def test_a_dead_letter_is_put_back_as_it_was(log: MemoryLog, door: FakeDoor) -> None:
    letter(log)
    result = run("dead-letters", "requeue", "0-0", *SERVERS)
    assert result.exit_code == 0, result.output
    [record] = door.produced
    assert record[:4] == ("n.Account.invocations", 2, b"Mary", b"\xff\x00text")
    assert record.headers == [("barnabas-handler", b"transfer"), ("none", None)]


def test_what_cannot_be_put_back(log: MemoryLog, door: FakeDoor) -> None:
    letter(log, topic="n.Gone.invocations")
    letter(log, partition=1)
    log.append(OutRecord("n.dead-letters", 0, None, b"no letter", None))
    result = run("dead-letters", "requeue", "0-0", "1-0", "0-1", "--json", *SERVERS)
    assert result.exit_code == 1
    assert [one["requeued"] for one in json.loads(result.stdout)["outcomes"]] == [False, True, False]
    assert len(door.produced) == 1


def test_those_that_were_put_back_are_told_of_whatever_becomes_of_others(log: MemoryLog, door: FakeDoor) -> None:
    letter(log)
    result = run("dead-letters", "requeue", "0-0", "0-7", *SERVERS)
    assert result.exit_code == 1
    assert "0-0  put back to n.Account.invocations" in result.stdout
    assert "has no dead letter 0-7" in result.stderr
    result = run("dead-letters", "requeue", "0-0", "7", *SERVERS)
    assert (result.exit_code, len(door.produced)) == (2, 1)  # nothing is done where one names none


def test_a_stale_label_is_taken_off(log: MemoryLog, door: FakeDoor) -> None:
    """With it, its receiver would send it here again."""
    id_ = random_id("Account", "Mary")
    label = Label("Teller/0", b"lease", 3, 1, 1)
    value = encode_invocation(Invocation(id_, "Account", "transfer", "Mary", b"1", label=label))
    letter(log, reason="stale-label", value=value, headers=[])
    assert run("dead-letters", "requeue", "0-0", *SERVERS).exit_code == 0
    [record] = door.produced
    assert record.value == encode_invocation(Invocation(id_, "Account", "transfer", "Mary", b"1"))


# -- the whole


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    printed = run("--show-completion", shell)
    assert printed.exit_code == 0, printed.output
    assert "barnabas" in printed.stdout


def test_completion_knows_the_commands() -> None:
    completed = run(_BARNABAS_COMPLETE="complete_bash", COMP_WORDS="barnabas invoc", COMP_CWORD="1")
    assert "invocations" in completed.stdout.split()


def test_every_command_says_how_it_ends() -> None:
    """Exit codes are part of the interface."""
    for words in (
        ("invocations", "deadlocks"),
        ("invocations", "list"),
        ("invocations", "describe"),
        *(("invocations", one) for one in ("cancel", "kill", "pause", "resume", "purge", "restart")),
        ("state", "get"),
        ("state", "edit"),
        ("state", "clear"),
        ("dead-letters", "list"),
        ("dead-letters", "show"),
        ("dead-letters", "requeue"),
        ("topics", "shards"),
        ("services",),
        ("sql",),
        ("admin",),
    ):
        assert "Ends" in run(*words, "--help").stdout, words


def test_shards(log: MemoryLog, door: FakeDoor, filled: Filled) -> None:
    log.core.create("n.delays", 1, {}, b"2" * 16)
    log.core.create("n.Account.signals", 3, {}, b"3" * 16)
    for _ in range(4):
        log.append(OutRecord("n.Account.invocations", 1, None, b"x", None))
    filled.commit(Shard("Account", 1), ("HSET", keys.META, b"inv", 1))
    filled.root("Account", "a")
    result = run("topics", "shards", "--json", *SERVERS)
    assert result.exit_code == 0, result.output
    found = {(one["service"], one["partition"]): one for one in json.loads(result.stdout)["shards"]}
    assert set(found) == {(name, n) for name in ("Account", "Teller") for n in range(3)} | {("@delays", 0)}
    one = found["Account", 1]
    assert one["reads"][0] == {"topic": "n.Account.invocations", "next": 1, "end": 4, "lag": 3}
    assert (one["owner"], one["takes"]) == ("me", 1)
    assert sum(each["invocations"] for each in found.values()) == 1
    assert "Account/1" in run("topics", "shards", "--service", "Account", *SERVERS).stdout


def test_doctors_findings_are_whole_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "shop." + "Reservations" * 8 + ".invocations"

    async def examine(*_: Any) -> list[Finding]:
        return [Finding(Severity.LOSES, f"{name} retention", "[1 h]", "30 days\x1b[2J")]

    monkeypatch.setattr(doctor, "examine", examine)
    result = run("doctor", *SERVERS)
    assert result.exit_code == 1
    assert f"{name} retention" in result.stdout
    assert "[1 h]" in result.stdout
    assert r"30 days\x1b[2J" in result.stdout
