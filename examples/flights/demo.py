"""The main job on real input: the departures of 2013 through two worker processes, with every result checked.

    python -m examples.flights.demo [--flights N|all] [--kill] [--keep]

`make demo` does the same. Finds the servers of BARNABAS_KAFKA and BARNABAS_REDIS or starts its own, works in a new
namespace, ends what it started. Exits with 0 only if every total is what the flights, added up directly, come to.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from barnabas.client.errors import KafkaUnreachable
from barnabas.devstack.errors import DevstackError
from barnabas.devstack.stack import Addresses, find_or_start
from barnabas.log.port import LogUnavailableError
from barnabas.store.port import StoreUnavailable
from examples.flights import data, expected, report
from examples.flights.job import Job, JobFailed
from examples.flights.namespace import Namespace
from examples.flights.workers import WorkerEnded
from rich.console import Console

DEFAULT_ROWS = 20_000
_SHOWN_DIFFERENCES = 20
_FAILURES = (
    data.NoFlights,
    DevstackError,
    JobFailed,
    KafkaUnreachable,
    LogUnavailableError,
    StoreUnavailable,
    WorkerEnded,
)


def main() -> int:
    """Run the demo with the arguments of the command line; returns the exit code."""
    arguments = _arguments()
    console = Console()
    _end_on_signals()
    try:
        with console.status("Reading the flights"):
            departures = data.load(arguments.flights)
        with find_or_start() as addresses:
            return asyncio.run(_run(console, addresses, departures, kill=arguments.kill, keep=arguments.keep))
    except KeyboardInterrupt:
        console.print("Interrupted; everything that was started has ended.")
        return 130
    except _FAILURES as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1


async def _run(
    console: Console, addresses: Addresses, departures: data.Departures, *, kill: bool, keep: bool
) -> int:
    logs = Path(tempfile.mkdtemp(prefix="barnabas-flights-"))
    namespace = Namespace(addresses)
    code: int | None = None
    try:
        await namespace.create()
        code = await _work_and_check(console, addresses, namespace, departures, logs, kill=kill)
    finally:
        if code:
            console.print(f"For a closer look: namespace {namespace.name} is kept, the workers' logs are in {logs}")
        else:
            shutil.rmtree(logs)
            if keep and code == 0:
                console.print(f"Kept: namespace {namespace.name}")
            else:
                await asyncio.to_thread(namespace.remove)
    return code
