"""The admin API over a store in memory and a gateway that answers by itself: bodies, errors, who may ask."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas.contract.ids import InvocationId, MalformedId, random_id, workflow_id
from barnabas.contract.records import Failure, SignalKind
from barnabas.ingress.admin.admin import Admin
from barnabas.ingress.admin.app import Need, make_app
from barnabas.ingress.admin.bodies import id_pattern
from barnabas.ingress.admin.settings import AdminSettings
from barnabas.ingress.errors import NoAnswer, Unavailable
from barnabas.log.memory import MemoryAdmin, MemoryLog, MemoryReader
from barnabas.log.port import LogUnavailableError
from barnabas.store.looking import MemoryLooks
from barnabas.store.port import StoreCorrupt, StoreUnavailable
from tests.unit.cli.doors import FakeDoor
from tests.unit.introspection.filling import Filled, service

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def settings(**changed: Any) -> AdminSettings:
    return AdminSettings(kafka="nowhere:1", redis="redis://nowhere", namespace="n", **changed)  # type: ignore[arg-type]


# Ids that are the same in every process that collects these tests.
SOME, NOBODYS = workflow_id("Account", "a"), workflow_id("Nobody", "a")


@pytest.fixture
def filled() -> Filled:
    return Filled(service("Account"), service("Teller", "service"))


@pytest.fixture
def door(filled: Filled) -> FakeDoor:
    door = FakeDoor(filled.store, filled.services)
    log = MemoryLog(lambda: 1)
    log.core.create("n.dead-letters", 1, {}, bytes(16))
    door.admin, door.reader = MemoryAdmin(log), MemoryReader(log)
    return door


def client_of(door: FakeDoor, authorize: Any = None, **changed: Any) -> httpx.AsyncClient:
    admin = Admin(door, MemoryLooks(door.store.core), settings(**changed))  # type: ignore[arg-type]
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_app(admin, authorize)), base_url="http://admin")


@pytest.fixture
async def client(door: FakeDoor) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(door) as client:
        yield client


def is_error(response: httpx.Response, status: int, said: str = "") -> bool:
    """Whether it is an error as the API promises them."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"message", "restate_code"}
    assert said in body["message"], body
    return True


# -- errors


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nope", 404),
        ("DELETE", "/services", 405),
        ("PUT", "/invocations", 405),
        ("GET", "/services/Nope", 404),
        ("GET", "/services/Nope/openapi", 404),
        ("GET", "/services/Nope/handlers", 404),
        ("GET", "/services/Account/handlers/nope", 404),
        ("GET", "/services/Account/state", 400),
        ("GET", "/services/Nope/state?object_key=a", 404),
        ("GET", "/services/Teller/state?object_key=a", 400),
        ("DELETE", "/services/Teller/state?object_key=a", 400),
        ("GET", "/invocations?status=queued", 400),
        ("GET", "/invocations?limit=0", 400),
        ("GET", "/invocations?limit=x", 400),
        ("GET", "/invocations?after=x", 400),
        ("GET", "/invocations/inv_1", 400),
        ("PATCH", "/invocations/inv_1/cancel", 400),
        ("PATCH", f"/invocations/{SOME}/explode", 404),
        ("PATCH", f"/invocations/{SOME}/restart-as-new?from=-1", 400),
        ("PATCH", f"/invocations/{SOME}/restart-as-new?from=x", 400),
        ("GET", f"/invocations/{SOME}", 404),
        ("PATCH", f"/invocations/{NOBODYS}/kill", 404),
        ("GET", "/dead-letters/0/0", 404),
        ("GET", "/dead-letters/7/0", 404),
        ("GET", "/dead-letters/x/0", 400),
        ("GET", "/dead-letters?before=x", 400),
        ("POST", "/dead-letters/0/0/requeue", 404),
        ("POST", "/batch/invocations/explode", 400),
    ],
)
async def test_errors(client: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    assert is_error(await client.request(method, path), status)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "/services/Account", b""),
        ("PATCH", "/services/Account", b"{"),
        ("PATCH", "/services/Account", b"[]"),
        ("PATCH", "/services/Account", b'{"public": "yes"}'),
        ("PATCH", "/services/Account", b'{"public": true, "more": 1}'),
        ("POST", "/services/Account/state", b'{"object_key": "a"}'),
        ("POST", "/services/Account/state", b'{"object_key": "a", "new_state": {"x": [256]}}'),
        ("POST", "/services/Account/state", b'{"object_key": "a", "new_state": {"x": [-1]}}'),
        ("POST", "/services/Account/state", b'{"object_key": "a", "new_state": {"x": [1.5]}}'),
        ("POST", "/services/Account/state", b'{"object_key": "a", "new_state": {"x": "AAE="}}'),
        ("POST", "/services/Account/state", b'{"object_key": "\\ud800", "new_state": {}}'),
        ("POST", "/services/Account/state", b'{"object_key": "a", "new_state": {"\\ud800": []}}'),
        ("POST", "/query", b'{"query": ""}'),
        ("POST", "/query", b'{"query": "DROP TABLE state"}'),
        ("POST", "/query", b'{"query": 1}'),
        ("POST", "/batch/invocations/kill", b"{}"),
        ("POST", "/batch/invocations/kill", b'{"ids": ["inv_1"]}'),
        ("POST", "/batch/invocations/kill", b'{"service": "Account", "limit": 0}'),
        ("POST", "/query", b"\xff\xfe"),
    ],
)
async def test_malformed_bodies(client: httpx.AsyncClient, method: str, path: str, body: bytes) -> None:
    assert is_error(await client.request(method, path, content=body, headers={"content-type": "application/json"}), 400)


async def test_whole_numbers_may_be_written_as_fractions(client: httpx.AsyncClient, door: FakeDoor) -> None:
    """JSON Schema does not tell 1.0 from 1."""
    body = b'{"object_key": "a", "new_state": {"x": [1.0, 2]}}'
    json_type = {"content-type": "application/json"}
    assert (await client.post("/services/Account/state", content=body, headers=json_type)).status_code == 202
    assert json.loads(door.called[0].payload)["state"] == {"x": "AQI="}


async def test_a_body_that_is_too_large(door: FakeDoor) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100

    async with client_of(door, admin_max_body_bytes=1_000) as client:
        assert is_error(await client.post("/query", content=b"x" * 1_001), 413, "1000 bytes")
        json_type = {"content-type": "application/json"}
        assert is_error(await client.post("/query", content=parts(), headers=json_type), 413, "1000 bytes")
        assert (await client.post("/query", json={"query": "SELECT 1"})).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"),
    [(StoreUnavailable("away"), 503), (LogUnavailableError("away"), 503), (StoreCorrupt("broken"), 500)],
)
async def test_outages(
    client: httpx.AsyncClient, door: FakeDoor, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    async def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(door.store, "read", fail)
    monkeypatch.setattr(door.admin, "partitions", fail)
    for path in ("/invocations", "/wait-for-graph", "/shards", f"/invocations/{random_id('Account', 'a')}"):
        assert is_error(await client.get(path), status, str(error))


async def test_every_error_is_in_the_document(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi")).json()["paths"]
    answers = paths["/invocations/{invocation_id}/restart-as-new"]["patch"]["responses"]
    assert set(answers) == {"200", "400", "404", "409", "410", "422", "503", "504"}
    assert "HTTPValidationError" not in json.dumps(paths)


async def test_a_wrong_method_is_told_the_right_ones(client: httpx.AsyncClient) -> None:
    for path, allowed in (
        ("/services/Account/state", "DELETE, GET, POST"),
        ("/services/Account", "GET, PATCH"),
        ("/query", "POST"),
    ):
        answer = await client.put(path)
        assert is_error(answer, 405)
        assert answer.headers["allow"] == allowed


async def test_no_two_paths_of_the_document_mean_the_same(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi")).json()["paths"]
    shapes = [re.sub(r"\{\w+\}", "{}", path) for path in paths]
    assert len(shapes) == len(set(shapes))


# -- who may ask


async def test_who_may_ask_is_asked_with_what_is_needed(door: FakeDoor) -> None:
    asked: list[tuple[str, str, Need]] = []

    def authorize(scope: Any, need: Need) -> tuple[int, str] | None:
        asked.append((scope["method"], scope["path"], need))
        return None if need == "read" else (403, "you may look")

    async with client_of(door, authorize) as client:
        assert (await client.get("/services")).status_code == 200
        assert (await client.post("/query", json={"query": "SELECT 1"})).status_code == 200
        assert (await client.get("/health")).status_code == 200
        assert is_error(await client.patch("/services/Account", json={"public": False}), 403, "you may look")
        assert is_error(await client.post("/batch/invocations/kill", json={"service": "Account"}), 403)
    assert asked == [
        ("GET", "/services", "read"),
        ("POST", "/query", "read"),
        ("PATCH", "/services/Account", "operate"),
        ("POST", "/batch/invocations/kill", "operate"),
    ]
    assert door.asked == []


# -- operations


@pytest.mark.parametrize("operation", ["cancel", "kill", "pause", "resume", "purge", "purge-journal"])
async def test_an_operation_is_a_signal(client: httpx.AsyncClient, door: FakeDoor, operation: str) -> None:
    id_ = random_id("Account", "a")
    answer = await client.patch(f"/invocations/{id_}/{operation}")
    assert (answer.status_code, answer.json()) == (202, {"message": "accepted"})
    assert [(one.kind, one.invocation) for one in door.asked] == [
        (SignalKind(operation.upper().replace("-", "_")), id_)
    ]


@pytest.mark.parametrize("code", [404, 409, 410, 422, 425])
async def test_a_refusal_is_passed_on(client: httpx.AsyncClient, door: FakeDoor, code: int) -> None:
    id_ = random_id("Account", "a")
    door.answers[id_] = Failure(code, "because")
    for operation in ("cancel", "restart-as-new"):
        assert is_error(await client.patch(f"/invocations/{id_}/{operation}"), code, "because")


async def test_nobody_answers(client: httpx.AsyncClient, door: FakeDoor) -> None:
    id_ = random_id("Account", "a")
    door.answers[id_] = NoAnswer("no")
    assert is_error(await client.patch(f"/invocations/{id_}/kill"), 504, "lies in Kafka")
    door.answers[id_] = Unavailable("Kafka is away")
    assert is_error(await client.patch(f"/invocations/{id_}/kill"), 503, "Kafka is away")


async def test_a_restart_keeps_its_shard(client: httpx.AsyncClient, door: FakeDoor, filled: Filled) -> None:
    for name, key in (("Account", "a"), ("Teller", None)):
        for id_ in (random_id(name, key, delayed=delayed) for delayed in (False, True) for _ in range(20)):
            answer = await client.patch(f"/invocations/{id_}/restart-as-new?from=3")
            new = InvocationId.parse(answer.json()["new_invocation_id"])
            assert new.of_service(name)
            assert not new.delayed
            assert new != id_
            assert filled.shard(name, new) == filled.shard(name, id_)
    assert {one.position for one in door.asked} == {3}


async def test_many_at_a_time(client: httpx.AsyncClient, door: FakeDoor, filled: Filled) -> None:
    ids = [filled.root("Account", str(n)) for n in range(5)]
    refused = ids[2]
    door.answers[refused] = Failure(409, "no")
    answer = (await client.post("/batch/invocations/pause", json={"service": "Account", "status": "running"})).json()
    assert (answer["done"], answer["failed"], answer["more"]) == (4, 1, False)
    failed = [one for one in answer["outcomes"] if one["status"] == 409]
    assert failed == [{"id": str(InvocationId(refused)), "status": 409, "message": "no", "new_invocation_id": None}]
    answer = (await client.post("/batch/invocations/pause", json={"key": "1"})).json()
    assert [one["id"] for one in answer["outcomes"]] == [str(InvocationId(ids[1]))]
    answer = (await client.post("/batch/invocations/pause", json={"service": "Account", "limit": 2})).json()
    assert (len(answer["outcomes"]), answer["more"]) == (2, True)
    wanted = [str(InvocationId(id_)) for id_ in ids[:2]]
    answer = (await client.post("/batch/invocations/kill", json={"ids": wanted})).json()
    assert [one["id"] for one in answer["outcomes"]] == wanted
    answer = (await client.post("/batch/invocations/purge", json={"service": "Account"})).json()
    assert answer["outcomes"] == []  # none of them is over


# -- services


async def test_a_service_is_closed_and_opened(client: httpx.AsyncClient) -> None:
    answer = await client.patch("/services/Account", json={"public": False})
    assert (answer.status_code, answer.json()["public"]) == (200, False)
    assert (await client.get("/services/Account")).json()["public"] is False
    assert (await client.patch("/services/Account", json={"public": True})).json()["public"] is True


async def test_a_service_says_what_its_workers_registered(client: httpx.AsyncClient, filled: Filled) -> None:
    about = {"description": "Money.", "handlers": {"transfer": {"input_schema": {"type": "integer"}, "public": False}}}
    filled.store.core.register([replace(filled.services["Account"], about=about)])
    await client.patch("/services/Teller", json={"public": True})  # has the registry read again
    body = (await client.get("/services/Account")).json()
    assert (body["name"], body["ty"], body["documentation"], body["public"]) == (
        "Account",
        "VirtualObject",
        "Money.",
        True,
    )
    assert [(one["name"], one["ty"], one["public"]) for one in body["handlers"]] == [
        ("look", "Shared", True),
        ("transfer", "Exclusive", False),
    ]
    one = (await client.get("/services/Account/handlers/transfer")).json()
    assert one == body["handlers"][1]
    assert one["input_json_schema"] == {"type": "integer"}
    assert (await client.get("/services/Account/handlers")).json()["handlers"] == body["handlers"]
    assert [each["ty"] for each in (await client.get("/services")).json()["services"]] == ["VirtualObject", "Service"]
    assert [each["ty"] for each in (await client.get("/services/Teller/handlers")).json()["handlers"]] == [None]


# -- ids


PATTERN = re.compile(id_pattern(str(InvocationId(b"\xff" * 24)).removeprefix("inv_"), DIGITS))


@given(st.binary(min_size=24, max_size=24))
def test_every_id_fits_the_documents_pattern(raw: bytes) -> None:
    assert PATTERN.fullmatch(str(InvocationId(raw)))


@given(st.from_regex(r"inv_[12][0-9A-Za-z]{32}", fullmatch=True) | st.from_regex(PATTERN, fullmatch=True))
def test_what_fits_the_pattern_is_an_id_and_nothing_else(text: str) -> None:
    try:
        InvocationId.parse(text)
    except MalformedId:
        assert not PATTERN.fullmatch(text)
    else:
        assert PATTERN.fullmatch(text)
