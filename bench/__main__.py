"""`make bench`: throughput, latency, calls between handlers beside their bare loops, the flights, HTTP beside Restate.

On servers of their own if need be.

Exits with 1 if a figure misses its bar: 0.3 of the bare loop for throughput, 2.5 times the bare hops for a call from
outside, 1.5 times hops and commits for one between handlers, 4,000 a second for the flights; over HTTP twice
Restate's rate, and no longer a time.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import uvloop

from barnabas.devstack.stack import find_or_start
from bench import handler_calls, http, latency, throughput

FLIGHTS = 20_000


def flights() -> float:
    """Invocations a second of the demo with two workers, as it prints them."""
    command = [sys.executable, "-m", "examples.flights.demo", "--flights", str(FLIGHTS)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.search(r"([\d,]+) invocations a second", printed)
    if found is None:
        raise RuntimeError(f"the demo has not printed its rate:\n{printed}")
    return float(found[1].replace(",", ""))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--handler-calls", type=int, default=100)
    arguments = parser.parse_args()
    with find_or_start(Path(".barnabas/bench")) as servers:
        os.environ["BARNABAS_KAFKA"], os.environ["BARNABAS_REDIS"] = servers.kafka, servers.redis
        rates = throughput.compare(servers.kafka, servers.redis, arguments.count)
        throughput.report(rates)
        ratios = latency.report(uvloop.run(latency.compare(servers.kafka, servers.redis, arguments.calls)))
        between = handler_calls.report(
            uvloop.run(handler_calls.compare(servers.kafka, servers.redis, arguments.handler_calls))
        )
        rate = flights()
        print(f"flights, two workers  {rate:9,.0f}/s   (plane, airport and carrier counted)")
        missed_by_http = http.run(servers.kafka, servers.redis)
    missed = [
        f"{name} is {rates[name] / rates['bare']:.2f} of the bare loop"
        for name in ("noop", "add")
        if rates[name] < 0.3 * rates["bare"]
    ]
    missed += [
        f"a call ({name}) is {ratios[name]:.2f} times the bare hops"
        for name in ("service", "object")
        if ratios[name] > 2.5
    ]
    missed += [
        f"a call between handlers ({name}) is {between[name]:.2f} times hops and commits"
        for name in ("service", "object")
        if between[name] > handler_calls.BAR
    ]
    missed += [f"the flights run at {rate:,.0f}/s"] if rate < 4_000 else []
    missed += missed_by_http
    print("missed: " + "; ".join(missed) if missed else "all bars met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
