"""Rows of INTEROP.md that no other test has: see README.md."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest

from tests.interop.doors import Doors

SECONDS = 30.0


@pytest.fixture
def ingress(open_doors: Doors) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=open_doors.ingress, timeout=SECONDS) as client:
        yield client


@pytest.fixture
def admin(open_doors: Doors) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=open_doors.admin, timeout=SECONDS) as client:
        yield client


def test_a_call_waits_until_the_first_is_due(ingress: httpx.Client) -> None:
    """The same idempotent target, sent delayed and then called: one invocation, at the due time of the first."""
    headers = {"idempotency-key": uuid4().hex}
    before = time.monotonic()
    sent = ingress.post("/Greeter/ticket/send?delay=1s", json="a", headers=headers).json()
    called = ingress.post("/Greeter/ticket", json="b", headers=headers)
    assert time.monotonic() - before >= 0.99
    assert called.headers["x-restate-id"] == sent["invocationId"]
    assert called.json().startswith("a ")  # what was sent first


def test_what_admin_says_of_services(admin: httpx.Client) -> None:
    """GET /services, /services/{s}: name, ty, public, handlers with name and ty as Restate has them."""
    services = {one["name"]: one for one in admin.get("/services").json()["services"]}
    assert {name: (one["ty"], one["public"]) for name, one in services.items()} == {
        "Greeter": ("Service", True),
        "Counter": ("VirtualObject", True),
        "Trip": ("Workflow", True),
        "Private": ("Service", False),
    }
    kinds = {name: {one["name"]: one["ty"] for one in found["handlers"]} for name, found in services.items()}
    assert kinds["Greeter"]["greet"] is None
    assert kinds["Counter"] == {
        "add": "Exclusive",
        "my_key": "Shared",
        "total": "Shared",
        "wait": "Exclusive",
        "waits_for": "Shared",
    }
    assert kinds["Trip"] == {"run": "Workflow", "choose": "Shared", "chosen": "Shared"}
    assert admin.get("/services/Trip").json() == services["Trip"]


@pytest.mark.parametrize("path", ["/services/Nobody", "/services/Nobody/openapi", "/nowhere"])
def test_what_admin_does_not_know(admin: httpx.Client, path: str) -> None:
    """Errors: {"message", "restate_code"}."""
    answer = admin.get(path)
    assert answer.status_code == 404
    assert answer.json().keys() == {"message", "restate_code"}
    assert answer.json()["message"]


def test_a_service_that_admin_closes_is_closed_at_the_ingress(ingress: httpx.Client, admin: httpx.Client) -> None:
    """PATCH /services/{s} {"public": …}: 400 at the ingress while it is private."""

    def eventually(status: int) -> None:
        deadline = time.monotonic() + SECONDS
        while (found := ingress.get("/Trip/k/chosen").status_code) != status:
            assert time.monotonic() < deadline, f"still {found}"

    try:
        assert admin.patch("/services/Trip", json={"public": False}).json()["public"] is False
        eventually(400)
        assert "/restate/call/Trip/{key}/chosen" not in admin.get("/openapi-ingress").json()["paths"]
    finally:
        assert admin.patch("/services/Trip", json={"public": True}).json()["public"] is True
    eventually(200)


def test_who_waits_for_what_is_cancelled_or_killed_is_told(ingress: httpx.Client, admin: httpx.Client) -> None:
    """Cancel: queued 200, the waiter gets 409 "cancelled". Kill: 200, 409 "killed"; at the ingress."""
    key = uuid4().hex
    ids = {handler: f"/Counter/{key}/{handler}" for handler in ("wait", "add")}

    def started(handler: str, status: set[str]) -> str:
        parameters = {"service": "Counter", "key": key, "handler": handler}
        deadline = time.monotonic() + SECONDS
        while True:
            found = admin.get("/invocations", params=parameters).json()["invocations"]
            if found and found[0]["status"] in status:
                id_: str = found[0]["id"]
                return id_
            assert time.monotonic() < deadline, found

    with ThreadPoolExecutor() as callers:
        holding = callers.submit(ingress.post, ids["wait"])
        holder = started("wait", {"running", "suspended"})
        queueing = callers.submit(ingress.post, ids["add"], json=1)
        queued = started("add", {"pending"})
        for id_, operation, caller in ((queued, "cancel", queueing), (holder, "kill", holding)):
            assert admin.patch(f"/invocations/{id_}/{operation}").status_code == 200
            outcome = caller.result(SECONDS)
            assert (outcome.status_code, operation in outcome.json()["message"]) == (409, True)
            assert outcome.headers["x-restate-id"] == id_


def test_tables_of_introspection(admin: httpx.Client) -> None:
    """POST /query: the tables and the columns that INTEROP names."""
    columns = {
        "sys_invocation": "id target target_service_name target_service_key target_handler_name idempotency_key status "
        "created_at modified_at retry_count last_failure invoked_by_id completion_result",
        "sys_journal": "id index entry_type name",
        "sys_inbox": "service_name service_key id",
        "sys_keyed_service_status": "service_name service_key invocation_id",
        "sys_idempotency": "service_name service_handler idempotency_key invocation_id",
        "sys_promise": "service_name service_key key completed",
        "sys_service": "name ty public",
        "state": "service_name service_key key value",
    }
    for table, names in columns.items():
        chosen = ", ".join(f'"{name}"' for name in names.split())
        answer = admin.post("/query", json={"query": f"SELECT {chosen} FROM {table} LIMIT 1"})
        assert answer.status_code == 200, f"{table}: {answer.text}"
        assert "rows" in answer.json()
