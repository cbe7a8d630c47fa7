"""One attempt of one invocation: the handler's coroutine, driven by its journal.

The shard makes an attempt, calls `begin`, and later `deliver` for each notification. Both run the handler as far as it
can get and return what came of it: `Finished`, `Crashed`, or None while it waits. Nothing here does I/O: what a command
needs of the outside (an outbox entry, a timer, a step to run) it asks of the `Host`, which is the shard.

A handler that only awaits durable things is driven by `coro.send(None)`, without a task. When a foreign object comes
out of `send` (a handler that awaits asyncio's own things), an asyncio task takes the coroutine over where it stands.
Code that wants the running task itself (`asyncio.timeout`, anyio) uses the probe that stands there meanwhile, which
raises `NeedsTask`: the attempt is `Replaced` by another one, a task from its beginning. Either way every later attempt
of that handler is a task from its beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from barnabas.contract.records import Failure
from barnabas.runtime import journal as j
from barnabas.runtime.failures import failure_of
from barnabas.runtime.futures import JournalFuture, terminal_error
from barnabas.sdk.errors import (
    NonDeterminismError,
    SdkInternalBaseException,
    SdkInternalException,
    SuspendedException,
    TerminalError,
)
from barnabas.sdk.handler import Handler, encode_output, start

if TYPE_CHECKING:
    from barnabas.runtime.live import Live, Step


log = logging.getLogger("barnabas.engine")


class Finished(NamedTuple):
    """The invocation has its outcome: a result, or a terminal failure."""

    result: bytes | None
    failure: Failure | None


class Crashed(NamedTuple):
    """The attempt ended with an error that a later attempt may not meet."""

    error: BaseException


class Replaced(NamedTuple):
    """The handler needs a task, and this attempt cannot give it one: begin another at once. Nothing has failed."""


Outcome = Finished | Crashed | Replaced


class NeedsTask(BaseException):
    """Raised inside a handler that asks for its task while it has none; never leaves this module."""


class TaskProbe:
    """Stands where the current task would be while handlers are driven by hand (the driver enters it).

    Being there is enough for code that only asks whether asyncio runs (sniffio); any use of it means that a real task
    is wanted.
    """

    def get_name(self) -> str:
        """From Python 3.12 on every log record asks the current task for its name; a log line needs no task."""
        return "barnabas"

    def __hash__(self) -> int:
        raise NeedsTask("__hash__")  # anyio keeps what it knows of a task in a dictionary

    def __getattr__(self, name: str) -> Any:
        raise NeedsTask(name)


class Host(Protocol):
    """What an attempt needs of its shard. Nothing that acts is called for a command that was replayed."""

    now: int

    def wake(self) -> None:
        """A task's code is at work outside of a turn of the driver: bring `now` up to date, have a turn soon."""

    def journaling(self, live: Live, quiet: bool) -> None:
        """Its journal is about to grow by a command. TerminalError if it must not."""

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
        """Put the call or send that was just journaled at `position` into the outbox.

        `due` (ms, by the clock of `now`): it waits until then before it joins its key's queue.
        """

    def start_step(self, step: Step) -> None:
        """Run the action as soon as everything before it is committed."""

    def arm_sleep(self, live: Live, position: int, due: int) -> None:
        """Deliver an empty result for the position at `due` (ms)."""

    def check_target(self, service: str, handler: str, keyed: bool, payload: bytes) -> str:
        """The kind of the target: "exclusive", "shared", "workflow" or "service".

        LookupError if the registry does not know it; TerminalError if the payload can never be produced.
        """

    def check_known(self, id_: bytes) -> None:
        """LookupError if the id fits no registered service: a signal about it has nowhere to go."""

    def attach(self, live: Live, position: int, id_: bytes) -> None:
        """Ask for the outcome of that invocation; it comes as the result of the call `id_` at the position."""

    def cancel(self, live: Live, id_: bytes) -> None:
        """Ask that invocation to end."""

    def resolve(
        self,
        live: Live,
        id_: bytes,
        position: int | None,
        name: str | None,
        result: bytes | None,
        failure: Failure | None,
    ) -> None:
        """Send a value or an error to an awakeable (`position`) or a named signal (`name`) of that invocation."""

    def promise(self, live: Live, position: int, name: str) -> None:
        """Deliver the workflow's promise, OF_PROMISE at the position, once it is completed.

        If it is completed already, the notification is in the journal when this returns.
        """

    def peek(self, live: Live, name: str) -> list[Any] | None:
        """The workflow's promise: None while it is not completed, else [bytes] or [code, message, metadata]."""

    def complete_promise(self, live: Live, name: str, result: bytes | None, failure: Failure | None) -> bool:
        """Complete the workflow's promise. False, and nothing changes, if it was completed before."""

    def check_size(self, value: bytes, what: str) -> None:
        """TerminalError if a value can never be stored or produced."""

    def state_of(self, key: str) -> dict[str, bytes]:
        """The key's state as the handlers that ran so far have left it."""

    def set_state(self, live: Live, name: str, value: bytes | None) -> None: ...

    def clear_state(self, live: Live) -> None: ...

    def task_over(self, live: Live, attempt: Attempt, outcome: Outcome | None) -> None:
        """Something came of an attempt that runs as a task, outside of the shard's hands. None: it has become one."""


#: Makes the context that the handler is given.
ContextFactory = Callable[["Attempt"], Any]


class Attempt:
    """The running (or waiting) coroutine of an invocation."""

    __slots__ = (
        "_answered",
        "_awaiting",
        "_context",
        "_coro",
        "_crash",
        "_cursor",
        "_driving",
        "_known",
        "_make_context",
        "_open",
        "_task",
        "_waiters",
        "handler",
        "host",
        "journal",
        "live",
        "over",
        "position",
    )

    def __init__(self, host: Host, live: Live, handler: Handler[Any, Any], make_context: ContextFactory) -> None:
        self.host = host
        self.live = live
        self.handler = handler
        self.journal: list[j.Entry] = live.journal
        self.position = 0
        self.over = False
        self._make_context = make_context
        self._cursor = 0
        self._open: dict[int, JournalFuture[Any]] = {}
        self._answered = j.answered_steps(self.journal)
        self._known = len(self.journal)  # entries that `_answered` is about
        self._awaiting: JournalFuture[Any] | None = None  # driven by hand: what the handler waits for
        self._waiters: set[asyncio.Future[None]] = set()  # as a task: the waits for durable futures
        self._crash: BaseException | None = None
        self._driving = False  # the handler is at work in our hands
        self._task: asyncio.Task[Any] | None = None
        self._coro: Coroutine[Any, Any, Any] | None = None
        # The handler's context variables are its own, whichever turn it goes on in.
        self._context = contextvars.copy_context()

    # -- driven by the shard

    def begin(self) -> Outcome | None:
        """Start the handler and run it as far as it gets."""
        if self.handler.needs_task:
            self._start_task(self._as_task())
            return None
        self._driving = True
        try:
            try:
                self._coro = start(self.handler, self._make_context(self), self.live.payload)
            except (
                Exception
            ) as error:  # no input for it; or what a handler raises that is a plain function around a coroutine
                return self._failed(error)
            return self._advance()
        finally:
            self._driving = False

    def deliver(self) -> Outcome | None:
        """Go on: a notification was appended to the journal."""
        if self._task is not None:
            self._catch_up()
            return None
        self._driving = True
        try:
            return self._advance()
        finally:
            self._driving = False

    @property
    def is_task(self) -> bool:
        """Whether the handler runs as a task of its own."""
        return self._task is not None

    @property
    def running_code(self) -> bool:
        """Whether the handler may be at work outside of our hands: as a task that waits for something foreign."""
        if self._task is None:
            return False
        return not self._waiters or any(waiter.done() for waiter in self._waiters)

    def drop(self) -> None:
        """End without an outcome: suspended, or no longer ours. What the handler still does is discarded."""
        self.over = True
        if self._task is None:
            coro, self._coro = self._coro, None
            if coro is not None:
                self._context.run(_close, coro, self.handler.target)
        elif self._waiters:
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_exception(SuspendedException())
        else:
            self._task.cancel()  # it waits for something foreign

    # -- called by the context

    def command(self, issued: j.Entry, quiet: bool = False) -> tuple[j.Entry, bool]:
        """Journal a command, or find it in the journal. Returns the entry that counts, and whether it is a replayed
        one.

        `quiet`: it need not be stored before what follows from it (a step's command is stored with its result).
        """
        self._check_in_hand()
        if not issued[1].isascii():
            issued[1].encode()  # a name without a UTF-8 form could not be stored: raise that in the handler
        journal, cursor = self.journal, self._cursor
        while cursor < len(journal) and journal[cursor][0] >= j.FIRST_NOTIFICATION:
            self._apply(journal[cursor])
            cursor += 1
        self._cursor = cursor
        if cursor < len(journal):
            self._cursor += 1
            self.position += 1
            recorded = journal[cursor]
            if not j.same_command(recorded, issued):
                raise self._differs(j.describe(recorded), j.describe(issued))
            if self._task is not None:
                # Another branch of the handler may wait for what comes next in the journal, while this one never waits
                # again.
                asyncio.get_running_loop().call_soon(self._catch_up)
            return recorded, True
        self.host.journaling(self.live, quiet)
        journal.append(issued)
        self._cursor += 1
        self.position += 1
        return issued, False

    @property
    def replaying(self) -> bool:
        """Whether the next command is in the journal already."""
        journal = self.journal
        return any(journal[at][0] < j.FIRST_NOTIFICATION for at in range(self._cursor, len(journal)))

    def opened(self, future: JournalFuture[Any]) -> None:
        """The result of the latest command is to go to this future."""
        self._open[future.position] = future

    def answered(self, position: int) -> bool:
        """Whether the journal holds the result of the step whose command was just found in it."""
        if position in self._answered:
            return True
        # It may have come since this attempt was made: from a step that an earlier attempt had started.
        late = self.journal[max(self._cursor, self._known) :]
        return any(entry[0] >= j.FIRST_NOTIFICATION and entry[1] == position and entry[2] is None for entry in late)

    def expects(self, position: int, call_id: bytes | None) -> bool:
        """Whether a result of that call at that position would be taken (R9)."""
        future = self._open.get(position)
        if future is not None:
            return future.call_id == call_id
        return position > self.position and self._recorded(position, call_id)

    def _recorded(self, position: int, call_id: bytes | None) -> bool:
        """Whether the journal has that call at a position that the replay has not reached yet, and no result of it."""
        ahead = self.position
        for entry in self.journal[self._cursor :]:
            if entry[0] >= j.FIRST_NOTIFICATION:
                # One ahead of its own call is from before the store fell back, and nobody takes it.
                if entry[1] == position and entry[2] == call_id and ahead >= position:
                    return False
                continue
            ahead += 1
            if ahead == position and (entry[0] != j.CALL or entry[3] != call_id):
                return False
        return position <= ahead

    def drives(self, future: JournalFuture[Any]) -> bool:
        """The handler is about to wait for this.

        True: driven by hand, hand the future out; False: as a task, see `waiting`.
        """
        self._check_in_hand()
        if self._task is not None:
            return False
        self._awaiting = future
        return True

    @contextlib.contextmanager
    def waiting(self, waiter: asyncio.Future[None]) -> Iterator[None]:
        """Around the wait of a task for a durable future, which completes `waiter`."""
        self._waiters.add(waiter)
        self._catch_up()
        try:
            yield
        finally:
            self._waiters.discard(waiter)

    def _check_in_hand(self) -> None:
        """Raise if the handler is over.

        One that is driven by hand becomes a task when a task that it started uses its context.
        """
        if self.over:
            raise SuspendedException
        if self._task is not None:
            self.host.wake()
        elif not self._driving:
            self._become_task(self._awaiting)
            self.host.wake()
            self.host.task_over(self.live, self, None)

    def crash(self, error: BaseException) -> SdkInternalBaseException:
        """Note an error that ends the attempt even if the handler swallows it; the caller raises what this returns."""
        self._crash = error
        self.over = True
        if self._task is not None:  # it may have been noticed in a branch that nobody waits for
            self.host.task_over(self.live, self, Crashed(error))
        return SdkInternalException()

    # -- the machine

    def _advance(self) -> Outcome | None:
        """Run the handler for as long as what it waits for is in the journal."""
        while True:
            awaiting = self._awaiting
            while awaiting is not None and not awaiting.done():
                if self._cursor >= len(self.journal):
                    return None
                entry = self.journal[self._cursor]
                if entry[0] < j.FIRST_NOTIFICATION:
                    return self._ended_early(entry, f"wait for position {awaiting.position}")
                self._cursor += 1
                self._apply(entry)
            outcome = self._step()
            if outcome is not None or self._task is not None:
                return outcome

    def _step(self) -> Outcome | None:
        """Run the handler to its next wait. None: it waits, or has become a task."""
        assert self._coro is not None
        try:
            awaited = self._context.run(self._coro.send, None)
        except StopIteration as stop:
            return self._finished(stop.value)
        except NeedsTask:
            self.handler.needs_task = True
            self.over = True
            return Replaced()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return self._failed(error)
        if not isinstance(awaited, JournalFuture):
            self._become_task(awaited)
        return None

    def _apply(self, entry: j.Entry) -> None:
        """Complete the future that the notification is for.

        One that fits nothing is ignored: its call was another's (R9).
        """
        future = self._open.get(entry[1])
        if future is None or future.call_id != entry[2]:
            return
        del self._open[entry[1]]
        if entry[0] == j.RESULT:
            future.complete(entry[3])
        else:
            future.fail(terminal_error(entry[3], entry[4], entry[5]))

    def _catch_up(self) -> None:
        """As a task: apply recorded notifications up to the next command."""
        if self.over:
            return
        journal = self.journal
        while self._cursor < len(journal) and journal[self._cursor][0] >= j.FIRST_NOTIFICATION:
            entry = journal[self._cursor]
            self._cursor += 1
            self._apply(entry)

    def _finished(self, value: Any) -> Outcome | None:
        if self._crash is not None:
            return Crashed(self._crash)
        if self.over:
            return None
        for entry in self.journal[self._cursor :]:
            if entry[0] < j.FIRST_NOTIFICATION:
                return self._ended_early(entry, "end of the handler")
        self.over = True
        try:
            return Finished(encode_output(self.handler, value), None)
        except TerminalError as error:
            return Finished(None, failure_of(error))
        except Exception as error:  # whatever a serde raises: the attempt has failed, the code wants mending
            return Crashed(error)

    def _failed(self, error: BaseException) -> Outcome | None:
        if self._crash is not None:
            return Crashed(self._crash)
        if self.over:
            return None
        self.over = True
        return Finished(None, failure_of(error)) if isinstance(error, TerminalError) else Crashed(error)

    def _differs(self, recorded: str, issued: str) -> SdkInternalBaseException:
        return self.crash(
            NonDeterminismError(
                f"{self.live.service}/{self.live.handler}: at position {self.position} the journal has '{recorded}', "
                f"but the handler now does '{issued}'. The code has changed, or depends on something that no journal "
                f"records."
            )
        )

    def _ended_early(self, recorded: j.Entry, now: str) -> Crashed:
        """The journal goes on with a command where the handler does something else."""
        self.position += 1
        self._differs(j.describe(recorded), now)
        self.drop()
        assert self._crash is not None
        return Crashed(self._crash)

    # -- as a task

    def _become_task(self, awaited: Any) -> None:
        """Let a task take over the coroutine, which waits for this."""
        assert self._coro is not None
        self.handler.needs_task = True
        coro, self._coro = self._coro, None
        self._start_task(_finish(_Rest(coro, awaited)))

    def _start_task(self, coro: Coroutine[Any, Any, Any]) -> None:
        self._task = asyncio.get_running_loop().create_task(coro, context=self._context)
        self._task.add_done_callback(self._task_done)

    async def _as_task(self) -> Any:
        return await start(self.handler, self._make_context(self), self.live.payload)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        outcome: Outcome | None
        if task.cancelled():
            outcome = self._failed(asyncio.CancelledError("the handler's task was cancelled"))
        else:
            error = task.exception()
            outcome = self._failed(error) if error is not None else self._finished(task.result())
        self.host.task_over(self.live, self, outcome)


class _Rest:
    """The rest of a coroutine that was driven by hand, for a task: it begins with the wait that came out last."""

    def __init__(self, coro: Coroutine[Any, Any, Any], awaited: Any) -> None:
        self._coro = coro
        self._awaited = awaited

    def __await__(self) -> Generator[Any, Any, Any]:
        awaited = self._awaited
        while True:
            resume: Callable[[], Any]
            sent: Any = None
            try:
                if isinstance(awaited, JournalFuture):
                    yield from awaited.wait_in_task()
                else:
                    sent = yield awaited
            except GeneratorExit:
                self._coro.close()
                raise
            except BaseException as error:  # the handler decides what becomes of it
                resume = functools.partial(self._coro.throw, error)
            else:
                resume = functools.partial(self._coro.send, sent)
            try:
                awaited = resume()
            except StopIteration as stop:
                return stop.value


async def _finish(rest: Awaitable[Any]) -> Any:
    return await rest


def _close(coro: Coroutine[Any, Any, Any], target: str) -> None:
    """Drop a coroutine. What its `finally` blocks and `except BaseException` do with that is no longer of interest."""
    try:
        coro.close()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        log.debug("%s raised while it was dropped: %r", target, error)
