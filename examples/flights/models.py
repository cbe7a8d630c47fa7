"""What travels between the handlers of the flights demo, and what they keep.

Distances are statute miles, times minutes, delays minutes late (negative: early).
"""

from __future__ import annotations

from datetime import date
from zlib import crc32

from pydantic import BaseModel


class Flight(BaseModel):
    """One departure: the argument of `Plane.depart` and of `Carrier.rate`."""

    row: int  # where it stands in the file, from 1 on
    day: date
    plane: str  # tail number, the key of the Plane object
    carrier: str  # two letters or digits: "UA"
    number: int
    origin: str  # "EWR", "JFK" or "LGA", the keys of the Airport object
    destination: str
    distance: int
    delay: int
    air_time: int | None  # None for a flight that landed elsewhere


class Rating(BaseModel):
    """What `Carrier.rate` makes of a flight."""

    on_time: bool
    points: int


class Departure(BaseModel):
    """What a plane tells the airport it left."""

    carrier: str
    delay: int
    rating: Rating


class Totals(BaseModel):
    """What a plane has flown so far: its state, and the result of `Plane.depart`."""

    flights: int = 0
    distance: int = 0
    delay: int = 0
    air_time: int = 0
    on_time: int = 0
    points: int = 0
    last_row: int = 0
    chain: int = 0  # of all rows in the order in which they were counted, see `linked`


class CarrierTotals(BaseModel):
    """What one carrier's departures from one airport add up to: one value of an Airport's state."""

    departures: int = 0
    delay: int = 0
    on_time: int = 0
    points: int = 0


def linked(chain: int, row: int) -> int:
    """The chain with one more row at its end: two orders of the same rows end in two different numbers."""
    return crc32(row.to_bytes(4, "big"), chain)
