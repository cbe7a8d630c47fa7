"""Where the time of an invocation goes in the worker's event loop: a profile of draining the object workload, by part.

    python -m bench.profile_worker [--count 50000] [--service noop|add]

cProfile about doubles the time of small functions, so the shares are what to read; the line `unprofiled` is a second
run without it, by which the shares are scaled to microseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import uuid
from collections import defaultdict

from barnabas.contract.topics import TopicNames
from bench.throughput import drain, prepare, produce

PARTS = {
    "decode records": ("contract/",),
    "intake: dedupe, accept": ("runtime/intake", "runtime/marks", "runtime/lanes"),
    "attempt, context, journal": ("runtime/attempt", "runtime/context", "runtime/futures", "runtime/journal"),
    "serdes": ("sdk/serde", "sdk/strict_json", "pydantic"),
    "handler call": ("sdk/handler", "bench/workload"),
    "shard: launch, finish": ("runtime/shard", "runtime/live", "runtime/state", "runtime/timers"),
    "ring entry": ("runtime/ring",),
    "seal the commit": ("runtime/sealing", "runtime/outbox"),
    "store client": ("store/", "redis/", "hiredis"),
    "driver": ("worker/",),
    "log client (loop side)": ("log/",),
}


def part_of(file: str, name: str) -> str:
    for part, places in PARTS.items():
        if any(place in file for place in places):
            return part
    if "msgpack" in name or "pack" in name:
        return "msgpack"
    return "event loop and built-ins"


async def run(bootstrap: str, service: str, handler: str, count: int, profiler: cProfile.Profile | None) -> float:
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    names = TopicNames(namespace)
    await prepare(bootstrap, names)
    produce(bootstrap, names, service, handler, count)
    if profiler is not None:
        profiler.enable()
    try:
        return await drain(namespace, count)
    finally:
        if profiler is not None:
            profiler.disable()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--service", choices=["noop", "add"], default="add")
    arguments = parser.parse_args()
    bootstrap = os.environ["BARNABAS_KAFKA"]
    target = ("Counter", "add") if arguments.service == "add" else ("Nothing", "noop")
    plain = asyncio.run(run(bootstrap, *target, arguments.count, None))
    profiler = cProfile.Profile()
    asyncio.run(run(bootstrap, *target, arguments.count, profiler))
    shares: dict[str, float] = defaultdict(float)
    stats = pstats.Stats(profiler)
    for (file, _, name), (_, _, own, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        if "select" not in name and "poll" not in name:
            shares[part_of(file, name)] += own
    total = sum(shares.values())
    per_invocation = plain / arguments.count * 1e6
    print(f"unprofiled: {arguments.count / plain:,.0f}/s, {per_invocation:.1f} us an invocation, wall time")
    for part, own in sorted(shares.items(), key=lambda item: -item[1]):
        print(f"{part:28} {own / total:6.1%}   {own / total * per_invocation:6.2f} us")
    stats.sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main()
