"""Whatever a handler does with its durable futures, and in whatever order results arrive: a replay does it again.

Random programs of commands, waits, combinators and caught cancellations run against random arrivals, by hand or as a
task. The journal that comes of it, played again in either way, gives the identical outcome and no further command.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import barnabas as restate
from barnabas import TerminalError
from barnabas.contract.ids import InvocationId
from barnabas.runtime import journal as j
from barnabas.runtime.attempt import Finished
from tests.unit.runtime.attempts import CANCELLED, OTHER, FakeHost, Run, TaskRun

OTHER_TEXT = str(InvocationId(OTHER))
KINDS = ("call", "sleep", "step", "awakeable", "signal a", "signal b", "attach", "promise", "time")
COMBINATORS = ("gather", "select", "as_completed", "wait_completed", "nested")

Program = list[list[Any]]

picks = st.lists(st.integers(0, 20), min_size=1, max_size=4)
statements = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(KINDS)),
    st.tuples(st.just("start"), st.sampled_from(KINDS)),
    st.tuples(st.just("await"), st.integers(0, 20)),
    st.tuples(st.just("send"), st.none()),
    st.tuples(st.just("look"), st.integers(0, 20)),
    st.tuples(st.sampled_from(COMBINATORS), picks),
)
programs = st.lists(statements.map(list), min_size=1, max_size=14)


def start(ctx: Any, kind: str) -> Any:
    match kind:
        case "call":
            return ctx.generic_call("Other", "add", b"1")
        case "sleep":
            return ctx.sleep(timedelta(hours=1))
        case "step":
            return ctx.run_typed("s", int)
        case "awakeable":
            return ctx.awakeable()[1]
        case "signal a" | "signal b":
            return ctx.signal(kind[-1])
        case "attach":
            return ctx.attach_invocation(OTHER_TEXT)
        case "promise":
            return ctx.promise("p").value()
    return ctx.time()


def plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


async def value_of(future: Any) -> Any:
    try:
        return plain(await future)
    except TerminalError as error:
        return f"{error.status_code} {error.message}"


async def combine(kind: str, futures: list[Any], names: list[int]) -> Any:
    """What the handler can see of a combinator's outcome, futures by their names."""

    def name_of(future: Any) -> int:
        return next(name for name, one in zip(names, futures, strict=True) if one is future)

    if kind == "gather":
        return [name_of(one) for one in await restate.gather(*futures)]
    if kind == "select":
        name, value = await restate.select(**{f"f{name}": one for name, one in zip(names, futures, strict=True)})
        return [name, plain(value)]
    if kind == "as_completed":
        return [name_of(one) async for one in restate.as_completed(*futures)]
    if kind == "wait_completed":
        return [[name_of(one) for one in part] for part in await restate.wait_completed(*futures)]
    half = len(futures) // 2
    name, _ = (
        await restate.select(
            all=restate.gather(*futures[half:]), some=restate.wait_completed(*futures[:half]), one=futures[0]
        )
        if half
        else await restate.select(all=restate.gather(*futures))
    )
    return name


def handler_for(program: Program) -> Any:
    async def run(ctx: Any) -> Any:
        futures: list[Any] = []
        seen: list[Any] = []
        for what, arg in program:
            if what == "start":
                futures.append(start(ctx, arg))
            elif what == "send":
                ctx.generic_send("Other", "add", b"2")
            elif not futures:
                continue
            elif what == "await":
                seen.append(await value_of(futures[arg % len(futures)]))
            elif what == "look":
                seen.append(futures[arg % len(futures)].is_completed())
            else:
                names = sorted({pick % len(futures) for pick in arg}, reverse=True)
                try:
                    seen.append(await combine(what, [futures[name] for name in names], names))
                except TerminalError as error:
                    seen.append(f"{error.status_code} {error.message}")
        return seen

    return run


def arrivals(run: Run, random: Random) -> list[j.Entry]:
    """What may come next: results of what is open, early or superfluous ones, signals, now and then a cancellation."""
    n = random.randrange(100)
    found: list[j.Entry] = []
    for position, command in enumerate(run.commands, 1):
        owner = j.answered_by(command)
        if command[0] in (j.RUN, j.SLEEP) or owner is not None:
            if any(one[:3] == [kind, position, owner] for one in run.journal for kind in (j.RESULT, j.FAILURE)):
                continue
            if command[0] in (j.RUN, j.CALL, j.ATTACH) and random.random() < 0.3:
                found.append([j.FAILURE, position, owner, 400 + n, "no", {}])
            else:
                found.append([j.RESULT, position, owner, b"" if command[0] == j.SLEEP else b"%d" % n])
    found += [[j.RESULT, name, j.OF_SIGNAL, b"%d" % n] for name in ("a", "b") if random.random() < 0.5]
    if random.random() < 0.3:
        found.append([j.RESULT, random.randrange(1, len(run.commands) + 5), j.OF_AWAKEABLE, b"%d" % n])
    if random.random() < 0.25:
        found.append(list(CANCELLED))
    random.shuffle(found)
    return found


def batch(run: Run, random: Random) -> list[j.Entry]:
    entries = arrivals(run, random)[: random.choice((1, 1, 1, 2, 3))]
    return entries or [list(CANCELLED)]  # nothing else would ever wake it up


def by_hand(program: Program, seed: int) -> Run:
    random = Random(seed)
    run = Run(handler_for(program), kind="workflow")
    while run.outcome is None:
        run.put(*batch(run, random))
    return run


async def in_a_task(program: Program, seed: int) -> Run:
    random = Random(seed)
    run = TaskRun(handler_for(program), kind="workflow")
    await run.idle()
    while run.outcome is None:
        run.put(*batch(run, random))
        if random.random() < 0.5:
            await run.pass_turns()  # else the next ones come while the handler is still on its way
        if run.outcome is None and random.random() < 0.7:
            await run.idle()
        if run.host.over:
            run.outcome = run.host.over[-1]
    return run


def check(made: Run, again: Run) -> None:
    assert isinstance(made.outcome, Finished), made.outcome
    assert made.outcome.failure is None, made.outcome
    assert again.outcome == made.outcome
    assert again.journal == made.journal
    assert again.host.asked == []


async def play_again(made: Run) -> None:
    """The journal from its beginning, by hand and as a task, whole and cut off somewhere."""
    check(made, Run(made.fn, made.journal, kind="workflow"))
    check(made, await TaskRun(made.fn, made.journal, kind="workflow").idle())


CHECKED = settings(
    max_examples=int(os.environ.get("BARNABAS_EXAMPLES", "150")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@CHECKED
@given(program=programs, seed=st.integers(0, 2**32))
def test_what_ran_by_hand_is_repeated(program: Program, seed: int) -> None:
    made = by_hand(program, seed)
    asyncio.run(play_again(made))


@CHECKED
@given(program=programs, seed=st.integers(0, 2**32))
def test_what_ran_as_a_task_is_repeated(program: Program, seed: int) -> None:
    async def both() -> None:
        await play_again(await in_a_task(program, seed))

    asyncio.run(both())


@CHECKED
@given(program=programs, seed=st.integers(0, 2**32), cut=st.integers(0, 60), other=st.integers(0, 2**32))
def test_an_attempt_that_goes_on_from_the_middle_can_be_repeated_too(
    program: Program, seed: int, cut: int, other: int
) -> None:
    """What was committed of a journal, and then other arrivals than in the attempt that died."""
    died = by_hand(program, seed)
    random = Random(other)
    host = FakeHost()
    run = Run(died.fn, died.journal[:cut], kind="workflow", host=host)
    while run.outcome is None:
        run.put(*batch(run, random))
    asyncio.run(play_again(run))


# -- F50

PROGRAMS: list[Program] = [
    [["start", "call"], ["start", "signal a"], ["start", "sleep"], ["select", [0, 1, 2]], ["as_completed", [0, 1, 2]]],
    [["start", "awakeable"], ["start", "step"], ["wait_completed", [0, 1]], ["nested", [0, 1]], ["gather", [0, 1]]],
    [["start", kind] for kind in KINDS] + [["as_completed", list(range(8))], ["gather", list(range(8))]],
]


def replay_all(text: str) -> list[Any]:
    """Outcomes of the recorded journals; the other process calls this."""
    outcomes = []
    for program, packed in json.loads(text):
        run = Run(handler_for(program), [j.unpack_entry(bytes.fromhex(one)) for one in packed], kind="workflow")
        assert isinstance(run.outcome, Finished), run.outcome
        assert run.host.asked == []
        outcomes.append((run.outcome.result or b"").decode())
    return outcomes


@pytest.mark.parametrize("hash_seed", ["1", "4711"])
def test_another_hash_seed_changes_nothing(hash_seed: str) -> None:
    """F50."""
    made = [by_hand(program, seed) for program in PROGRAMS for seed in range(5)]
    sources = [program for program in PROGRAMS for _ in range(5)]
    text = json.dumps(
        [[program, [j.pack_entry(e).hex() for e in run.journal]] for program, run in zip(sources, made, strict=True)]
    )
    code = (
        "import sys, json; from tests.unit.runtime.test_attempts_property import replay_all; "
        "print(json.dumps(replay_all(sys.stdin.read())))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[3], env={**os.environ, "PYTHONHASHSEED": hash_seed},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [(run.value or b"").decode() for run in made]
