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

from rich.console import Console

from barnabas.client.errors import KafkaUnreachable
from barnabas.devstack.errors import DevstackError
from barnabas.devstack.stack import Addresses, find_or_start
from barnabas.log.port import LogUnavailableError
from barnabas.store.port import StoreUnavailable
from examples.flights import data, expected, report
from examples.flights.job import Job, JobFailed
from examples.flights.namespace import Namespace
from examples.flights.workers import WorkerEnded

DEFAULT_ROWS = 20_000
_SHOWN_DIFFERENCES = 20
_FAILURES = (JobFailed, KafkaUnreachable, LogUnavailableError, StoreUnavailable, WorkerEnded)


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
    except (data.NoFlights, DevstackError) as error:
        return _failed(console, error)


async def _run(console: Console, addresses: Addresses, departures: data.Departures, *, kill: bool, keep: bool) -> int:
    namespace = Namespace(addresses)
    logs = Path(tempfile.mkdtemp(prefix="barnabas-flights-"))
    try:
        await namespace.create()
        await _work_and_check(console, addresses, namespace, departures, logs, kill=kill)
    except _FAILURES as error:
        keep = True
        return _failed(console, error)
    finally:
        if keep:
            console.print(
                f"Kept: namespace {namespace.name}, and the workers' logs in {logs}", soft_wrap=True, highlight=False
            )
        else:
            shutil.rmtree(logs)
            await asyncio.to_thread(namespace.remove)
    return 0


async def _work_and_check(
    console: Console, addresses: Addresses, namespace: Namespace, departures: data.Departures, logs: Path, *, kill: bool
) -> None:
    """Raises JobFailed if any total is wrong."""
    job = Job(console, addresses, namespace, await namespace.partitions(), departures.flights, kill=kill)
    try:
        run = await job.run(logs)
        wanted = expected.compute(departures.flights)
        wrong = await job.differences(wanted)
    finally:
        await job.aclose()
    if wrong:
        more = [f"... and {len(wrong) - _SHOWN_DIFFERENCES:,} more"] if len(wrong) > _SHOWN_DIFFERENCES else []
        raise JobFailed("\n".join(["The results are wrong.", *wrong[:_SHOWN_DIFFERENCES], *more]))
    report.show(console, departures, wanted, data.carrier_names(), run)
    console.print("Every total and every plane's order is right.", style="green")


def _failed(console: Console, error: Exception) -> int:
    console.print(str(error), style="red", markup=False, highlight=False)
    return 1


def _end_on_signals() -> None:
    """Ctrl-C, a closed terminal and `kill` all end the demo in the same orderly way."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.flights.demo", description="Every result is checked.")
    parser.add_argument(
        "--flights",
        type=_rows,
        default=DEFAULT_ROWS,
        metavar="N|all",
        help=f"rows of the file to take, {DEFAULT_ROWS:,} by default; all are {data.ROWS:,}",
    )
    parser.add_argument("--kill", action="store_true", help="kill a worker with SIGKILL halfway, and start another")
    parser.add_argument("--keep", action="store_true", help="leave the namespace on the servers, to look around in it")
    return parser.parse_args()


def _rows(text: str) -> int | None:
    if text == "all":
        return None
    number = int(text)
    if number < 1:
        raise ValueError
    return number


if __name__ == "__main__":
    sys.exit(main())
