"""`barnabas invocations` over a store in memory: what it prints and how it ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from barnabas.cli import invocations
from barnabas.client.errors import KafkaUnreachable, UnknownInvocation
from barnabas.contract.ids import InvocationId, random_id
from barnabas.store.port import StoreUnavailable
from tests.unit.introspection.filling import Filled, service

REDIS = ("--redis", "redis://nowhere")
KAFKA = ("--kafka", "nowhere:1")


@pytest.fixture
def filled(monkeypatch: pytest.MonkeyPatch) -> Filled:
    filled = Filled(service("Account"), service("Teller", "service"))
    monkeypatch.setattr(invocations, "RedisStore", lambda url, namespace, *, timeout_seconds: filled.store)
    for name in ("BARNABAS_REDIS", "BARNABAS_KAFKA", "BARNABAS_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    return filled


class FakeClient:
    """A client that writes down what it is asked for."""

    asked: list[tuple[str, str]]
    error: Exception | None = None

    def __init__(self, bootstrap: str, namespace: str) -> None:
        self.namespace = namespace

    async def __aenter__(self) -> FakeClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def cancel(self, invocation_id: str) -> None:
        self._ask("cancel", invocation_id)

    async def kill(self, invocation_id: str) -> None:
        self._ask("kill", invocation_id)

    def _ask(self, what: str, invocation_id: str) -> None:
        if self.error is not None:
            raise self.error
        self.asked.append((what, invocation_id))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch, filled: Filled) -> type[FakeClient]:
    class Own(FakeClient):
        asked: list[tuple[str, str]] = []  # noqa: RUF012 - one test's

    monkeypatch.setattr(invocations, "Client", Own)
    return Own


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
    result = run("list", "--status", "queued", "--service", "Account", "--key", "a", "--handler", "transfer", *REDIS)
    assert result.exit_code == 0
    assert str(InvocationId(queued)) in result.stdout
    assert str(InvocationId(a)) not in result.stdout
    result = run("list", "--json", "--limit", "1", *REDIS)
    listed = json.loads(result.stdout)
    assert listed["more"] is True
    assert [one["id"] for one in listed["invocations"]] == [str(InvocationId(a))]
    assert "there are more than these 1" in run("list", "--limit", "1", *REDIS).stdout


def test_a_list_of_nothing_that_exists_says_what_does(filled: Filled) -> None:
    result = run("list", "--service", "Acount", *REDIS)
    assert result.exit_code == 2
    assert "there are: Account, Teller" in result.stderr
    result = run("list", "--status", "waiting", *REDIS)
    assert result.exit_code == 2
    assert "use one of scheduled, queued, running" in result.stderr


def test_one_invocation_is_described(filled: Filled) -> None:
    a = filled.root("Account", "a")
    queued = filled.call(a, "Account", "a")
    result = run("describe", str(InvocationId(queued)), *REDIS)
    assert result.exit_code == 0
    assert "Account/a/transfer" in result.stdout
    assert f"its key, which {InvocationId(a)} holds" in result.stdout
    result = run("describe", str(InvocationId(a)), *REDIS)
    assert f"1. call Account/transfer of key 'a' {InvocationId(queued)}" in result.stdout
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


@pytest.mark.parametrize("what", ["cancel", "kill"])
def test_invocations_are_ended_through_kafka(client: type[FakeClient], what: str) -> None:
    ids = [str(random_id("Account", "a")) for _ in range(2)]
    result = run(what, *ids, *KAFKA)
    assert result.exit_code == 0
    assert client.asked == [(what, id_) for id_ in ids]
    assert result.stdout.split() == ids


@pytest.mark.parametrize("what", ["cancel", "kill"])
def test_nothing_is_ended_if_one_of_the_ids_is_none(client: type[FakeClient], what: str) -> None:
    result = run(what, str(random_id("Account", "a")), "inv_0", *KAFKA)
    assert result.exit_code == 2
    assert "digits after" in result.stderr
    assert client.asked == []


@pytest.mark.parametrize("error", [KafkaUnreachable("nobody is there"), UnknownInvocation("inv_x", "n")])
def test_a_request_that_cannot_be_made_ends_with_2(client: type[FakeClient], error: Exception) -> None:
    client.error = error
    result = run("cancel", str(random_id("Account", "a")), *KAFKA)
    assert result.exit_code == 2
    assert str(error) in result.stderr


def test_without_servers_the_commands_say_what_is_missing(filled: Filled) -> None:
    result = run("deadlocks")
    assert (result.exit_code, "BARNABAS_REDIS" in result.stderr) == (2, True)
    result = run("cancel", str(random_id("Account", "a")))
    assert (result.exit_code, "BARNABAS_KAFKA" in result.stderr) == (2, True)


def test_a_store_that_does_not_answer_ends_with_2(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_answer(*_: Any) -> Any:
        raise StoreUnavailable("nobody is there")

    monkeypatch.setattr(filled.store, "read", no_answer)
    for command in (("deadlocks",), ("list",), ("describe", str(random_id("Account", "a")))):
        result = run(*command, *REDIS)
        assert (result.exit_code, "nobody is there" in result.stderr) == (2, True)
