"""The demo's tables: the busiest planes, airports and carriers, and what the run came to. Prints, no other I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from examples.flights.data import Departures
from examples.flights.expected import Expected
from examples.flights.models import CarrierTotals, Totals

_TOP = 5


@dataclass(frozen=True, slots=True)
class Run:
    """What a run took."""

    services: int  # that ran one invocation for each flight
    seconds: float  # from the first flight sent to the last invocation done
    workers: int  # at a time
    killed_at: int | None  # invocations done when a worker was killed; None if none was


def show(console: Console, departures: Departures, totals: Expected, carriers: Mapping[str, str], run: Run) -> None:
    """Print the tables. `totals` are those that the check found right; `carriers` the names by code."""
    console.print(_planes(totals.planes))
    console.print(_airports(totals.airports))
    console.print(_carriers(totals.airports, carriers))
    console.print(_run(departures, totals, run))


def _planes(planes: Mapping[str, Totals]) -> Table:
    table = _table("Busiest planes", "plane", "flights", "miles", "minutes in the air", "minutes late", "points each")
    for name, totals in sorted(planes.items(), key=lambda item: -item[1].flights)[:_TOP]:
        table.add_row(
            name,
            f"{totals.flights:,}",
            f"{totals.distance:,}",
            f"{totals.air_time:,}",
            f"{totals.delay:,}",
            f"{totals.points / totals.flights:.0f}",
        )
    return table


def _airports(airports: Mapping[str, Mapping[str, CarrierTotals]]) -> Table:
    table = _table("Airports", "airport", "departures", "on time", "minutes late", "carriers")
    for name, carriers in sorted(airports.items()):
        total = _sum(*carriers.values())
        table.add_row(
            name,
            f"{total.departures:,}",
            _share(total),
            f"{total.delay / total.departures:.1f} each",
            str(len(carriers)),
        )
    return table


def _carriers(airports: Mapping[str, Mapping[str, CarrierTotals]], names: Mapping[str, str]) -> Table:
    parts: dict[str, list[CarrierTotals]] = defaultdict(list)
    for carriers in airports.values():
        for code, totals in carriers.items():
            parts[code].append(totals)
    table = _table("Busiest carriers", "carrier", "departures", "on time", "minutes late", "points each")
    sums = {code: _sum(*found) for code, found in parts.items()}
    for code, total in sorted(sums.items(), key=lambda item: -item[1].departures)[:_TOP]:
        table.add_row(
            names.get(code, code),
            f"{total.departures:,}",
            _share(total),
            f"{total.delay / total.departures:.1f} each",
            f"{total.points / total.departures:.0f}",
        )
    return table


def _run(departures: Departures, totals: Expected, run: Run) -> Table:
    flights = len(departures.flights)
    invocations = run.services * flights
    values = sum(map(len, totals.airports.values()))
    table = Table(title="The run", title_justify="left", title_style="bold", show_header=False)
    table.add_row(
        "rows",
        f"{departures.rows:,} read, {departures.left_out:,} left out: {departures.without_departure:,} without "
        f"departure time, {departures.without_tail_number:,} of these without tail number too",
    )
    table.add_row("invocations", f"{invocations:,}: {run.services} for each of {flights:,} flights")
    table.add_row("time", f"{run.seconds:.1f} s with {run.workers} workers")
    table.add_row("rate", f"{invocations / run.seconds:,.0f} invocations a second")
    if run.killed_at is not None:
        table.add_row("killed", f"one worker, with SIGKILL, after {run.killed_at:,} invocations; another was started")
    table.add_row(
        "checked",
        f"every total and the order of flights of {len(totals.planes):,} planes; "
        f"{values} carriers' totals at {len(totals.airports)} airports",
    )
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _sum(*parts: CarrierTotals) -> CarrierTotals:
    return CarrierTotals(
        departures=sum(part.departures for part in parts),
        delay=sum(part.delay for part in parts),
        on_time=sum(part.on_time for part in parts),
        points=sum(part.points for part in parts),
    )


def _share(total: CarrierTotals) -> str:
    return f"{total.on_time / total.departures:.0%}"
