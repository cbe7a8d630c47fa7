"""Calls over HTTP to a handler that does nothing: Barnabas beside Restate on the same machine, in turns.

    python -m bench.http [--rounds 3] [--seconds 4] [--calls 300]

Restate is `@restatedev/restate-server` from npm with `restate-sdk` under hypercorn; Barnabas one worker and one ingress
process on Kafka and a store that writes through. One client process makes the requests to both, over connections that
stay open: one of them for the time of a single call, 64 for the rate.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import uvloop

from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import find_or_start
from bench.restate_server import free_port, restate_server
from bench.throughput import prepare

CONNECTIONS = 64
WARM_UP_SECONDS = 2.0
PATH = "/Nothing/noop"
RATE_BAR = 2.0
READY_SECONDS = 60.0


class Round(NamedTuple):
    """What one round has shown."""

    rate: float  # requests a second over 64 connections
    single: float  # ms, median of calls over one connection


class Connection(asyncio.Protocol):
    """One request after the other; `finished` gets how long each took, s."""

    def __init__(self, finished: list[float]) -> None:
        self._finished = finished
        self._request = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n".encode()
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._asked = 0.0
        self.stopping = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        self._ask()

    def _ask(self) -> None:
        assert self._transport is not None
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not _whole(self._received):
            return
        if not self._received.startswith(b"HTTP/1.1 200"):
            self.over.set_exception(RuntimeError(f"the answer was {self._received[:300]!r}"))
            return
        self._received = b""
        self._finished.append(time.perf_counter() - self._asked)
        if self.stopping:
            assert self._transport is not None
            self._transport.close()
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            if self.stopping:
                self.over.set_result(None)
            else:
                self.over.set_exception(exc or RuntimeError("the server has closed the connection"))


def _whole(received: bytes) -> bool:
    """Whether this is a whole answer; those of a no-op have no body, chunked or of length 0."""
    head, end, body = received.partition(b"\r\n\r\n")
    if not end:
        return False
    return b"transfer-encoding: chunked" not in head.lower() or body == b"0\r\n\r\n"


async def load(port: int, connections: int, seconds: float) -> list[float]:
    """Calls over so many connections for so long: the time of each, s."""
    loop, finished = asyncio.get_running_loop(), list[float]()
    open_ones = [
        (await loop.create_connection(lambda: Connection(finished), "127.0.0.1", port))[1] for _ in range(connections)
    ]
    overs = [one.over for one in open_ones]
    await asyncio.wait(overs, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    for one in open_ones:
        one.stopping = True
    await asyncio.gather(*overs)
    return finished


async def measure(port: int, seconds: float) -> Round:
    """One round: one connection, then 64."""
    single = await load(port, 1, seconds / 2)
    began = time.perf_counter()
    many = await load(port, CONNECTIONS, seconds)
    return Round(len(many) / (time.perf_counter() - began), statistics.median(single) * 1e3)


async def compare(ports: dict[str, int], rounds: int, seconds: float) -> dict[str, list[Round]]:
    """Rounds of both, in turns."""
    for port in ports.values():
        await _answering(port)
        await load(port, CONNECTIONS, WARM_UP_SECONDS)
    found: dict[str, list[Round]] = {name: [] for name in ports}
    for number in range(rounds):
        names = list(ports) if number % 2 == 0 else list(reversed(ports))
        for name in names:
            found[name].append(await measure(ports[name], seconds))
    return found


async def _answering(port: int) -> None:
    """Wait until calls are answered; a service may not be known at once."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            await load(port, 1, 0.05)
        except (OSError, RuntimeError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
        else:
            return


@contextmanager
def barnabas_doors(kafka: str, redis: str) -> Iterator[int]:
    """The port of an ingress, with a worker behind it."""
    namespace, port = f"bench-{uuid.uuid4().hex[:8]}", free_port()
    asyncio.run(prepare(kafka, TopicNames(namespace)))
    environment = os.environ | {
        "BARNABAS_KAFKA": kafka,
        "BARNABAS_REDIS": redis,
        "BARNABAS_NAMESPACE": namespace,
    }
    barnabas = [sys.executable, "-m", "barnabas.cli.main"]
    commands = [["worker", "bench.workload:app"], ["ingress", "--port", str(port)]]
    processes = [
        subprocess.Popen([*barnabas, *command, "--log-level", "warning"], env=environment, stdout=subprocess.PIPE)
        for command in commands
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            if not process.stdout.readline().startswith(b"ready"):
                raise RuntimeError(f"it did not become ready: {process.args!r}")
        yield port
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def report(found: dict[str, list[Round]]) -> list[str]:
    """Print medians; returns what misses its bar."""
    rates = {name: statistics.median(one.rate for one in rounds) for name, rounds in found.items()}
    singles = {name: statistics.median(one.single for one in rounds) for name, rounds in found.items()}
    for name, rounds in found.items():
        each = ", ".join(f"{one.rate:,.0f}/s {one.single:.2f} ms" for one in rounds)
        print(
            f"HTTP, {name:9} {rates[name]:7,.0f}/s over {CONNECTIONS}   p50 {singles[name]:5.2f} ms over 1   ({each})"
        )
    ratio = rates["Barnabas"] / rates["Restate"]
    print(f"HTTP, ratios    {ratio:7.2f} times the rate   {singles['Barnabas'] / singles['Restate']:5.2f} of the time")
    missed = []
    if ratio < RATE_BAR:
        missed.append(f"HTTP calls run at {ratio:.2f} of Restate's rate")
    if singles["Barnabas"] > singles["Restate"]:
        missed.append(f"an HTTP call takes {singles['Barnabas']:.2f} ms, on Restate {singles['Restate']:.2f}")
    return missed


def run(kafka: str, redis: str, *, rounds: int = 3, seconds: float = 4.0) -> list[str]:
    """Measure and report; returns what misses its bar."""
    with ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="barnabas-bench-")))
        ports = {
            "Restate": running.enter_context(restate_server(folder)),
            "Barnabas": running.enter_context(barnabas_doors(kafka, redis)),
        }
        return report(uvloop.run(compare(ports, rounds, seconds)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of load over 64 connections, each round")
    arguments = parser.parse_args()
    with find_or_start(Path(".barnabas/bench")) as servers:
        missed = run(servers.kafka, servers.redis, rounds=arguments.rounds, seconds=arguments.seconds)
    print("missed: " + "; ".join(missed) if missed else "all bars met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
