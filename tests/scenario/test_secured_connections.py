"""All processes over SASL, TLS and a user of the store's, and no secret in anything that they print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from redis import Redis

from barnabas.devstack.stack import Addresses
from tests.certificates import Authority
from tests.integration.test_ingress import free_port
from tests.scenario.installation import ROOT, Installation
from tests.scenario.secured import SecuredBroker, tls_before

APP = "tests.integration.ingress_app:app"
SECONDS = 60
PASSWORD = f"hunter2-{uuid4().hex}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secured")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Authority:
    return Authority(folder)


@pytest.fixture(scope="module")
def broker(folder: Path, authority: Authority) -> Iterator[SecuredBroker]:
    running = SecuredBroker(folder, authority, "barnabas", PASSWORD)
    running.start()
    yield running
    running.kill()


@pytest.fixture(scope="module")
def store(barnabas_stack: Addresses, authority: Authority) -> Iterator[str]:
    """The session's store, as a user of its own sees it through TLS."""
    user = f"u{uuid4().hex[:8]}"
    with (
        Redis.from_url(barnabas_stack.redis) as redis,
        tls_before(barnabas_stack.redis, authority.issue("store")) as port,
    ):
        rules = ("resetkeys", "~{t-*", "+@all", "-@dangerous", "+info", "+config|get")
        redis.execute_command("ACL", "SETUSER", user, "on", f">{PASSWORD}", *rules)
        try:
            yield f"rediss://{user}:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={authority.ca}"
        finally:
            redis.execute_command("ACL", "DELUSER", user)


@pytest.fixture(scope="module")
def variables(broker: SecuredBroker, store: str, authority: Authority) -> dict[str, str]:
    options = {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "barnabas",
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(authority.ca),
    }
    return {
        "BARNABAS_KAFKA": broker.secured_address,
        "BARNABAS_KAFKA_OPTIONS": json.dumps(options),
        "BARNABAS_REDIS": store,
    }


def test_everything_works_over_secured_connections_and_says_no_secret(
    broker: SecuredBroker, store: str, variables: dict[str, str], folder: Path
) -> None:
    place = Installation(Addresses(broker.secured_address, store), ROOT)
    place.environment |= variables
    said: list[str] = []

    def run(*command: str) -> str:
        done = place.run(*command)
        said.extend((done.stdout, done.stderr))
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("topics", "apply", APP, "--partitions", "1")
    ports = {"ingress": free_port(), "admin": free_port()}
    commands = [("worker", APP), ("scheduler",), *((name, "--port", str(port)) for name, port in ports.items())]
    log = folder / "processes.log"
    with ExitStack() as running, log.open("w") as output:
        for command in commands:
            running.enter_context(_process(place, output.fileno(), *command))
        answer = httpx.post(f"http://127.0.0.1:{ports['ingress']}/Greeter/greet", json="Ada", timeout=SECONDS)
        assert answer.text == '"Hello Ada"'
        assert httpx.get(f"http://127.0.0.1:{ports['admin']}/services", timeout=SECONDS).status_code == 200
        assert run("invoke", "Greeter/greet", '"Ada"') == '"Hello Ada"'
        assert "Greeter" in run("services")
        run("invocations", "list", "--json")
        run("keys", "create", "--role", "read")
        run("doctor", "--namespace", place.namespace)
        run("doctor", "--json", "--namespace", place.namespace)
    said.append(log.read_text())
    assert PASSWORD not in "\n".join(said)


@contextmanager
def _process(place: Installation, log: int, *command: str) -> Iterator[None]:
    """A process that is ready, with its log in a file; drained at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "barnabas.cli.main", *command, "--log-level", "debug"],
        cwd=place.folder,
        env=place.environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().startswith("ready"), f"{command} did not become ready"
        yield
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0


WRONG: dict[str, tuple[str, Callable[[str], str]]] = {
    "store password": ("BARNABAS_REDIS", lambda text: text.replace(PASSWORD, f"x{PASSWORD}")),
    "store URL": ("BARNABAS_REDIS", lambda text: text.replace(f"{PASSWORD}@", f"{PASSWORD}/@")),
    "store option": ("BARNABAS_REDIS", lambda text: f"{text}&ssl_{PASSWORD}=1"),
    "no JSON": ("BARNABAS_KAFKA_OPTIONS", lambda text: text[:-1]),
    "Kafka protocol": ("BARNABAS_KAFKA_OPTIONS", lambda text: json.dumps({"security.protocol": PASSWORD})),
    "Kafka refused": ("BARNABAS_KAFKA_OPTIONS", lambda text: json.dumps({"acks": PASSWORD})),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", ["scheduler", "ingress", "doctor"])
def test_what_is_wrong_is_said_without_the_secret(variables: dict[str, str], wrong: str, command: str) -> None:
    variable, change = WRONG[wrong]
    ended = _run(variables | {variable: change(variables[variable])}, command)
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert PASSWORD not in ended.stdout + ended.stderr


def test_a_wrong_password_for_kafka_is_told_as_such(variables: dict[str, str]) -> None:
    options = variables["BARNABAS_KAFKA_OPTIONS"].replace(PASSWORD, f"x{PASSWORD}")
    ended = _run(variables | {"BARNABAS_KAFKA_OPTIONS": options}, "topics", "plan", APP)
    assert ended.returncode == 2
    assert "Authentication failed" in ended.stderr
    assert PASSWORD not in ended.stdout + ended.stderr


def _run(variables: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    options = ["--port", "0"] if command[0] == "ingress" else []
    return subprocess.run(
        [sys.executable, "-m", "barnabas.cli.main", *command, *options],
        env=os.environ | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
