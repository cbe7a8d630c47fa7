"""A whole stack on this machine: started once, found again, killed, restarted with its data, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from redis import Redis
from typer.testing import CliRunner

from barnabas.cli.stack import app
from barnabas.devstack.doctor import Severity, examine
from barnabas.devstack.errors import ServerUnreachableError
from barnabas.devstack.probe import READY_TOPIC, broker_facts
from barnabas.devstack.process import wait_until
from barnabas.devstack.settings import BROKER_SETTINGS, STORE_SETTINGS
from barnabas.devstack.stack import Stack

OWNER = """
import signal, sys
from pathlib import Path
from barnabas.devstack.stack import Stack
stack = Stack(Path(sys.argv[1]))
stack.up()
print(stack.broker.pid, stack.store.pid, flush=True)
signal.pause()
"""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One folder for the module, so that only the first of its starts has to format and create."""
    directory = tmp_path_factory.mktemp("stack")
    yield directory
    Stack(directory).down()


@pytest.fixture
def running(directory: Path) -> Stack:
    stack = Stack(directory)
    stack.up(detached=True)
    return stack


def test_a_second_up_finds_the_stack_and_starts_nothing(running: Stack) -> None:
    before = running.status()
    again = Stack(running.directory)
    assert again.up(detached=True) == before.addresses
    assert again.status() == before
    assert None not in (before.broker_pid, before.store_pid)


def test_the_servers_are_set_as_the_table_says(running: Stack) -> None:
    settings = broker_facts(running.addresses.kafka, READY_TOPIC).settings
    assert {name: settings.get(name) for name in BROKER_SETTINGS} == dict(BROKER_SETTINGS)
    with Redis.from_url(running.addresses.redis, decode_responses=True) as store:
        assert {name: store.config_get(name)[name] for name in STORE_SETTINGS} == dict(STORE_SETTINGS)
        assert store.config_get("bind")["bind"] == "127.0.0.1"


def test_killed_servers_start_again_on_their_ports_with_their_data(running: Stack) -> None:
    topic, addresses = f"kept-{os.urandom(4).hex()}", running.addresses
    admin = AdminClient({"bootstrap.servers": addresses.kafka})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=10)
    producer = Producer({"bootstrap.servers": addresses.kafka, "enable.idempotence": True})
    producer.produce(topic, b"kept")
    assert producer.flush(10) == 0
    with Redis.from_url(addresses.redis) as store:
        store.set("kept", "too")

    killed = (running.broker.pid, running.store.pid)
    running.broker.kill()
    running.store.kill()
    assert (running.broker.pid, running.store.pid) == (None, None)
    running.store.start()
    running.broker.start()

    assert running.broker.pid not in (None, *killed)
    assert running.addresses == addresses
    with Redis.from_url(addresses.redis) as store:
        assert store.get("kept") == b"too"
    consumer = Consumer({"bootstrap.servers": addresses.kafka, "group.id": topic, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, 0, 0)])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert message.value() == b"kept"


async def test_the_doctor_finds_what_would_lose_data_and_nothing_else(running: Stack) -> None:
    kafka, redis = running.addresses
    assert not [f for f in await examine(kafka, redis, "demo") if f.severity is Severity.LOSES]
    namespace = f"n{os.urandom(4).hex()}"
    topic = f"{namespace}.replies"
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, 1, 1, config={"cleanup.policy": "compact"})])[topic].result(timeout=10)
    with Redis.from_url(redis) as store:
        store.config_set("maxmemory-policy", "allkeys-lru")
        try:
            findings = await examine(kafka, redis, namespace)
        finally:
            store.config_set("maxmemory-policy", "noeviction")
    losing = {finding.subject for finding in findings if finding.severity is Severity.LOSES}
    assert losing == {"store maxmemory-policy", f"{topic} cleanup.policy"}


async def test_the_doctor_says_which_server_is_away(running: Stack) -> None:
    with pytest.raises(ServerUnreachableError, match=r"store at redis://127\.0\.0\.1:1/0"):
        await examine(running.addresses.kafka, "redis://127.0.0.1:1/0", "demo")


def test_the_command_line_prints_the_variables_and_ends_the_stack(running: Stack) -> None:
    kafka, redis = running.addresses
    lines = f"export BARNABAS_KAFKA={kafka}\nexport BARNABAS_REDIS={redis}\n"
    data = ["--data", str(running.directory)]
    cli = CliRunner()
    assert cli.invoke(app, ["up", *data]).stdout == lines
    status = cli.invoke(app, ["status", *data])
    assert (status.exit_code, status.stdout) == (0, lines)

    servers = [running.broker.process, running.store.process]
    assert cli.invoke(app, ["down", *data]).exit_code == 0
    assert not any(server and server.is_alive() for server in servers)
    assert cli.invoke(app, ["status", *data]).exit_code == 1


def test_a_stack_left_behind_by_a_killed_process_is_reused_and_then_ended(directory: Path) -> None:
    Stack(directory).down()
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(directory)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()

    stack = Stack(directory)
    stack.up()
    assert [stack.broker.pid, stack.store.pid] == pids
    assert stack.status().users == [os.getpid()]
    stack.leave()
    assert [stack.broker.pid, stack.store.pid] == [None, None]


def test_a_stack_ends_with_the_process_that_started_it(directory: Path) -> None:
    Stack(directory).down()
    code = OWNER.replace("signal.pause()", "")
    done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) == 2
    stack = Stack(directory)
    assert wait_until(lambda: (stack.broker.pid, stack.store.pid) == (None, None), 5)
