"""The demo's job: two workers, all flights through them, and every result read back. Called by `demo`.

The job touches its own namespace on the servers, and the worker processes that it starts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from barnabas import Client
from barnabas.contract.topics import TopicNames
from barnabas.devstack.stack import Addresses
from barnabas.store.redis import RedisStore
from examples.flights.app import airport, app, depart, plane
from examples.flights.check import differences, read_states
from examples.flights.expected import Expected
from examples.flights.models import Flight
from examples.flights.namespace import Namespace
from examples.flights.report import Run
from examples.flights.watch import Standing, Watch
from examples.flights.workers import Workers

WORKERS = 2
#: A killed worker's shards move after 6 s; ten times that without any progress is no longer a pause.
STALL_SECONDS = 60.0
LOOK_SECONDS = 0.25
#: With few flights, half of the work is over quickly.
KILL_LOOK_SECONDS = 0.02
_SENDS_AT_ONCE = 2_000


class JobFailed(Exception):
    """What had to happen did not; the message says what."""


class Job:
    """One run of the flights in a namespace that has its topics. `kill`: one worker dies halfway."""

    def __init__(
        self,
        console: Console,
        addresses: Addresses,
        namespace: Namespace,
        partitions: Mapping[str, int],
        flights: list[Flight],
        *,
        kill: bool,
    ) -> None:
        self._console = console
        self._addresses = addresses
        self._namespace = namespace
        self._flights = flights
        self._kill = kill
        self._killed_at: int | None = None
        self._invocations = len(app.services) * len(flights)
        self._partitions = partitions
        self._store = RedisStore(addresses.redis, namespace.name)
        self._watch = Watch(self._store, namespace.admin, TopicNames(namespace.name), partitions)

    async def run(self, logs: Path) -> Run:
        """Have the workers do everything; returns when nothing is left to do and they have ended.

        Raises JobFailed, WorkerEnded, KafkaUnreachable, LogUnavailableError, StoreUnavailable.
        """
        async with Workers(self._addresses, self._namespace.name, logs) as workers:
            with self._console.status(f"Starting {WORKERS} workers"):
                for _ in range(WORKERS):
                    await workers.start()
                await self._until_shared(workers)
            self._console.print(
                f"{WORKERS} workers share the work in namespace {self._namespace.name}", highlight=False
            )
            seconds = await self._process(workers)
        return Run(len(app.services), seconds, WORKERS, self._killed_at)

    async def differences(self, expected: Expected) -> list[str]:
        """What the objects hold in the store and should not, or lack; a line each. Raises StoreUnavailable."""
        planes = await self._read(plane.name, expected.planes)
        airports = await self._read(airport.name, expected.airports)
        return differences(expected, planes, airports)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._store.aclose()

    async def _read(self, service: str, names: Mapping[str, object]) -> dict[str, dict[str, bytes]]:
        return await read_states(self._store, service, self._partitions[service], list(names))

    async def _until_shared(self, workers: Workers) -> None:
        """Wait until every shard has an owner, and every worker owns some."""
        deadline = time.monotonic() + STALL_SECONDS
        while time.monotonic() < deadline:
            workers.check()
            standings = await self._watch.look()
            owners = set[str]().union(*(standing.owners for standing in standings.values()))
            if "" not in owners and len(owners) == WORKERS:
                return
            await asyncio.sleep(LOOK_SECONDS)
        raise JobFailed(f"The workers have not divided the shards among them within {STALL_SECONDS:.0f} s.")

    async def _process(self, workers: Workers) -> float:
        """Send all flights and wait until nothing is left to do; returns the seconds that took."""
        began = time.monotonic()
        sending = asyncio.create_task(self._send())
        try:
            await self._until_settled(workers, sending)
        finally:
            sending.cancel()
            await asyncio.wait([sending])  # nothing may be sent any more when the workers end
        return time.monotonic() - began

    async def _send(self) -> None:
        remaining = iter(self._flights)
        async with Client(self._addresses.kafka, self._namespace.name) as client:
            while chunk := list(islice(remaining, _SENDS_AT_ONCE)):
                # Sends to one plane keep the order in which they are gathered.
                await asyncio.gather(*(client.object_send(depart, flight.plane, flight) for flight in chunk))

    async def _until_settled(self, workers: Workers, sending: asyncio.Task[None]) -> None:
        best, moved = 0, time.monotonic()
        with self._progress_bar() as bar:
            standings, done = await self._look(bar)
            while not await self._is_settled(sending, standings):
                if done > best:
                    best, moved = done, time.monotonic()
                if time.monotonic() - moved > STALL_SECONDS:
                    raise JobFailed(f"Nothing more was done for {STALL_SECONDS:.0f} s. {standings}")
                workers.check()
                to_kill = self._kill and self._killed_at is None
                if to_kill and 2 * done >= self._invocations:
                    await self._replace_one(workers, done)
                await asyncio.sleep(KILL_LOOK_SECONDS if to_kill else LOOK_SECONDS)
                standings, done = await self._look(bar)
        if self._kill and self._killed_at is None:
            raise JobFailed("Everything was done before a worker could be killed halfway; give it more flights.")

    async def _look(self, bar: Progress) -> tuple[dict[str, Standing], int]:
        """Where the services stand, and how many invocations are done; moves the bar."""
        standings = await self._watch.look()
        each = {service: min(one.done, len(self._flights)) for service, one in standings.items()}
        done = sum(each.values())
        bar.update(bar.task_ids[0], completed=done, each=" · ".join(f"{name} {n:,}" for name, n in each.items()))
        return standings, done

    async def _is_settled(self, sending: asyncio.Task[None], standings: Mapping[str, Standing]) -> bool:
        if not sending.done():
            return False
        sending.result()  # raises what ended it
        return all(one.is_quiet for one in standings.values()) and await self._watch.is_settled()

    async def _replace_one(self, workers: Workers, done: int) -> None:
        killed = await workers.kill()
        self._killed_at = done
        started = await workers.start()
        self._console.print(
            f"Worker process {killed} killed with SIGKILL after {done:,} invocations; {started} started in its place.",
            highlight=False,
        )

    def _progress_bar(self) -> Progress:
        columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.fields[each]}"))
        bar = Progress(*columns, console=self._console)
        bar.add_task("", total=self._invocations, each="")
        return bar
