"""`barnabas invocations` over a store in memory: what it prints and how it ends."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from barnabas.cli import invocations
from barnabas.contract.ids import InvocationId, random_id
from barnabas.contract.records import Failure, SignalKind
from barnabas.ingress.errors import NoAnswer
from barnabas.log.port import LogUnavailableError
from barnabas.runtime import journal as j
from barnabas.store.port import StoreUnavailable
from barnabas.worker.member import NotReady
from tests.unit.cli.doors import FakeDoor
from tests.unit.introspection.filling import NOW, Filled

REDIS = ("--redis", "redis://nowhere")
SERVERS = ("--kafka", "nowhere:1", *REDIS)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(invocations.app, list(arguments), env={"COLUMNS": "200"})


def test_without_deadlocks_the_command_ends_with_0(filled: Filled) -> None:
    filled.call(filled.root("Account", "a"), "Account", "b")
    result = run("deadlocks", *REDIS)
    assert (result.exit_code, result.stdout) == (0, "no deadlocks: no invocation waits for itself\n")
    result = run("deadlocks", "--json", *REDIS)
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"deadlocks": []})


def test_a_deadlock_is_shown_with_ids_and_keys_and_ends_with_1(filled: Filled) -> None:
    a = filled.root("Account", "a[b]")
    teller = filled.call(a, "Teller")
    again = filled.call(teller, "Account", "a[b]")
    result = run("deadlocks", *REDIS)
    assert result.exit_code == 1
    for id_ in (a, teller, again):
        assert str(InvocationId(id_)) in result.stdout
    assert f"waits for its key, held by: Account/a[b]/transfer  {InvocationId(a)}" in result.stdout
    result = run("deadlocks", "--json", *REDIS)
    assert result.exit_code == 1
    [found] = json.loads(result.stdout)["deadlocks"]
    names = [str(InvocationId(id_)) for id_ in (a, teller, again)]
    assert [one["id"] for one in found["cycle"]] == names
    assert [one["key"] for one in found["cycle"]] == ["a[b]", None, "a[b]"]
    assert [one["waits_for"] for one in found["cycle"]] == [
        [{"id": names[1], "because": "call"}],
        [{"id": names[2], "because": "call"}],
        [{"id": names[0], "because": "key"}],
    ]
    assert found["since"].endswith("Z")
    assert found["others"] == []


def test_the_list_is_narrowed_down_and_printed(filled: Filled) -> None:
    a = filled.root("Account", "a")
    queued = filled.call(a, "Account", "a")
    result = run("list", "--status", "pending", "--service", "Account", "--key", "a", "--handler", "transfer", *REDIS)
    assert result.exit_code == 0
    assert str(InvocationId(queued)) in result.stdout
    assert str(InvocationId(a)) not in result.stdout
    result = run("list", "--json", "--limit", "1", *REDIS)
    listed = json.loads(result.stdout)
    assert [one["id"] for one in listed["invocations"]] in ([str(InvocationId(a))], [str(InvocationId(queued))])
    following = json.loads(run("list", "--json", "--after", listed["after"], *REDIS).stdout)
    assert {one["id"] for page in (listed, following) for one in page["invocations"]} == {
        str(InvocationId(id_)) for id_ in (a, queued)
    }
    assert following["after"] is None
    assert "there are more than these 1" in run("list", "--limit", "1", *REDIS).stdout
    result = run("list", "--after", "nowhere", *REDIS)
    assert (result.exit_code, "no place in a list" in result.stderr) == (2, True)


def test_a_list_of_nothing_that_exists_says_what_does(filled: Filled) -> None:
    result = run("list", "--service", "Acount", *REDIS)
    assert result.exit_code == 2
    assert "there are: Account, Teller" in result.stderr
    result = run("list", "--status", "waiting", *REDIS)
    assert result.exit_code == 2
    assert "use one of scheduled, pending, ready, running" in result.stderr


def test_one_invocation_is_described(filled: Filled) -> None:
    a = filled.root("Account", "a")
    queued = filled.call(a, "Account", "a")
    result = run("describe", str(InvocationId(queued)), *REDIS)
    assert result.exit_code == 0
    assert "Account/a/transfer" in result.stdout
    assert f"its key, which {InvocationId(a)} holds" in result.stdout
    result = run("describe", str(InvocationId(a)), *REDIS)
    assert f"1. waits  call Account/transfer of key 'a' {InvocationId(queued)}" in result.stdout
    assert f"called at 1: Account/a/transfer  {InvocationId(queued)}  pending" in result.stdout
    plain = json.loads(run("describe", "--json", str(InvocationId(a)), *REDIS).stdout)
    assert (plain["id"], plain["status"], plain["key"]) == (str(InvocationId(a)), "running", "a")
    assert plain["accepted_at"].startswith("2026-")


def test_one_that_is_not_there_ends_with_1_and_no_id_with_2(filled: Filled) -> None:
    result = run("describe", str(random_id("Account", "a")), *REDIS)
    assert result.exit_code == 1
    assert "the store has no invocation" in result.stderr
    result = run("describe", "inv_1", *REDIS)
    assert result.exit_code == 2
    assert "digits after" in result.stderr


@pytest.mark.parametrize("what", ["cancel", "kill", "pause", "resume", "purge"])
def test_it_is_done_to_each_id(door: FakeDoor, what: str) -> None:
    ids = [str(random_id("Account", "a")) for _ in range(2)]
    result = run(what, *ids, *SERVERS)
    assert result.exit_code == 0
    assert [(one.kind.value, str(InvocationId(one.invocation))) for one in door.asked] == [
        (what.upper(), id_) for id_ in ids
    ]
    assert result.stdout.split() == [ids[0], "202", "accepted", ids[1], "202", "accepted"]
    assert door.closed


def test_a_purge_of_the_journal_alone(door: FakeDoor) -> None:
    run("purge", "--journal", str(random_id("Account", "a")), *SERVERS)
    assert [one.kind for one in door.asked] == [SignalKind.PURGE_JOURNAL]


def test_what_was_refused_is_said_and_ends_with_1(door: FakeDoor) -> None:
    done, refused, unheard = (random_id("Account", "a") for _ in range(3))
    door.answers[refused] = Failure(409, "pause of it: it is scheduled")
    door.answers[unheard] = NoAnswer("no answer")
    result = run("pause", str(done), str(refused), str(unheard), *SERVERS)
    assert result.exit_code == 1
    assert f"{refused}  409  pause of it: it is scheduled" in result.stdout
    assert f"{unheard}  504  no answer within 10 s" in result.stdout
    result = run("pause", "--json", str(done), str(refused), *SERVERS)
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "outcomes": [
            {"id": str(done), "status": 202, "message": "accepted", "new_invocation_id": None},
            {"id": str(refused), "status": 409, "message": "pause of it: it is scheduled", "new_invocation_id": None},
        ],
        "more": False,
    }


def test_a_restart_prints_the_new_id(door: FakeDoor, filled: Filled) -> None:
    id_ = random_id("Teller", None)
    result = run("restart", "--from", "2", str(id_), *SERVERS)
    [signal] = door.asked
    assert (signal.kind, signal.invocation, signal.position) == (SignalKind.RESTART, id_, 2)
    assert signal.call_id is not None
    new = InvocationId(signal.call_id)
    assert new != id_
    assert filled.shard("Teller", new) == filled.shard("Teller", id_)
    assert result.stdout.split() == [str(id_), "200", str(new)]


def test_all_that_fit_are_met_once(door: FakeDoor, filled: Filled) -> None:
    ids = {filled.root("Account", str(n)) for n in range(7)}
    filled.root("Teller")
    result = run("kill", "--service", "Account", "--limit", "5", *SERVERS)
    assert result.exit_code == 0
    met = [one.invocation for one in door.asked]
    assert (len(met), len(set(met))) == (5, 5)
    assert set(met) < ids
    assert "there are more than these 5" in result.stdout
    result = run("kill", "--key", "nobody", *SERVERS)
    assert (result.exit_code, result.stdout) == (0, "no invocation fits\n")


@pytest.mark.parametrize("what", ["cancel", "kill"])
def test_delayed_ones_are_among_all_that_fit(door: FakeDoor, filled: Filled, what: str) -> None:
    running, delayed = filled.root("Account", "a"), filled.delay("Account", "a", NOW + 3_600_000).id
    filled.delay("Account", "b", NOW + 3_600_000)
    assert run(what, "--service", "Account", "--key", "a", *SERVERS).exit_code == 0
    assert [one.invocation for one in door.asked] == [running, delayed]
    assert run(what, "--status", "scheduled", "--handler", "transfer", "--key", "a", *SERVERS).exit_code == 0
    assert [one.invocation for one in door.asked[2:]] == [delayed]


@pytest.mark.parametrize("what", ["pause", "resume"])
def test_what_cannot_be_done_to_delayed_ones_is_done_to_the_others(door: FakeDoor, filled: Filled, what: str) -> None:
    running, delayed = filled.root("Account", "a"), filled.delay("Account", "a", NOW + 3_600_000).id
    run(what, "--service", "Account", *SERVERS)
    assert [one.invocation for one in door.asked] == [running]
    run(what, "--service", "Account", "--status", "scheduled", *SERVERS)  # asked for: it is told that it cannot be
    assert [one.invocation for one in door.asked[1:]] == [delayed]


def test_a_list_has_delayed_ones_with_their_due_time(filled: Filled) -> None:
    delayed = InvocationId(filled.delay("Account", "a", 2**45).id)
    shown = run("list", *REDIS).stdout
    assert re.search(rf"{delayed} .*Account/a/transfer .*scheduled .*due in \d+ d", shown), shown
    described = run("describe", str(delayed), *REDIS).stdout
    assert re.search(r"due +3084-.*in \d+ d", described), described


@pytest.mark.parametrize("what", [(), ("inv_1", "--service", "Account"), ("--service", "Acount")])
def test_it_has_to_be_clear_which_ones(door: FakeDoor, what: tuple[str, ...]) -> None:
    result = run("cancel", *what, *SERVERS)
    assert result.exit_code == 2
    assert door.asked == []


def test_nothing_is_done_if_one_of_the_ids_is_none(door: FakeDoor) -> None:
    result = run("cancel", str(random_id("Account", "a")), "inv_0", *SERVERS)
    assert result.exit_code == 2
    assert "digits after" in result.stderr
    assert door.asked == []


@pytest.mark.parametrize("error", [NotReady("these topics do not exist"), LogUnavailableError("Kafka is away")])
def test_without_kafka_it_ends_with_2(door: FakeDoor, error: Exception) -> None:
    door.at_start = error
    result = run("cancel", str(random_id("Account", "a")), *SERVERS)
    assert result.exit_code == 2
    assert str(error) in result.stderr


def test_without_servers_the_commands_say_what_is_missing(filled: Filled) -> None:
    result = run("deadlocks")
    assert (result.exit_code, "BARNABAS_REDIS" in result.stderr) == (2, True)
    result = run("cancel", str(random_id("Account", "a")), *REDIS)
    assert (result.exit_code, "BARNABAS_KAFKA" in result.stderr) == (2, True)


def test_a_store_that_does_not_answer_ends_with_2(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_answer(*_: Any) -> Any:
        raise StoreUnavailable("nobody is there")

    monkeypatch.setattr(filled.store, "read", no_answer)
    for command in (("deadlocks",), ("list",), ("describe", str(random_id("Account", "a")))):
        result = run(*command, *REDIS)
        assert (result.exit_code, "nobody is there" in result.stderr) == (2, True)


def test_the_journal_is_a_timeline(filled: Filled) -> None:
    a = filled.root("Account", "a")
    began = NOW + 1  # when it was accepted
    filled.journal(
        a, [j.RUN, "pay", began + 5], [j.RESULT, 1, None, b"1", began + 1_505], [j.SLEEP, "", began + 60_000]
    )
    lines = run("describe", str(InvocationId(a)), *REDIS).stdout.split("journal\n")[1].splitlines()
    assert [" ".join(line.split()) for line in lines[1:3]] == [
        "+5 ms 1. run 'pay'",
        "+1.5 s result for position 1, after 1.5 s",
    ]
    assert " ".join(lines[3].split()).startswith("2. waits sleep until 2026-09-21T14:14:20.001Z")


def test_trees_are_never_cut(filled: Filled) -> None:
    """A narrow terminal folds them, a pipe has them whole."""
    key = "k" * 50
    a = filled.root("Account", key)
    again = filled.call(filled.call(a, "Teller"), "Account", key)
    narrow = {"COLUMNS": "40"}
    for words in (("deadlocks", *REDIS), ("describe", str(InvocationId(again)), *REDIS)):
        shown = CliRunner().invoke(invocations.app, list(words), env=narrow).stdout
        assert f"Account/{key}/transfer  {InvocationId(a)}  running" in shown, shown
