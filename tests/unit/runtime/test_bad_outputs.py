"""F55: whatever a handler makes of its output, its caller hears of it and its key is free for the next one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import BaseModel

import barnabas
from barnabas import ObjectContext, VirtualObject
from barnabas.contract.records import Failure
from barnabas.serde import AvroSerde, Serde
from tests.unit.runtime.harness import Bench


class Price(BaseModel):
    value: float


class Broken(Serde[Any]):
    def serialize(self, obj: Any) -> bytes:
        raise RuntimeError("a serde of the user's")

    def deserialize(self, buf: bytes) -> Any:
        return None


def bench_of(returned: Any, **options: Any) -> Bench:
    box = VirtualObject("Box")

    @box.handler(**options)
    async def give(ctx: ObjectContext) -> Any:
        return returned

    @box.handler()
    async def next_one(ctx: ObjectContext) -> str:
        return "free"

    return Bench(box)


@pytest.mark.parametrize(
    ("returned", "options"),
    [
        (object(), {}),
        ({"at": [1, object()]}, {}),
        (math.nan, {}),
        (Price(value=math.inf), {}),
        ("\ud800", {}),
        ({"\udfff": 1}, {}),
        (b"bytes", {}),
        (1, {"output_serde": Broken()}),
        ("text", {"output_serde": AvroSerde("long")}),
    ],
    ids=["object", "object within", "nan", "infinity", "surrogate", "surrogate key", "bytes", "broken serde", "long"],
)
def test_an_output_that_cannot_be_sent_is_a_terminal_failure(returned: Any, options: dict[str, Any]) -> None:
    bench = bench_of(returned, **options)
    one, two = bench.call("give", key="k"), bench.call("next_one", key="k")
    failure = bench.replies[one]
    assert isinstance(failure, Failure)
    assert failure.code == 500
    assert "Box/give" in failure.message
    assert bench.replies[two] == "free"


def test_an_output_that_is_too_large_is_a_terminal_failure() -> None:
    bench = bench_of("x" * 50_000_000)
    one, two = bench.call("give", key="k"), bench.call("next_one", key="k")
    failure = bench.replies[one]
    assert isinstance(failure, Failure)
    assert "50000002 bytes" in failure.message
    assert bench.replies[two] == "free"


def test_an_error_with_surrogates_or_nonsense_travels_as_text() -> None:
    box = VirtualObject("Box")

    @box.handler()
    async def give(ctx: ObjectContext) -> None:
        raise barnabas.TerminalError("bad \ud800", status_code=5, metadata={"\udc00": 1})  # type: ignore[dict-item]

    bench = Bench(box)
    one = bench.call("give", key="k")
    failure = bench.replies[one]
    assert isinstance(failure, Failure)
    assert (failure.code, failure.message, failure.metadata) == (500, "bad ?", {"?": "1"})
