"""Who may come in, on real servers: keys at both doors, TLS, private handlers by every way in, limits of admin."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

import barnabas
from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import Addresses
from tests.certificates import Authority
from tests.integration.test_ingress import free_port
from tests.scenario.installation import Installation, installation

APP = "tests.integration.ingress_app:app"
PUBLIC = ("--host", "0.0.0.0")
SECONDS = 30


@pytest.fixture(scope="module")
def place(barnabas_stack: Addresses) -> Iterator[Installation]:
    with installation(barnabas_stack, APP) as found:
        yield found


def new_key(place: Installation, *roles: str) -> str:
    made = place.run("keys", "create", *(part for role in roles for part in ("--role", role)), "--name", "test")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    assert re.fullmatch(r"bnb_[0-9a-f]{12}_\S{43}", key)
    assert key not in made.stderr
    return key


@pytest.fixture(scope="module")
def keys(place: Installation) -> dict[str, str]:
    return {role: new_key(place, role) for role in ("invoke", "read", "operate")}


@contextmanager
def door(
    place: Installation, what: str, *options: str, scheme: str = "http", **client: object
) -> Iterator[httpx.Client]:
    port = free_port()
    with (
        place.process(what, "--port", str(port), *options),
        httpx.Client(base_url=f"{scheme}://127.0.0.1:{port}", timeout=SECONDS, **client) as http,  # type: ignore[arg-type]
    ):
        yield http


@pytest.fixture(scope="module")
def ingress(place: Installation, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with door(place, "ingress", *PUBLIC) as http:
        yield http


@pytest.fixture(scope="module")
def admin(place: Installation, keys: dict[str, str]) -> Iterator[httpx.Client]:
    with door(place, "admin", *PUBLIC) as http:
        yield http


def with_key(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


# -- web pages


def test_web_pages_of_other_origins(place: Installation) -> None:
    """Stopped at a door that asks for no key, unless they were named; a browser's preflight is answered then."""
    shop, other = "http://localhost:3000", "https://evil.example"
    origins = ("--cors-origin", shop, "--cors-origin", "https://shop.example")
    with door(place, "ingress", *origins) as named, door(place, "ingress") as closed:
        preflight = {"origin": shop, "access-control-request-method": "POST"}
        assert [http.options("/Greeter/greet", headers=preflight).status_code for http in (named, closed)] == [200, 405]
        answer = named.post("/Greeter/greet", json="Ada", headers={"origin": shop})
        assert (answer.text, answer.headers["access-control-allow-origin"]) == ('"Hello Ada"', shop)
        for http, origin in ((named, other), (closed, shop)):
            refused = http.post("/Greeter/hello", headers={"origin": origin})
            assert (refused.status_code, refused.json()["source"]) == (403, "ingress")
    refused = place.run("ingress", "--port", "0", "--cors-origin", "shop.example")
    assert refused.returncode == 2
    assert "BARNABAS_INGRESS_CORS_ORIGINS: 'shop.example' is no origin" in refused.stderr


# -- keys


@pytest.mark.parametrize("what", ["ingress", "admin"])
def test_a_door_does_not_open_to_the_world_unasked(barnabas_stack: Addresses, what: str) -> None:
    place = Installation(barnabas_stack, Path.cwd())  # another namespace, which has no keys
    assert place.run("topics", "apply", APP, "--partitions", "1").returncode == 0
    refused = place.run(what, "--port", "0", *PUBLIC)
    assert refused.returncode == 2
    assert "barnabas keys create" in refused.stderr
    assert "--allow-anonymous" in refused.stderr
    with door(place, what, *PUBLIC, "--allow-anonymous") as http:
        assert http.get("/restate/health" if what == "ingress" else "/services").status_code == 200


def test_a_request_without_a_key_is_answered_401_with_the_ingress_error_body(ingress: httpx.Client) -> None:
    for headers in ({}, with_key("bnb_000000000000_x"), {"authorization": "Basic YTpi"}):
        answer = ingress.post("/Greeter/greet", json="Ada", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert (answer.json()["code"], answer.json()["source"]) == (401, "ingress")


def test_what_a_key_may_do_at_the_ingress(ingress: httpx.Client, keys: dict[str, str]) -> None:
    answer = ingress.post("/Greeter/greet", json="Ada", headers=with_key(keys["invoke"]))
    assert (answer.status_code, answer.text) == (200, '"Hello Ada"')
    output = f"/restate/output/{answer.headers['x-restate-id']}"
    assert [ingress.get(output, headers=with_key(key)).status_code for key in keys.values()] == [200, 200, 200]
    refused = ingress.post("/Greeter/greet/send", json="Ada", headers=with_key(keys["read"]))
    assert (refused.status_code, refused.json()["code"]) == (403, 403)


def test_handlers_do_not_see_the_key(ingress: httpx.Client, keys: dict[str, str]) -> None:
    seen = ingress.post("/Greeter/seen", headers=with_key(keys["invoke"]) | {"x-mood": "good"})
    assert seen.json()["x-mood"] == "good"
    assert "authorization" not in seen.json()


def test_probes_need_no_key_and_learn_no_names(
    ingress: httpx.Client, admin: httpx.Client, keys: dict[str, str]
) -> None:
    assert ingress.get("/restate/health").json() == {"services": []}
    assert "Greeter" in ingress.get("/restate/health", headers=with_key(keys["read"])).json()["services"]
    assert admin.get("/health").status_code == 200


def test_what_a_key_may_do_at_the_admin_api(admin: httpx.Client, keys: dict[str, str]) -> None:
    question = {"query": "SELECT name FROM sys_service"}
    patch = {"public": True}
    for role, reads, changes in ((None, 401, 401), ("invoke", 403, 403), ("read", 200, 403), ("operate", 200, 200)):
        headers = with_key(keys[role]) if role else {}
        assert admin.get("/services", headers=headers).status_code == reads, role
        assert admin.post("/query", json=question, headers=headers).status_code == reads, role
        assert admin.patch("/services/Greeter", json=patch, headers=headers).status_code == changes, role
    refused = admin.get("/services")
    assert set(refused.json()) == {"message", "restate_code"}
    assert refused.headers["www-authenticate"] == "Bearer"


def test_a_revoked_key_opens_nothing_any_more(place: Installation, ingress: httpx.Client) -> None:
    key = new_key(place, "invoke")
    until(lambda: ingress.get("/Greeter/hello", headers=with_key(key)).status_code == 200)
    listed = json.loads(place.run("keys", "list", "--json").stdout)["keys"]
    id_ = key.split("_")[1]
    assert [one["roles"] for one in listed if one["id"] == id_] == [["invoke"]]
    assert key not in str(listed)
    assert place.run("keys", "revoke", id_).returncode == 0
    until(lambda: ingress.get("/Greeter/hello", headers=with_key(key)).status_code == 401)
    assert place.run("keys", "revoke", id_).returncode == 1


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_keys_in_a_file_work_without_any_in_the_store(place: Installation, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    key = place.run("keys", "create", "--role", "invoke", "--file", str(file)).stdout.strip()
    other = place.run("keys", "create", "--role", "read", "--file", str(file)).stdout.strip()
    assert file.stat().st_mode & 0o077 == 0
    assert key not in file.read_text()
    place.environment["BARNABAS_API_KEYS_FILE"] = str(file)
    try:
        with door(place, "ingress") as http:
            assert http.get("/Greeter/hello").status_code == 401
            assert http.get("/Greeter/hello", headers=with_key(key)).status_code == 200
            assert place.run("keys", "revoke", key.split("_")[1], "--file", str(file)).returncode == 0
            until(lambda: http.get("/Greeter/hello", headers=with_key(key)).status_code == 401)
            assert http.get("/Greeter/hello", headers=with_key(other)).status_code == 403
    finally:
        del place.environment["BARNABAS_API_KEYS_FILE"]


def test_what_processes_print_holds_no_key(place: Installation, keys: dict[str, str]) -> None:
    port = free_port()
    command = place._command("ingress", "--port", str(port), *PUBLIC, "--log-level", "debug")
    process = subprocess.Popen(
        command, env=place.environment, cwd=place.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with process:
        assert process.stdout is not None
        lines = [next(line for line in process.stdout if line.startswith("ready"))]
        for key in (keys["invoke"], keys["read"], f"{keys['invoke']}x"):
            httpx.post(f"http://127.0.0.1:{port}/Greeter/greet", json="Ada", headers=with_key(key))
        process.terminate()
        lines += list(process.stdout)
    assert not [line for line in lines if any(key.split("_", 2)[2] in line for key in keys.values())]


# -- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("what", ["ingress", "admin"])
def test_a_door_with_tls(place: Installation, authority: Authority, what: str) -> None:
    certificate, key = authority.issue(what)
    path = "/restate/health" if what == "ingress" else "/health"
    tls = {"BARNABAS_TLS_CERT": str(certificate), "BARNABAS_TLS_KEY": str(key)}
    place.environment |= tls
    try:
        with door(place, what, scheme="https", verify=authority.client_context()) as http:
            assert http.get(path).status_code == 200
            with pytest.raises(httpx.HTTPError):
                httpx.get(f"{str(http.base_url).replace('https', 'http')}{path}")
            assert http.get(path).status_code == 200, "who speaks no TLS disturbs nobody"
    finally:
        for name in tls:
            del place.environment[name]


def test_mutual_tls_lets_in_whoever_has_a_certificate_of_the_ca(
    place: Installation, authority: Authority, tmp_path: Path
) -> None:
    server, client = authority.issue("ingress"), authority.issue("client")
    stranger = Authority(tmp_path, "other CA").issue("client")
    tls = {
        "BARNABAS_TLS_CERT": str(server[0]),
        "BARNABAS_TLS_KEY": str(server[1]),
        "BARNABAS_TLS_CLIENT_CA": str(authority.ca),
        "BARNABAS_AUTHENTICATION": "certificates",
    }
    place.environment |= tls
    try:
        context = authority.client_context(client)
        with door(place, "ingress", *PUBLIC, scheme="https", verify=context) as http:
            assert http.get("/Greeter/hello").text == '"Hello"'
            for wrong in (authority.client_context(), authority.client_context(stranger)):
                with pytest.raises(httpx.HTTPError):
                    httpx.get(f"{http.base_url}/Greeter/hello", verify=wrong)
            assert http.get("/Greeter/hello").status_code == 200
    finally:
        for name in tls:
            del place.environment[name]


# -- private handlers


@pytest.fixture
async def client(place: Installation) -> AsyncIterator[barnabas.Client]:
    async with place.client() as found:
        yield found


async def test_a_client_cannot_call_a_private_handler(client: barnabas.Client) -> None:
    with pytest.raises(barnabas.TerminalError, match="not public") as refused:
        await client.generic_call("Private", "secret", b"")
    assert refused.value.status_code == 400


async def test_a_delayed_send_to_a_private_handler_becomes_a_dead_letter(
    place: Installation, client: barnabas.Client
) -> None:
    before = private_letters(place)
    await client.generic_send("Private", "secret", b"", None, timedelta(milliseconds=50))
    await asyncio.to_thread(until, lambda: private_letters(place) == before + 1)


def test_a_raw_record_for_a_private_handler_becomes_a_dead_letter(place: Installation) -> None:
    before = private_letters(place)
    producer = Producer({"bootstrap.servers": place.kafka})
    producer.produce(TopicNames(place.namespace).invocations("Private"), b"", headers={"barnabas-handler": b"secret"})
    assert producer.flush(SECONDS) == 0
    until(lambda: private_letters(place) == before + 1)


def private_letters(place: Installation) -> int:
    listed = place.run("dead-letters", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    return sum(one["reason"] == "private" for one in json.loads(listed.stdout)["dead_letters"])


def test_made_private_by_hand_and_public_again(
    ingress: httpx.Client, admin: httpx.Client, keys: dict[str, str]
) -> None:
    operate, invoke = with_key(keys["operate"]), with_key(keys["invoke"])

    def status() -> int:
        return ingress.get("/Counter/x/my_key", headers=invoke).status_code

    for public, expected in ((False, 400), (True, 200)):
        patched = admin.patch("/services/Counter", json={"public": public}, headers=operate)
        assert patched.json()["public"] is public
        until(lambda: status() == expected)  # noqa: B023 - called here alone


# -- limits of the admin API


def test_a_body_that_is_too_large_for_the_admin_api(admin: httpx.Client, keys: dict[str, str]) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * (1 << 20)

    for body in (b" " * (17 << 20), endless()):
        answer = admin.post("/query", content=body, headers=with_key(keys["read"]))
        assert answer.status_code == 413
        assert set(answer.json()) == {"message", "restate_code"}


def test_headers_that_are_too_large_for_the_admin_api(admin: httpx.Client, keys: dict[str, str]) -> None:
    answer = admin.get("/services", headers=with_key(keys["read"]) | {"x-long": "x" * 40_000})
    assert answer.status_code == 431
    assert "bytes" in answer.json()["message"]
