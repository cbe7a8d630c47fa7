"""The flights demo as people run it: a process of its own, two workers, real servers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka.admin import AdminClient
from redis import Redis

from barnabas.devstack.process import wait_until
from barnabas.devstack.stack import Addresses

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "examples.flights.demo", "--flights", "1000"]
RIGHT = "Every total and every plane's order is right."
MARK = "FLIGHTS_TEST"


@pytest.fixture
def environment(barnabas_stack: Addresses, tmp_path: Path) -> dict[str, str]:
    """For a demo and its workers: where the servers are, where logs go, and a mark to find the processes by."""
    path = os.pathsep.join([str(ROOT / "worker"), os.environ.get("PYTHONPATH", "")])
    servers = {"BARNABAS_KAFKA": barnabas_stack.kafka, "BARNABAS_REDIS": barnabas_stack.redis}
    own = {"PYTHONPATH": path, "TMPDIR": str(tmp_path), "COLUMNS": "120", MARK: uuid4().hex}
    return os.environ | servers | own


def demo(environment: dict[str, str], *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *flags], env=environment, cwd=ROOT, text=True, stdout=-1, stderr=-2, timeout=100, check=False
    )


def marked_processes(environment: dict[str, str]) -> list[str]:
    """The processes that inherited the mark."""
    mark = f"{MARK}={environment[MARK]}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:  # ended meanwhile, or somebody else's
            continue
    return found


def left_behind(addresses: Addresses, namespace: str) -> list[str]:
    """Topics, groups and keys of that namespace."""
    admin = AdminClient({"bootstrap.servers": addresses.kafka})
    topics = [name for name in admin.list_topics(timeout=10).topics if name.startswith(f"{namespace}.")]
    groups = [group.group_id for group in admin.list_consumer_groups().result(10).valid]
    with Redis.from_url(addresses.redis) as store:  # whose keys may hold any bytes, where other tests have been
        found = [repr(key) for key in store.scan_iter(f"{{{namespace}*", count=10_000)]
    return topics + [group for group in groups if group.startswith(f"{namespace}.")] + found


def test_the_first_thousand_rows_come_out_right(environment: dict[str, str]) -> None:
    done = demo(environment)
    assert done.returncode == 0, done.stdout
    assert RIGHT in done.stdout
    assert "2,988: 3 for each of 996 flights" in done.stdout
    assert "1,000 read, 4 left out: 4 without departure time" in done.stdout


def test_they_come_out_right_when_a_worker_is_killed_halfway(environment: dict[str, str]) -> None:
    """F1 to F4 in passing: wherever the worker was, nothing is lost, nothing counts twice, and order holds."""
    done = demo(environment, "--kill")
    assert done.returncode == 0, done.stdout
    assert RIGHT in done.stdout
    assert "killed with SIGKILL after" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_interrupted_it_leaves_no_process_and_nothing_on_the_servers(
    environment: dict[str, str], barnabas_stack: Addresses
) -> None:
    """SIGTERM, which the demo handles as the Ctrl-C that it turns it into."""
    command = [*COMMAND[:-1], "20000"]
    with subprocess.Popen(command, env=environment, cwd=ROOT, text=True, stdout=-1, stderr=-2) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        assert "workers share the work in namespace" in line
        namespace = line.split()[-1]
        assert left_behind(barnabas_stack, namespace)
        running.send_signal(signal.SIGTERM)
        rest = running.stdout.read()
    assert running.returncode == 130, rest
    assert RIGHT not in rest
    assert marked_processes(environment) == []
    assert wait_until(lambda: not left_behind(barnabas_stack, namespace), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_a_worker_that_ends_by_itself_fails_the_demo_with_its_last_words(environment: dict[str, str]) -> None:
    done = demo(environment | {"BARNABAS_GROUP_PROTOCOL": "nonsense"})
    assert done.returncode == 1
    assert "A worker ended by itself with code" in done.stdout
    assert "BARNABAS_GROUP_PROTOCOL" in done.stdout
    assert marked_processes(environment) == []
