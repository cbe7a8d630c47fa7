"""The life of an ingress process: thousands who wait, clients and processes that go away, the end, records that Kafka
will not have."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from barnabas.cli.members import raise_file_limit
from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import Addresses
from barnabas.log.kafka_admin import KafkaAdmin
from barnabas.log.settings import KafkaSettings
from tests.integration.test_ingress import APP, SECONDS, accepted, failed, free_port
from tests.scenario.installation import Installation, installation

WAITING = 10_000


class Ingress:
    """One process and where it listens."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS)

    def connections(self) -> int:
        """Files that the process has open, which are its connections and a few more."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def status(self, name: str) -> int:
        """A number of /proc/PID/status, in its unit."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise AssertionError(f"no {name}")


@pytest.fixture(scope="module")
def place(barnabas_stack: Addresses) -> Iterator[Installation]:
    with installation(barnabas_stack, APP) as place:
        yield place


@pytest.fixture
def start(place: Installation) -> Iterator[Callable[..., Ingress]]:
    """Starts an ingress; all are ended with the test."""
    started: list[Ingress] = []

    def start(*options: str) -> Ingress:
        port = free_port()
        command = place._command("ingress", "--port", str(port), "--log-level", "warning", *options)
        process = subprocess.Popen(
            command, cwd=place.folder, env=place.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        started.append(Ingress(process, port))
        assert process.stdout is not None
        assert process.stdout.readline() == f"ready: http://127.0.0.1:{port} for namespace {place.namespace}\n"
        return started[-1]

    yield start
    for one in started:
        one.http.close()
        with one.process as process:
            process.kill()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@pytest.mark.timeout(300)
async def test_ten_thousand_who_wait_on_one_process(start: Callable[..., Ingress]) -> None:
    """They hold connections, not threads; those that go away cost nothing; the others get their results."""
    raise_file_limit()
    ingress = start()
    key = uuid4().hex
    before, threads = ingress.connections(), ingress.status("Threads")
    request = f"GET /restate/call/Trip/{key}/chosen HTTP/1.1\r\nhost: x\r\n\r\n".encode()
    connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    for _ in range(0, WAITING, 500):
        opened = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", ingress.port) for _ in range(500)))
        for _, writer in opened:
            writer.write(request)
        connections += opened
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{ingress.port}", timeout=120) as http:
        answer = await http.post("/Greeter/greet", json="Ada")  # others are served meanwhile
        assert answer.json() == "Hello Ada"
        assert ingress.connections() >= before + WAITING
        assert ingress.status("Threads") <= threads + 4
        megabytes = ingress.status("VmRSS") // 1024
        leaving, staying = connections[::2], connections[1::2]
        for _, writer in leaving:
            writer.close()
        await asyncio.to_thread(
            wait_until, lambda: ingress.connections() <= before + len(staying) + 10, "clients that left are gone"
        )
        assert (await http.post(f"/Trip/{key}/choose", json="12A")).status_code == 200
        async with asyncio.timeout(120):
            answers = await asyncio.gather(*(read_body(reader) for reader, _ in staying))
    assert set(answers) == {b'"12A"'}
    assert megabytes < 700, f"{megabytes} MB for {WAITING} who wait"
    for _, writer in staying:
        writer.close()


async def read_body(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


def test_a_call_whose_ingress_dies_is_repeated_with_its_idempotency_key(start: Callable[..., Ingress]) -> None:
    first, second, key = start(), start(), uuid4().hex
    headers = {"idempotency-key": key}
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(first.http.post, "/Greeter/slow", json=3_000, headers=headers)
        output = f"/restate/invocation/Greeter/slow/{key}/output"
        wait_until(lambda: second.http.get(output).status_code == 470, "the invocation runs")
        first.process.kill()
        with pytest.raises(httpx.HTTPError):
            call.result()
    answer = second.http.post("/Greeter/slow", json=3_000, headers=headers)
    assert answer.json() == "done"
    assert accepted(second.http.post("/Greeter/slow/send", json=1, headers=headers), "PreviouslyAccepted")


def test_sigterm_finishes_what_is_under_way(start: Callable[..., Ingress]) -> None:
    ingress, key = start("--drain-seconds", "20"), uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ingress.http.post, "/Greeter/slow", json=1_500, headers={"idempotency-key": key})
        with httpx.Client(base_url=ingress.http.base_url) as other:
            output = f"/restate/invocation/Greeter/slow/{key}/output"
            wait_until(lambda: other.get(output).status_code == 470, "the invocation runs")
        ingress.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refused(ingress.port), "no more connections are taken")
        answer = call.result()
    assert answer.json() == "done"
    assert answer.headers["connection"] == "close"
    assert ingress.process.wait(SECONDS) == 0


def test_sigterm_answers_what_takes_too_long(start: Callable[..., Ingress]) -> None:
    ingress, key = start("--drain-seconds", "0.3"), uuid4().hex
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(ingress.http.post, "/Greeter/slow", json=60_000, headers={"idempotency-key": key})
        with httpx.Client(base_url=ingress.http.base_url) as other:
            output = f"/restate/invocation/Greeter/slow/{key}/output"
            wait_until(lambda: other.get(output).status_code == 470, "the invocation runs")
        ingress.process.send_signal(signal.SIGTERM)
        answer = call.result()
    failed(answer, 503, "goes on")
    assert answer.headers["retry-after"] == "1"
    assert ingress.process.wait(SECONDS) == 0


def test_a_port_that_is_taken(place: Installation, start: Callable[..., Ingress]) -> None:
    ingress = start()
    second = place.run("ingress", "--port", str(ingress.port))
    assert second.returncode == 2
    assert f"cannot listen on 127.0.0.1:{ingress.port}" in second.stderr


def test_a_namespace_that_is_not_set_up(place: Installation) -> None:
    ended = place.run("ingress", "--port", "0", "--namespace", "nowhere")
    assert ended.returncode == 2
    assert "nowhere.replies" in ended.stderr


@pytest.mark.timeout(180)
def test_a_record_that_kafka_refuses_does_no_harm_to_others(place: Installation, start: Callable[..., Ingress]) -> None:
    """R2: the producer's session ends with it. What others have asked for is neither lost nor done twice."""
    ingress, prefix = start(), uuid4().hex
    topic = TopicNames(place.namespace).invocations("Counter")
    admin = KafkaAdmin(KafkaSettings(bootstrap=place.kafka))
    asyncio.run(admin.set_configs(topic, {"max.message.bytes": "20000"}))
    http = ingress.http

    def add(number: int) -> httpx.Response:
        return http.post(f"/Counter/{prefix}-{number % 5}/add", json=1, headers={"idempotency-key": str(number)})

    def too_large(_: int) -> httpx.Response:
        return http.post("/Counter/large/add", content=b"1" * 30_000, headers={"content-type": "application/json"})

    try:
        with ThreadPoolExecutor(12) as pool:
            adding = [pool.submit(add, number) for number in range(300)]
            refusals = list(pool.map(too_large, range(3)))
            answers = [one.result() for one in adding]
    finally:
        asyncio.run(admin.set_configs(topic, {"max.message.bytes": "1048588"}))
    for answer in refusals:
        failed(answer, 413, "Kafka will never take this record")
    assert {answer.status_code for answer in answers} == {200}
    totals = [http.post(f"/Counter/{prefix}-{n}/add", json=0).json() for n in range(5)]
    assert totals == [60] * 5


@pytest.mark.timeout(180)
def test_a_worker_that_is_away_is_waited_for(
    place: Installation, start: Callable[..., Ingress], barnabas_stack: Addresses
) -> None:
    """Calls wait for it, sends do not."""
    ingress = start()
    other = Installation(barnabas_stack, place.folder)
    assert other.run("topics", "apply", APP, "--partitions", "1").returncode == 0
    with other.process("worker", APP):
        pass  # it has registered its services, and is gone
    port = free_port()
    with (
        other.process("ingress", "--port", str(port)),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS) as http,
    ):
        id_ = accepted(http.post("/Greeter/greet/send", json="Bob"))
        with ThreadPoolExecutor(2) as pool:
            call = pool.submit(http.post, "/Greeter/greet", json="Ada")
            attached = pool.submit(http.get, f"/restate/attach/{id_}")
            failed(http.get(f"/restate/output/{id_}"), 470, "not completed")
            with other.process("worker", APP):
                assert call.result().json() == "Hello Ada"
                assert attached.result().json() == "Hello Bob"
    assert json.loads(ingress.http.get("/restate/health").text)["services"]


def refused(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/restate/health")
    except httpx.ConnectError:
        return True
    except httpx.HTTPError:
        return False
    return False
