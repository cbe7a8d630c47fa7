"""What the demo must come to, worked out from the flights alone: plain Python over lists, nothing of Barnabas.

It shares the rules' numbers with no handler on purpose: a mistake there must not be repeated here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from examples.flights.models import CarrierTotals, Flight, Totals, linked


@dataclass(frozen=True, slots=True)
class Expected:
    """Every total that the objects must have in the end."""

    planes: dict[str, Totals]  # by tail number
    airports: dict[str, dict[str, CarrierTotals]]  # by airport, then by carrier


def compute(flights: Sequence[Flight]) -> Expected:
    """The totals of these flights, in this order."""
    by_plane: dict[str, list[Flight]] = defaultdict(list)
    by_airport: dict[str, dict[str, list[Flight]]] = defaultdict(lambda: defaultdict(list))
    for flight in flights:
        by_plane[flight.plane].append(flight)
        by_airport[flight.origin][flight.carrier].append(flight)
    return Expected(
        planes={name: _of_plane(flown) for name, flown in by_plane.items()},
        airports={
            name: {code: _of_carrier(flown) for code, flown in carriers.items()}
            for name, carriers in by_airport.items()
        },
    )


def _of_plane(flown: Sequence[Flight]) -> Totals:
    rows = [flight.row for flight in flown]
    return Totals(
        flights=len(flown),
        distance=sum(flight.distance for flight in flown),
        delay=sum(flight.delay for flight in flown),
        air_time=sum(flight.air_time for flight in flown if flight.air_time is not None),
        on_time=_on_time(flown),
        points=sum(map(_points, flown)),
        last_row=rows[-1],
        chain=reduce(linked, rows, 0),
    )


def _of_carrier(flown: Sequence[Flight]) -> CarrierTotals:
    return CarrierTotals(
        departures=len(flown),
        delay=sum(flight.delay for flight in flown),
        on_time=_on_time(flown),
        points=sum(map(_points, flown)),
    )


def _on_time(flown: Sequence[Flight]) -> int:
    return len([flight for flight in flown if flight.delay <= 14])


def _points(flight: Flight) -> int:
    if flight.delay <= 0:
        points = 100
    elif flight.delay < 100:
        points = 100 - flight.delay
    else:
        points = 0
    return points if flight.distance >= 500 else points // 2
