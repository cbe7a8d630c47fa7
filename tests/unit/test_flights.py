"""The flights demo's input, and the totals it is checked against."""

from __future__ import annotations

from datetime import date

import pytest

from examples.flights import data
from examples.flights.check import differences
from examples.flights.expected import Expected, compute
from examples.flights.models import CarrierTotals, Flight, Totals, linked


def flight(row: int, plane: str, **changes: object) -> Flight:
    fields: dict[str, object] = {
        "row": row,
        "day": date(2013, 1, 1),
        "plane": plane,
        "carrier": "UA",
        "number": 1545,
        "origin": "EWR",
        "destination": "IAH",
        "distance": 1400,
        "delay": 2,
        "air_time": 227,
    }
    return Flight.model_validate(fields | changes)


FLIGHTS = [
    flight(1, "N14228"),
    flight(2, "N24211", delay=15, origin="LGA", carrier="AA"),
    flight(4, "N14228", delay=140, distance=400, air_time=None),
    flight(7, "N14228", delay=-5, distance=301),
]


def stored(expected: Expected) -> tuple[dict[str, dict[str, bytes]], dict[str, dict[str, bytes]]]:
    """The states of planes and airports as they are in the store when everything is right."""
    planes = {name: {"totals": totals.model_dump_json().encode()} for name, totals in expected.planes.items()}
    airports = {
        name: {code: totals.model_dump_json().encode() for code, totals in carriers.items()}
        for name, carriers in expected.airports.items()
    }
    return planes, airports


def test_of_the_first_20000_rows_67_have_no_tail_number_and_178_no_departure_time() -> None:
    departures = data.load(20_000)
    assert (departures.rows, departures.without_tail_number, departures.without_departure) == (20_000, 67, 178)
    assert departures.left_out == 178
    assert len(departures.flights) == 20_000 - 178
    rows = [one.row for one in departures.flights]
    assert rows == sorted(rows)


def test_a_row_is_read_as_it_stands_in_the_file() -> None:
    [first] = data.load(1).flights
    assert first == flight(1, "N14228")


def test_every_carrier_has_a_name() -> None:
    names = data.carrier_names()
    assert names["UA"] == "United Air Lines Inc."
    assert {one.carrier for one in data.load(2_000).flights} <= names.keys()


def test_totals_of_a_few_flights_added_up_by_hand() -> None:
    expected = compute(FLIGHTS)
    chain = linked(linked(linked(0, 1), 4), 7)
    assert expected.planes == {
        "N14228": Totals(
            flights=3, distance=2101, delay=137, air_time=454, on_time=2, points=98 + 0 + 50, last_row=7, chain=chain
        ),
        "N24211": Totals(
            flights=1, distance=1400, delay=15, air_time=227, on_time=0, points=85, last_row=2, chain=linked(0, 2)
        ),
    }
    assert expected.airports == {
        "EWR": {"UA": CarrierTotals(departures=3, delay=137, on_time=2, points=148)},
        "LGA": {"AA": CarrierTotals(departures=1, delay=15, on_time=0, points=85)},
    }


def test_nothing_differs_when_the_store_holds_what_was_expected() -> None:
    expected = compute(FLIGHTS)
    assert differences(expected, *stored(expected)) == []


@pytest.mark.parametrize("field", Totals.model_fields)
def test_every_single_total_of_a_plane_is_compared(field: str) -> None:
    expected = compute(FLIGHTS)
    planes, airports = stored(expected)
    right = expected.planes["N14228"]
    planes["N14228"]["totals"] = right.model_copy(update={field: getattr(right, field) + 1}).model_dump_json().encode()
    [line] = differences(expected, planes, airports)
    assert line.startswith("Plane N14228, totals: ")


def test_flights_of_a_plane_counted_in_another_order_are_found() -> None:
    expected = compute(FLIGHTS)
    planes, airports = stored(compute([FLIGHTS[2], FLIGHTS[0], FLIGHTS[3], FLIGHTS[1]]))
    assert differences(expected, planes, airports) == [
        "Plane N14228, totals: all flights are counted, but in another order than they were sent in"
    ]


def test_lost_and_invented_values_are_found() -> None:
    expected = compute(FLIGHTS)
    planes, airports = stored(expected)
    planes["N24211"] = {}
    airports["LGA"]["ZZ"] = airports["LGA"].pop("AA")
    assert differences(expected, planes, airports) == [
        "Plane N24211: has no value 'totals'",
        "Airport LGA: has a value 'ZZ', nothing of the sort was sent",
        "Airport LGA: has no value 'AA'",
    ]


def test_a_double_count_is_named_with_both_figures() -> None:
    expected = compute(FLIGHTS)
    planes, airports = stored(expected)
    airports["EWR"]["UA"] = CarrierTotals(departures=4, delay=137, on_time=2, points=148).model_dump_json().encode()
    assert differences(expected, planes, airports) == ["Airport EWR, UA: departures is 4 instead of 3"]
