"""One attempt in the hands of a test: a host that writes down what it is asked for, and a journal that the test feeds.

`Run` begins a handler by hand; `TaskRun` as a task of the running loop. Both take notifications as the shard would
journal them, and begin again with any part of the journal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from barnabas import Service, VirtualObject, Workflow
from barnabas.contract.ids import child_id
from barnabas.contract.records import Failure
from barnabas.runtime import journal as j
from barnabas.runtime.attempt import Attempt, Crashed, Finished, Outcome
from barnabas.runtime.context import InvocationContext
from barnabas.runtime.live import Live, Step
from barnabas.sdk.errors import TerminalError

NOW = 1_000_000
ID = bytes(child_id(b"x" * 24, 1, "Svc", "run", None, b""))
OTHER = bytes(child_id(b"y" * 24, 1, "Other", "add", None, b""))


class FakeHost:
    """Does nothing but remember: what was asked for stands in `asked`, in order."""

    def __init__(self) -> None:
        self.now = NOW
        self.asked: list[tuple[Any, ...]] = []
        self.steps: list[Step] = []
        self.kinds: dict[str, str] = {}
        self.unknown: set[Any] = set()
        self.promises: dict[str, list[Any]] = {}
        self.over: list[Outcome | None] = []
        self.state: dict[str, bytes] = {}

    def wake(self) -> None: ...

    def journaling(self, live: Live, quiet: bool) -> None: ...

    def message(
        self,
        live: Live,
        issued: j.Entry,
        position: int,
        payload: bytes,
        headers: dict[str, str] | None,
        due: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        self.asked.append(("message", list(issued), position, payload, headers, due, idempotency_key))

    def start_step(self, step: Step) -> None:
        self.steps.append(step)

    def arm_sleep(self, live: Live, position: int, due: int) -> None:
        self.asked.append(("sleep", position, due))

    def check_target(self, service: str, handler: str, keyed: bool, payload: bytes) -> str:
        if service in self.unknown:
            raise LookupError(f"no service '{service}' is registered")
        return self.kinds.get(f"{service}/{handler}", "service")

    def check_known(self, id_: bytes) -> None:
        if bytes(id_) in self.unknown:
            raise LookupError("no service fits the id")

    def attach(self, live: Live, position: int, id_: bytes) -> None:
        self.asked.append(("attach", position, bytes(id_)))

    def cancel(self, live: Live, id_: bytes) -> None:
        self.asked.append(("cancel", bytes(id_)))

    def resolve(
        self,
        live: Live,
        id_: bytes,
        position: int | None,
        name: str | None,
        result: bytes | None,
        failure: Failure | None,
    ) -> None:
        self.asked.append(("resolve", bytes(id_), position, name, result, failure))

    def promise(self, live: Live, position: int, name: str) -> None:
        self.asked.append(("promise", position, name))
        found = self.promises.get(name)
        if found is not None:
            kind = j.RESULT if len(found) == 1 else j.FAILURE
            live.journal.append([kind, position, j.OF_PROMISE, *found])

    def peek(self, live: Live, name: str) -> list[Any] | None:
        self.asked.append(("peek", name))
        return self.promises.get(name)

    def complete_promise(self, live: Live, name: str, result: bytes | None, failure: Failure | None) -> bool:
        self.asked.append(("complete", name))
        if name in self.promises:
            return False
        self.promises[name] = [result] if failure is None else [failure.code, failure.message, failure.metadata]
        return True

    def check_size(self, value: bytes, what: str) -> None:
        if len(value) > 1000:
            raise TerminalError(f"{what} has {len(value)} bytes", 413)

    def state_of(self, key: str) -> dict[str, bytes]:
        return self.state

    def set_state(self, live: Live, name: str, value: bytes | None) -> None:
        self.asked.append(("set", name, value))

    def clear_state(self, live: Live) -> None:
        self.asked.append(("clear",))

    def task_over(self, live: Live, attempt: Attempt, outcome: Outcome | None) -> None:
        self.over.append(outcome)


def handler_of(fn: Callable[..., Any], kind: str) -> Any:
    made: Any
    if kind == "workflow":
        made = Workflow("Svc")
        made.main(name="run")(fn)
    else:
        made = Service("Svc") if kind == "service" else VirtualObject("Svc")
        made.handler(name="run")(fn)
    return made.handlers["run"]


class Run:
    """A handler, its journal, and what came of it."""

    as_task = False

    def __init__(
        self,
        fn: Callable[..., Any],
        journal: list[j.Entry] | None = None,
        *,
        kind: str = "service",
        headers: dict[str, str] | None = None,
        host: FakeHost | None = None,
    ) -> None:
        self.fn = fn
        self.kind = kind
        self.host = host or FakeHost()
        self.headers = headers
        handler = handler_of(fn, kind)
        handler.needs_task = self.as_task
        key = None if kind == "service" else "a"
        self.live = Live(ID, "Svc", "run", key, kind == "object", 0, NOW)
        self.live.headers = headers or {}
        self.live.journal = [list(entry) for entry in journal or []]
        self.attempt = Attempt(self.host, self.live, handler, InvocationContext)
        self.outcome: Outcome | None = self.attempt.begin()

    @property
    def journal(self) -> list[j.Entry]:
        return self.live.journal

    @property
    def commands(self) -> list[j.Entry]:
        """Without the times when they were journaled, which are no part of what was done."""
        commands = [entry for entry in self.journal if entry[0] < j.FIRST_NOTIFICATION]
        assert all(isinstance(j.appended_at(entry), int) for entry in commands)
        return [entry[:-1] for entry in commands]

    def put(self, *entries: j.Entry) -> None:
        """Journal these notifications at once, and let the handler go on."""
        assert self.outcome is None, f"the handler is over: {self.outcome}"
        self.journal.extend(list(entry) for entry in entries)
        self.outcome = self.attempt.deliver()

    def result(self, position: int, raw: bytes = b"1") -> j.Entry:
        """What the command at this position is answered with."""
        return [j.RESULT, position, self.owner(position), raw]

    def failure(self, position: int, code: int = 400, message: str = "no") -> j.Entry:
        return [j.FAILURE, position, self.owner(position), code, message, {}]

    def owner(self, position: int) -> bytes | None:
        return j.answered_by(self.commands[position - 1])

    @property
    def value(self) -> bytes | None:
        """The handler's result, as JSON."""
        assert isinstance(self.outcome, Finished), self.outcome
        assert self.outcome.failure is None, self.outcome
        return self.outcome.result

    @property
    def failed(self) -> tuple[int, str]:
        assert isinstance(self.outcome, Finished), self.outcome
        assert self.outcome.failure is not None, self.outcome
        return self.outcome.failure.code, self.outcome.failure.message

    @property
    def crashed(self) -> BaseException:
        assert isinstance(self.outcome, Crashed), self.outcome
        return self.outcome.error

    def again(self, upto: int | None = None) -> Run:
        """The handler from its beginning, with the journal (or the beginning of it) as it is."""
        host = FakeHost()
        host.kinds, host.promises, host.state = self.host.kinds, dict(self.host.promises), self.host.state
        return type(self)(self.fn, self.journal[:upto], kind=self.kind, headers=self.headers, host=host)


class TaskRun(Run):
    """As `Run`, the handler being a task from its beginning. After each step: `await run.idle()`."""

    as_task = True

    async def idle(self) -> TaskRun:
        """Until the handler waits durably, or is over."""
        calm = 0
        while calm < 20 and not self.host.over:
            await asyncio.sleep(0)
            calm = 0 if self.attempt.running_code else calm + 1
        if self.host.over:
            self.outcome = self.host.over[-1]
        return self

    async def turns_until(self, condition: Callable[[], bool]) -> None:
        """Turns of the loop, no more of them than it takes."""
        for _ in range(1000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it never came")

    async def pass_turns(self) -> None:
        """While the handler waits for something foreign, which `idle` would wait for too."""
        for _ in range(30):
            await asyncio.sleep(0)


CANCELLED: j.Entry = [j.CANCELLED, 0, None]


def signal(name: str, raw: bytes) -> j.Entry:
    return [j.RESULT, name, j.OF_SIGNAL, raw]


def check_replays(run: Run) -> None:
    """Whatever part of the journal an attempt begins with, it comes to the same commands and the same outcome.

    For journals whose notifications were put one by one.
    """
    whole = run.again()
    assert whole.outcome == run.outcome
    assert whole.journal == run.journal
    assert whole.host.asked == []
    assert {step.position for step in whole.host.steps} <= {
        position
        for position, command in enumerate(run.commands, 1)
        if command[0] == j.RUN and position not in j.answered_steps(run.journal)
    }
    for upto in range(len(run.journal)):
        part = run.again(upto)
        for entry in run.journal[upto:]:
            if entry[0] >= j.FIRST_NOTIFICATION and part.outcome is None and entry[2] != j.OF_PROMISE:
                part.put(entry)
        assert part.journal == run.journal, f"from {upto} entries on"
        assert part.outcome == run.outcome, f"from {upto} entries on"
