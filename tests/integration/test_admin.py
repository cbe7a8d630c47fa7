"""The admin API on real servers: every row of INTEROP's table of operations, and what is shown of a namespace."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import pytest

import barnabas
from barnabas.contract.ids import random_id
from barnabas.ingress.admin.process import AdminProcess
from barnabas.ingress.admin.settings import AdminSettings
from tests.integration.admin_app import Item, add, app, ask_cart, echo, fall, hold, items, pay, refuse, run, snap, steps
from tests.integration.admin_app import wait as wait_for_signal
from tests.scenario.installation import Installation, installation
from tests.scenario.live_worker import Servers, worker

SECONDS = 30
TARGET = "tests.integration.admin_app:app"
T = TypeVar("T")


class Office:
    """A namespace with a worker, a client of it, and the admin API."""

    def __init__(self, client: barnabas.Client, http: httpx.AsyncClient, namespace: str) -> None:
        self.client = client
        self.http = http
        self.namespace = namespace

    async def get(self, path: str) -> Any:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def patch(self, id_: str, operation: str) -> int:
        """The status of an operation; its body is checked."""
        answer = await self.http.patch(f"/invocations/{id_}/{operation}")
        assert set(answer.json()) in ({"message"}, {"message", "restate_code"}, {"new_invocation_id"}), answer.text
        return answer.status_code

    async def has_status(self, id_: str, *wanted: str) -> dict[str, Any]:
        """The invocation, as soon as it has one of these statuses."""

        async def look() -> dict[str, Any] | None:
            answer = await self.http.get(f"/invocations/{id_}")
            return answer.json() if answer.status_code == 200 and answer.json()["status"] in wanted else None

        return await until(look, f"{id_} is {' or '.join(wanted)}")

    async def gone(self, id_: str) -> None:
        async def look() -> bool:
            return (await self.http.get(f"/invocations/{id_}")).status_code == 404

        await until(look, f"{id_} is gone")

    async def query(self, sql: str) -> list[dict[str, Any]]:
        answer = await self.http.post("/query", json={"query": sql}, headers={"accept": "application/json"})
        assert answer.status_code == 200, answer.text
        rows: list[dict[str, Any]] = answer.json()["rows"]
        return rows


async def until(look: Callable[[], Awaitable[T]], what: str) -> T:
    deadline = time.monotonic() + SECONDS
    while not (found := await look()):
        assert time.monotonic() < deadline, f"it did not come to be that {what}"
        await asyncio.sleep(0.05)
    return found


@asynccontextmanager
async def admin_process(servers: Servers, namespace: str, answer_seconds: float = 10) -> AsyncIterator[AdminProcess]:
    settings = AdminSettings(
        kafka=servers.kafka,
        redis=servers.redis,
        namespace=namespace,
        admin_port=0,
        admin_patch_seconds=1.0,
        admin_answer_seconds=answer_seconds,
    )  # type: ignore[arg-type]
    ready = asyncio.Event()
    process = AdminProcess(settings, ready.set)
    serving = asyncio.create_task(process.run())
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    try:
        assert not serving.done(), serving.exception()
        yield process
    finally:
        process.stop()
        await serving


@pytest.fixture(scope="module")
def place(barnabas_stack: Servers) -> Iterator[Installation]:
    """A worker and a scheduler for all tests of this file, whose keys and ids are their own."""
    with installation(barnabas_stack, TARGET) as place:
        yield place


@pytest.fixture
async def office(barnabas_stack: Servers, place: Installation) -> AsyncIterator[Office]:
    async with (
        place.client() as client,
        admin_process(barnabas_stack, place.namespace) as process,
        httpx.AsyncClient(base_url=process.url, timeout=SECONDS) as http,
    ):
        yield Office(client, http, place.namespace)


@pytest.fixture
def key() -> str:
    """Of an object or a workflow that no other test knows; not what a path may hold as it is."""
    return f"{uuid4().hex[:8]} a/b?ü"


UNKNOWN = str(random_id("Desk", None))
OPERATIONS = ("cancel", "kill", "pause", "resume", "purge", "purge-journal", "restart-as-new")


# -- rows of the table


async def test_row_malformed_and_unknown(office: Office) -> None:
    for operation in OPERATIONS:
        assert await office.patch("inv_1", operation) == 400, operation
        assert await office.patch(str(random_id("Stranger", None)), operation) == 404, operation
    assert await asyncio.gather(*(office.patch(UNKNOWN, operation) for operation in OPERATIONS)) == [404] * 7


async def test_row_cancel(office: Office, key: str) -> None:
    """Running 202; queued 200; completed 409; the canceller's result 409 "cancelled"; a paused one wakes up."""
    client = office.client
    held = await client.object_send(hold, key=key, arg="never")
    queued = await client.object_send(hold, key=key, arg="never")
    paused = await client.service_send(snap, arg=None)
    await office.has_status(queued.invocation_id, "pending")
    await office.has_status(held.invocation_id, "running", "suspended")
    await office.has_status(paused.invocation_id, "paused")
    assert await office.patch(queued.invocation_id, "cancel") == 200
    for sent in (held, paused):
        assert await office.patch(sent.invocation_id, "cancel") == 202
    for sent in (queued, held):
        with pytest.raises(barnabas.TerminalError, match="cancelled") as caught:
            await sent.attach(timeout=SECONDS)
        assert caught.value.status_code == 409
    await office.has_status(held.invocation_id, "completed")
    assert await office.patch(held.invocation_id, "cancel") == 409


async def test_row_kill(office: Office, key: str) -> None:
    """200; completed 409; result 409 "killed"; callees die with it, sends are detached and live."""
    client = office.client
    held = await client.object_send(hold, key=key, arg="never")
    await office.has_status(held.invocation_id, "running", "suspended")
    caller = await client.service_send(ask_cart, arg=key)

    async def called() -> Any:
        return (await office.has_status(caller.invocation_id, "running", "suspended"))["callees"]

    callees = {one["relation"]: one for one in await until(called, "it has called")}
    await office.has_status(callees["called"]["id"], "pending")
    assert await office.patch(caller.invocation_id, "kill") == 200
    with pytest.raises(barnabas.TerminalError, match="killed") as caught:
        await caller.attach(timeout=SECONDS)
    assert caught.value.status_code == 409
    with pytest.raises(barnabas.TerminalError):
        await client.attach(callees["called"]["id"], timeout=SECONDS)
    assert await client.object_call(items, key=f"{key}-sent", arg=None, timeout=SECONDS) == ["sent"]
    assert await office.patch(caller.invocation_id, "kill") == 409


async def test_row_pause_and_resume(office: Office) -> None:
    """Pause: running or waiting 202, paused 200, completed 409. Resume: 200, cuts a back-off short; completed 409."""
    client = office.client
    waiting = await client.service_send(wait_for_signal, arg="go")
    await office.has_status(waiting.invocation_id, "running", "suspended")
    assert await office.patch(waiting.invocation_id, "pause") == 202
    await office.has_status(waiting.invocation_id, "paused")
    assert await office.patch(waiting.invocation_id, "pause") == 200
    await client.resolve_signal(waiting.invocation_id, "go", "now")
    assert await office.patch(waiting.invocation_id, "resume") == 200
    assert await waiting.attach(timeout=SECONDS) == "now"
    assert await office.patch(waiting.invocation_id, "pause") == 409
    assert await office.patch(waiting.invocation_id, "resume") == 409

    backing = await client.service_send(fall, arg=None)
    before = await office.has_status(backing.invocation_id, "backing-off")
    assert (before["retry_count"], before["last_failure"]) == (1, "ValueError: not today")
    assert await office.patch(backing.invocation_id, "resume") == 200

    async def tried_again() -> bool:
        now = await office.has_status(backing.invocation_id, "backing-off", "running")
        return bool(now["next_retry_at"]) and now["next_retry_at"] != before["next_retry_at"]

    await until(tried_again, "it was tried again at once")


async def test_row_purge_of_a_workflow_frees_its_key(office: Office, key: str) -> None:
    """200; running 409; purged ones are unknown."""
    client = office.client
    sent = await client.workflow_send(run, key=key, arg="first")
    await office.has_status(sent.invocation_id, "running", "suspended")
    assert await office.patch(sent.invocation_id, "purge") == 409
    assert await office.patch(sent.invocation_id, "purge-journal") == 409
    await client.workflow_call(pay, key=key, arg="Mary", timeout=SECONDS)
    assert await client.workflow_attach(run, key=key, timeout=SECONDS) == "Mary"
    await office.has_status(sent.invocation_id, "completed")
    assert await office.patch(sent.invocation_id, "purge-journal") == 200
    assert (await office.has_status(sent.invocation_id, "completed"))["journal"] is None
    assert await office.patch(sent.invocation_id, "purge") == 200
    await office.gone(sent.invocation_id)
    again = await client.workflow_send(run, key=key, arg="second")
    assert again.invocation_id == sent.invocation_id
    await office.has_status(again.invocation_id, "running", "suspended")
    assert (await office.http.get("/services/Order/state", params={"object_key": key})).json()["state"] == {
        "text": list(b'"second"')
    }


async def test_row_restart_as_new(office: Office, key: str) -> None:
    """200 with a new id and the same input; from=1 keeps the first step; 409, 422, 410 and 400 as in the table."""
    client = office.client
    sent = await client.service_send(steps, arg="x", idempotency_key="once")
    first, second = await sent.attach(timeout=SECONDS)
    await office.has_status(sent.invocation_id, "completed")

    async def restarted(query: str = "") -> tuple[str, list[str]]:
        answer = await office.http.patch(f"/invocations/{sent.invocation_id}/restart-as-new{query}")
        assert answer.status_code == 200, answer.text
        id_ = answer.json()["new_invocation_id"]
        return id_, await client.attach(id_, type_hint=list, timeout=SECONDS)

    id_, result = await restarted()
    assert result == [f"x-{id_}", f"second-{id_}"]
    assert (await office.get(f"/invocations/{id_}"))["idempotency_key"] is None
    id_, result = await restarted("?from=1")
    assert result == [first, f"second-{id_}"]
    id_, result = await restarted("?from=2")
    assert result == [first, second]
    for bad in ("9", "-1", "x"):
        answer = await office.http.patch(f"/invocations/{sent.invocation_id}/restart-as-new?from={bad}")
        assert answer.status_code == 400, bad
    assert await office.patch(sent.invocation_id, "purge-journal") == 200
    assert await office.patch(sent.invocation_id, "restart-as-new") == 410

    running = await client.service_send(wait_for_signal, arg="never")
    await office.has_status(running.invocation_id, "running", "suspended")
    assert await office.patch(running.invocation_id, "restart-as-new") == 409
    await client.workflow_send(run, key=key, arg="x")
    await client.workflow_call(pay, key=key, arg="Mary", timeout=SECONDS)
    flow = await client.workflow_send(run, key=key, arg="x")
    await office.has_status(flow.invocation_id, "completed")
    assert await office.patch(flow.invocation_id, "restart-as-new") == 422


async def test_row_state_patch(office: Office, key: str) -> None:
    """202, replaces the whole state, waits behind the running exclusive handler; a service without state 400."""
    client = office.client
    await client.object_call(add, key=key, arg=Item(name="x"), timeout=SECONDS)
    path, query = "/services/Cart/state", {"object_key": key}
    state = (await office.http.get(path, params=query)).json()
    assert state["state"] == {"items": list(b'["x"]'), "raw": [0, 255]}

    async def patch(new: dict[str, list[int]], **more: Any) -> httpx.Response:
        return await office.http.post(path, json={"object_key": key, "new_state": new, **more})

    answer = await patch({"items": list(b'["new"]')}, version=state["version"])
    assert (answer.status_code, answer.json()["applied"]) == (202, True)
    assert await client.object_call(items, key=key, arg=None, timeout=SECONDS) == ["new"]
    assert (await patch({}, version=state["version"])).status_code == 409
    held = await client.object_send(hold, key=key, arg="go")
    await office.has_status(held.invocation_id, "running", "suspended")
    answer = await patch({"items": list(b'["later"]')})
    assert (answer.status_code, answer.json()["applied"]) == (202, False)
    assert (await office.get(f"/invocations/{answer.json()['invocation_id']}"))["status"] == "pending"
    await client.resolve_signal(held.invocation_id, "go", "now")
    assert await held.attach(timeout=SECONDS) == "now"

    async def applied() -> bool:
        return (await office.http.get(path, params=query)).json()["state"] == {"items": list(b'["later"]')}

    await until(applied, "the patch was applied")
    answer = await office.http.delete(path, params=query)
    assert (answer.status_code, answer.json()["applied"]) == (202, True)
    assert (await office.http.get(path, params=query)).json()["state"] == {}
    answer = await office.http.post("/services/Desk/state", json={"object_key": "a", "new_state": {}})
    assert answer.status_code == 400


async def test_row_private_services(office: Office) -> None:
    """PATCH {"public": false} closes a service to callers from outside."""
    assert (await office.get("/services/Hidden"))["public"] is False
    answer = await office.http.patch("/services/Desk", json={"public": False})
    assert answer.json()["public"] is False

    async def refused() -> bool:
        try:
            await office.client.service_call(echo, arg="x", timeout=SECONDS)
        except barnabas.TerminalError as error:
            return "not public" in error.message
        return False

    async def served() -> bool:
        return not await refused()

    await until(refused, "the worker has heard of it")
    await office.http.patch("/services/Desk", json={"public": True})
    await until(served, "the worker has heard of it")


async def test_rows_of_scheduled_ones(office: Office, key: str) -> None:
    """Cancel 200; pause 409; resume 425; kill 200."""
    for operation, handler in (("cancel", add), ("kill", add)):
        sent = await office.client.object_send(handler, key=key, arg=Item(name="x"), send_delay=timedelta(days=1))
        await office.has_status(sent.invocation_id, "scheduled")
        listed = await office.http.get("/invocations", params={"status": "scheduled", "key": key})
        assert [one["id"] for one in listed.json()["invocations"]] == [sent.invocation_id]
        assert await office.patch(sent.invocation_id, "pause") == 409
        assert await office.patch(sent.invocation_id, "resume") == 425
        assert await office.patch(sent.invocation_id, operation) == 200
        await office.gone(sent.invocation_id)


async def test_scheduled_ones_are_listed_and_killed_with_the_others(office: Office, key: str) -> None:
    held = await office.client.object_send(hold, key=key, arg="never")
    await office.has_status(held.invocation_id, "running", "suspended")
    late = []
    for days in range(1, 5):
        sent = await office.client.object_send(add, key=key, arg=Item(name="x"), send_delay=timedelta(days=days))
        late.append(sent.invocation_id)
        await office.has_status(sent.invocation_id, "scheduled")
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = (await office.http.get("/invocations", params={"key": key, "limit": "2", **after})).json()
        seen += [one["id"] for one in page["invocations"]]
        if page["after"] is None:
            break
        after = {"after": page["after"]}
    assert seen == [held.invocation_id, *late]
    done = await office.http.post("/batch/invocations/kill", json={"service": "Cart", "key": key})
    outcomes = {one["id"]: one["status"] for one in done.json()["outcomes"]}
    assert outcomes == dict.fromkeys([held.invocation_id, *late], 200)
    for id_ in late:
        await office.gone(id_)


# -- what is shown


async def test_lists_and_descriptions(office: Office, key: str) -> None:
    client = office.client
    for n in range(3):
        assert await client.object_call(add, key=key, arg=Item(name=str(n)), timeout=SECONDS) == n + 1
    failing = await client.service_send(refuse, arg=418)
    with pytest.raises(barnabas.TerminalError, match="418"):
        await failing.attach(timeout=SECONDS)

    async def page(**query: Any) -> dict[str, Any]:
        answer = await office.http.get("/invocations", params={"status": "completed", "key": key, **query})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def all_there() -> bool:
        return len((await page())["invocations"]) == 3

    await until(all_there, "they are in the store")
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        found = await page(limit=2, **after)
        seen += [one["id"] for one in found["invocations"]]
        if found["after"] is None:
            break
        after = {"after": found["after"]}
    assert len(seen) == len(set(seen)) == 3
    assert (await page(handler="hold"))["invocations"] == []
    failed = await office.has_status(failing.invocation_id, "completed")
    assert (failed["completion_result"], failed["completion_failure"]) == ("failure", "[418] refused with 418")

    sent = await client.service_send(steps, arg="x")
    await sent.attach(timeout=SECONDS)
    described = await office.has_status(sent.invocation_id, "completed")
    assert all(one["appended_at"] for one in described["journal"][1:-1])
    assert all(one["duration_ms"] >= 0 for one in described["journal"] if one["entry_type"] == "Notification: Run")
    assert [(one["entry_type"], one["name"]) for one in described["journal"]] == [
        ("Command: Input", None),
        ("Command: Run", "first"),
        ("Notification: Run", None),
        ("Command: Run", "second"),
        ("Notification: Run", None),
        ("Command: Output", None),
    ]


async def test_the_wait_for_graph_and_bulk_operations(office: Office, key: str) -> None:
    client = office.client
    held = await client.object_send(hold, key=key, arg="never")
    await office.has_status(held.invocation_id, "running", "suspended")
    behind = [await client.object_send(hold, key=key, arg="never") for _ in range(5)]
    for sent in behind:
        await office.has_status(sent.invocation_id, "pending")
    graph = await office.get("/wait-for-graph")
    edges = {(one["id"], edge["id"], edge["because"]) for one in graph["nodes"] for edge in one["waits_for"]}
    assert edges >= {(sent.invocation_id, held.invocation_id, "key") for sent in behind}
    assert graph["deadlocks"] == []
    answer = await office.http.post(
        "/batch/invocations/cancel", json={"service": "Cart", "key": key, "status": "pending"}
    )
    batch = answer.json()
    assert (batch["done"], batch["failed"], batch["more"]) == (5, 0, False)
    assert {one["id"] for one in batch["outcomes"]} == {sent.invocation_id for sent in behind}
    assert {one["status"] for one in batch["outcomes"]} == {200}
    answer = await office.http.post("/batch/invocations/cancel", json={"ids": [held.invocation_id, UNKNOWN]})
    assert {one["id"]: one["status"] for one in answer.json()["outcomes"]} == {held.invocation_id: 202, UNKNOWN: 404}


async def test_topics_and_shards(office: Office) -> None:
    await office.client.service_call(echo, arg="x", timeout=SECONDS)
    topics = {one["name"]: one for one in (await office.get("/topics"))["topics"]}
    assert topics[f"{office.namespace}.Cart.signals"]["kind"] == "signals"
    assert {f"{office.namespace}.{name}" for name in ("delays", "replies", "dead-letters")} < set(topics)
    desk = topics[f"{office.namespace}.Desk.invocations"]
    assert sum(one["end"] for one in desk["partitions"]) >= 1
    assert desk["config"]["cleanup.policy"] == "delete"

    async def read() -> bool:
        shards = (await office.get("/shards?service=Desk"))["shards"]
        assert [one["partition"] for one in shards] == [0, 1]
        return (
            all(one["owner"] and one["lease"] for one in shards)
            and sum(each["lag"] for one in shards for each in one["reads"]) == 0
        )

    await until(read, "all shards have an owner, and all is read")
    everything = (await office.get("/shards"))["shards"]
    assert {one["service"] for one in everything} == {"Desk", "Cart", "Order", "Hidden", "Flaky", "Brittle", "@delays"}


async def test_dead_letters_are_listed_and_put_back(office: Office, barnabas_stack: Servers) -> None:
    from confluent_kafka import Producer

    topic = f"{office.namespace}.Desk.invocations"
    producer = Producer({"bootstrap.servers": barnabas_stack.kafka})
    producer.produce(topic, b"\x00poison", b"key", 1, headers=[("x", b"y")])
    assert producer.flush(SECONDS) == 0

    async def letters() -> list[dict[str, Any]]:
        found = (await office.get("/dead-letters"))["dead_letters"]
        return [one for one in found if one["key"] == "a2V5"]

    [letter] = await until(letters, "there is a dead letter")
    assert (letter["source_topic"], letter["source_partition"]) == (topic, 1)
    path = f"/dead-letters/{letter['partition']}/{letter['offset']}"
    whole = await office.get(path)
    assert (whole["value"], whole["headers"]) == ("AHBvaXNvbg==", [{"name": "x", "value": "eQ=="}])
    answer = await office.http.post(f"{path}/requeue")
    assert (answer.status_code, answer.json()) == (200, {"topic": topic, "partition": 1})

    async def another() -> bool:
        return len(await letters()) == 2

    await until(another, "it came back, as it is no better")
    newest = (await letters())[0]
    assert newest["source_offset"] > letter["source_offset"]
    assert (await office.get("/dead-letters?limit=1"))["before"] is not None


async def test_sql(office: Office, key: str) -> None:
    client = office.client
    held = await client.object_send(hold, key=key, arg="never")
    await client.object_call(add, key=f"{key}2", arg=Item(name="x"), timeout=SECONDS)
    flow = await client.workflow_send(run, key=key, arg="text")
    once = await client.service_send(echo, arg="x", idempotency_key=key)
    await once.attach(timeout=SECONDS)
    delayed = await client.object_send(add, key=key, arg=Item(name="x"), send_delay=timedelta(days=1))
    ids = ", ".join(f"'{sent.invocation_id}'" for sent in (held, flow, once, delayed))

    async def settled() -> bool:
        rows = await office.query(f"SELECT status FROM sys_invocation WHERE id IN ({ids}) ORDER BY 1")
        return [row["status"] for row in rows] in (
            ["completed", "running", "running", "scheduled"],
            ["completed", "running", "scheduled", "suspended"],
            ["completed", "scheduled", "suspended", "suspended"],
        )

    await until(settled, "the store has them all")
    rows = await office.query(f"SELECT * FROM sys_invocation WHERE id IN ('{held.invocation_id}')")
    assert [(row["target"], row["target_service_key"]) for row in rows] == [(f"Cart/{key}/hold", key)]
    assert rows[0]["created_at"].endswith("Z")
    [late] = await office.query(f"SELECT * FROM sys_invocation WHERE id = '{delayed.invocation_id}'")
    assert (late["target"], late["status"], late["invoked_by"]) == (f"Cart/{key}/add", "scheduled", None)
    state = await office.query(f"SELECT key, value_utf8 FROM state WHERE service_key = '{key}2' ORDER BY 1")
    assert [tuple(row.values()) for row in state] == [("items", '["x"]'), ("raw", None)]
    joined = await office.query(
        "SELECT j.name FROM sys_journal j JOIN sys_invocation i USING (id) "
        f"WHERE i.id = '{held.invocation_id}' AND j.entry_type = 'Command: Signal'"
    )
    assert joined == [{"name": "never"}]
    kept = await office.query(f"SELECT invocation_id FROM sys_idempotency WHERE idempotency_key = '{key}'")
    assert kept == [{"invocation_id": once.invocation_id}]
    promises = await office.query(f"SELECT key, completed FROM sys_promise WHERE service_key = '{key}'")
    assert promises == [{"key": "paid", "completed": False}]
    holder = await office.query(f"SELECT * FROM sys_keyed_service_status WHERE service_key = '{key}'")
    assert {row["invocation_id"] for row in holder} >= {held.invocation_id}
    assert len(await office.query("SELECT * FROM sys_service")) == 6
    answer = await office.http.post("/query", json={"query": "SELECT * FROM read_csv('/etc/passwd')"})
    assert (answer.status_code, set(answer.json())) == (400, {"message", "restate_code"})


async def test_documents(office: Office) -> None:
    document = await office.get("/openapi")
    assert document["openapi"].startswith("3.1")
    assert "/invocations/{invocation_id}/restart-as-new" in document["paths"]
    of_cart = await office.get("/services/Cart/openapi")
    assert set(of_cart["paths"]) >= {"/restate/call/Cart/{key}/add", "/restate/send/Cart/{key}/hold"}
    whole = await office.get("/openapi-ingress")
    assert "/restate/call/Hidden/secret" not in json.dumps(whole)
    assert await office.get("/health") == {}


async def test_without_a_worker_a_request_times_out_and_is_done_later(barnabas_stack: Servers) -> None:
    namespace = f"admin-{uuid4().hex[:8]}"
    async with (
        barnabas.Client(barnabas_stack.kafka, namespace) as client,
        worker(barnabas_stack, namespace, TARGET, app, 2),
    ):
        sent = await client.service_send(wait_for_signal, arg="never")
        with pytest.raises(TimeoutError):
            await sent.attach(timeout=1)
    async with (
        barnabas.Client(barnabas_stack.kafka, namespace) as client,
        admin_process(barnabas_stack, namespace, answer_seconds=0.5) as process,
        httpx.AsyncClient(base_url=process.url, timeout=SECONDS) as http,
    ):
        answer = await http.patch(f"/invocations/{sent.invocation_id}/kill")
        assert (answer.status_code, "lies in Kafka" in answer.json()["message"]) == (504, True)
        async with worker(barnabas_stack, namespace, TARGET, app, 2):
            with pytest.raises(barnabas.TerminalError, match="killed"):
                await client.attach(sent.invocation_id, timeout=SECONDS)
