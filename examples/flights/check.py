"""Compares what the objects hold in the store with what the flights come to. Called by `demo` when all is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeVar

from pydantic import BaseModel

from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.store import keys
from barnabas.store.port import Shard
from barnabas.store.redis import RedisStore
from examples.flights.expected import Expected
from examples.flights.models import CarrierTotals, Totals

_KEYS_AT_ONCE = 500

M = TypeVar("M", bound=BaseModel)


async def read_states(
    store: RedisStore, service: str, partitions: int, names: Sequence[str]
) -> dict[str, dict[str, bytes]]:
    """The state of these keys of an object, as its handlers stored it. Raises StoreUnavailable."""
    states: dict[str, dict[str, bytes]] = {}
    remaining = iter(names)
    while chunk := list(islice(remaining, _KEYS_AT_ONCE)):
        shards = [Shard(service, partition_of(partition_hash(name.encode()), partitions)) for name in chunk]
        questions = [(shard, ("HGETALL", keys.state(name))) for shard, name in zip(shards, chunk, strict=True)]
        for name, values in zip(chunk, await store.read(questions), strict=True):
            states[name] = {field.decode(): value for field, value in values.items()}
    return states


def differences(
    expected: Expected, planes: Mapping[str, dict[str, bytes]], airports: Mapping[str, dict[str, bytes]]
) -> list[str]:
    """What is not as it must be, a line each; none if every total and every plane's order is right."""
    found: list[str] = []
    for tail_number, totals in expected.planes.items():
        found += _compared(f"Plane {tail_number}", {"totals": totals}, planes[tail_number], Totals)
    for code, carriers in expected.airports.items():
        found += _compared(f"Airport {code}", carriers, airports[code], CarrierTotals)
    return found


def _compared(where: str, wanted: Mapping[str, M], values: Mapping[str, bytes], kind: type[M]) -> Iterator[str]:
    for name in values.keys() - wanted.keys():
        yield f"{where}: has a value {name!r}, nothing of the sort was sent"
    for name, expected in wanted.items():
        value = values.get(name)
        if value is None:
            yield f"{where}: has no value {name!r}"
            continue
        actual = kind.model_validate_json(value)
        if actual != expected:
            yield f"{where}, {name}: {_fields(actual, expected)}"


def _fields(actual: M, expected: M) -> str:
    is_, must = actual.model_dump(), expected.model_dump()
    wrong = {name: (is_[name], must[name]) for name in must if is_[name] != must[name]}
    if wrong.keys() <= {"last_row", "chain"}:
        return "all flights are counted, but in another order than they were sent in"
    return ", ".join(f"{name} is {one:,} instead of {other:,}" for name, (one, other) in wrong.items())
