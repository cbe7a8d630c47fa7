"""The commands that look and operate, as people and scripts run them: on real servers, without an admin process."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

import barnabas
from barnabas.contract.ids import random_id
from tests.integration.admin_app import Item, add, ask_cart, hold, snap, steps
from tests.scenario.installation import Installation, Servers, installation

SECONDS = 30
ID = re.compile(r"inv_[0-9A-Za-z]{33}")


@pytest.fixture(scope="module")
def place(barnabas_stack: Servers) -> Iterator[Installation]:
    with installation(barnabas_stack, "tests.integration.admin_app:app") as place:
        yield place


@pytest.fixture
def key() -> str:
    return f"{uuid4().hex[:8]} a/b"


def told(place: Installation, *arguments: str, code: int = 0) -> str:
    """What a command prints; it must end with this code."""
    done = place.run(*arguments)
    assert done.returncode == code, (arguments, done.stdout, done.stderr)
    return done.stdout


def told_json(place: Installation, *arguments: str, code: int = 0) -> Any:
    return json.loads(told(place, *arguments, "--json", code=code))


def until(look: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (found := look()):
        assert time.monotonic() < deadline, f"it did not come to be that {what}"
    return found


def status_of(place: Installation, id_: str) -> str | None:
    done = place.run("invocations", "describe", id_, "--json")
    return None if done.returncode == 1 else json.loads(done.stdout)["status"]


async def sent(place: Installation, *requests: Callable[[barnabas.Client], Any]) -> list[str]:
    async with place.client() as client:
        return [(await request(client)).invocation_id for request in requests]


def test_what_waits_is_listed_described_cancelled_and_killed(place: Installation, key: str) -> None:
    held, caller = asyncio.run(
        sent(
            place,
            lambda client: client.object_send(hold, key=key, arg="never"),
            lambda client: client.service_send(ask_cart, arg=key),
        )
    )
    callee = until(
        lambda: [one["id"] for one in told_json(place, "invocations", "list", "--status", "pending")["invocations"]],
        "the call waits for its key",
    )
    assert len(callee) == 1
    described = " ".join(told(place, "invocations", "describe", callee[0]).split())
    assert f"its key, which {held} holds" in described
    assert f"Desk/ask_cart {caller}" in described
    above = told(place, "invocations", "describe", caller)
    assert f"Cart/{key}/add  {callee[0]}  pending" in above
    assert re.search(r"\d+\. waits  call Cart/add", above)
    assert ID.findall(told(place, "invocations", "cancel", "--key", key, "--status", "pending")) == callee
    assert told(place, "invocations", "kill", held).split() == [held, "200", "done"]
    until(lambda: status_of(place, held) == "completed", "it is over")
    assert told(place, "invocations", "kill", held, code=1).split()[:2] == [held, "409"]
    unknown = str(random_id("Desk", None))
    outcomes = told_json(place, "invocations", "resume", unknown, held, code=1)["outcomes"]
    assert {one["id"]: one["status"] for one in outcomes} == {unknown: 404, held: 409}


def test_pause_resume_purge_and_restart(place: Installation) -> None:
    paused, done = asyncio.run(
        sent(
            place,
            lambda client: client.service_send(snap, arg=None),
            lambda client: client.service_send(steps, arg="x", idempotency_key=uuid4().hex),
        )
    )
    until(lambda: status_of(place, paused) == "paused", "it is paused")
    described = told(place, "invocations", "describe", paused)
    assert "ValueError: never" in described
    assert told(place, "invocations", "pause", paused).split() == [paused, "200", "done"]
    assert told(place, "invocations", "resume", paused).split() == [paused, "200", "done"]
    until(lambda: status_of(place, paused) == "paused", "it is paused again")
    assert told(place, "invocations", "cancel", paused).split()[1] == "202"
    until(lambda: status_of(place, done) == "completed", "it is over")
    _, code, new = told(place, "invocations", "restart", "--from", "1", done).split()
    assert code == "200"
    until(lambda: status_of(place, new) == "completed", "the new one is over")
    journal = json.loads(told(place, "invocations", "describe", new, "--json"))["journal"]
    assert [one["entry_type"] for one in journal if one["entry_type"].startswith("Command")] == [
        "Command: Input",
        "Command: Run",
        "Command: Run",
        "Command: Output",
    ]
    assert told(place, "invocations", "purge", "--journal", done).split() == [done, "200", "done"]
    assert told(place, "invocations", "restart", done, code=1).split()[1] == "410"
    assert told(place, "invocations", "purge", done).split() == [done, "200", "done"]
    until(lambda: status_of(place, done) is None, "it is gone")


def test_state_is_read_edited_and_cleared(place: Installation, key: str) -> None:
    async def fill() -> None:
        async with place.client() as client:
            await client.object_call(add, key=key, arg=Item(name="x"), timeout=SECONDS)

    asyncio.run(fill())
    state = told_json(place, "state", "get", "Cart", key)
    assert state["state"] == {"items": ["x"], "raw": {"$base64": "AP8="}}
    assert told(place, "state", "edit", "Cart", key, "--set", 'items=["y"]') == "done\n"
    assert told_json(place, "state", "get", "Cart", key)["state"] == {"items": ["y"], "raw": {"$base64": "AP8="}}
    told(place, "state", "clear", "Cart", key, "--version", state["version"], code=1)
    told(place, "state", "clear", "Cart", key)
    assert told_json(place, "state", "get", "Cart", key)["state"] == {}


def test_services_shards_sql_and_dead_letters(place: Installation) -> None:
    listed = told_json(place, "services")
    assert {one["name"]: one["public"] for one in listed["services"]}["Hidden"] is False
    assert "Where everybody asks." in told(place, "services", "Desk")
    shards = told_json(place, "topics", "shards")["shards"]
    assert {one["service"] for one in shards} >= {"Desk", "@delays"}
    assert all(one["owner"] for one in shards)
    rows = told_json(place, "sql", "SELECT name, ty FROM sys_service WHERE name = 'Cart'")["rows"]
    assert rows == [{"name": "Cart", "ty": "virtual_object"}]
    told(place, "sql", "DELETE FROM state", code=2)
    assert told_json(place, "dead-letters", "list")["dead_letters"] == []
    told(place, "dead-letters", "show", "0-0", code=1)


def test_without_servers_every_command_ends_with_2(place: Installation) -> None:
    """Within the time that the store and Kafka are given for an answer."""
    commands = [
        ("invocations", "list"),
        ("state", "get", "Cart", "x"),
        ("services",),
        ("sql", "SELECT * FROM sys_invocation"),
        ("invocations", "cancel", str(random_id("Desk", None))),
        ("dead-letters", "list"),
    ]
    for command in commands:
        done = place.run(*command, "--redis", "redis://127.0.0.1:1/0")
        assert (done.returncode, done.stderr.startswith("barnabas: ")) == (2, True), (command, done.stderr)
        assert "Traceback" not in done.stderr


def test_the_admin_process_starts_answers_and_drains(place: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with (
        place.process("admin", "--port", str(port)) as process,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/services", timeout=SECONDS) as answer,
    ):
        assert {one["name"] for one in json.load(answer)["services"]} >= {"Desk", "Cart"}
    assert process.returncode == 0
