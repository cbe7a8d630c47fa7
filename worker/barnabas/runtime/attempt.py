"""One attempt of one invocation: the handler's coroutine, driven by its journal.

The shard makes an attempt, calls `begin`, and later `deliver` for each notification. Both run the handler as far as it can
get and return what came of it: `Finished`, `Crashed`, or None while it waits. Nothing here does I/O: what a command needs of
the outside (an outbox entry, a timer, a step to run) it asks of the `Host`, which is the shard.

A handler that only awaits durable things is driven by `coro.send(None)`, without a task. Code that wants the running task
(`asyncio.timeout`, anyio) or awaits a foreign future shows itself at once: the probe that stands for the current task raises
`NeedsTask`, or a foreign object comes out of `send`. The attempt then starts again from its journal as an asyncio task, and
so does every later attempt of that handler.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from barnabas.contract.records import Failure
from barnabas.runtime import journal as j
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


class NeedsTask(BaseException):
    """Raised inside a handler that asks for its task while it has none; never leaves this module."""


class TaskProbe:
    """Stands where the current task would be while handlers are driven by hand (`worker/turn.py` enters it).

    Being there is enough for code that only asks whether asyncio runs (sniffio); any use of it means that a real task is wanted.
    """

    def __getattr__(self, name: str) -> Any:
        raise NeedsTask(name)


class Host(Protocol):
    """What an attempt needs of its shard."""

    now: int

    def wake(self) -> None:
        """Something happened outside of a turn of the driver, in a task's code: `now` is brought up to date, a commit will follow."""

    def journaled(self, live: Live) -> None:
        """Its journal has grown by a command."""

    def message(self, live: Live, issued: j.Entry, position: int, payload: bytes, headers: dict[str, str] | None) -> None:
        """Put the call or send that was just journaled at `position` into the outbox."""

    def start_step(self, step: Step) -> None:
        """Run the action as soon as everything before it is committed."""

    def arm_sleep(self, live: Live, position: int, due: int) -> None:
        """Deliver an empty result for the position at `due` (ms)."""

    def check_target(self, service: str, handler: str, keyed: bool, payload: bytes) -> None:
        """LookupError if the registry does not know the target; TerminalError if the payload can never be produced."""

    def check_size(self, value: bytes, what: str) -> None:
        """TerminalError if a value can never be stored or produced."""

    def state_of(self, key: str) -> dict[str, bytes]:
        """The key's state as the handlers that ran so far have left it."""

    def set_state(self, live: Live, name: str, value: bytes | None) -> None: ...

    def clear_state(self, live: Live) -> None: ...

    def task_over(self, live: Live, attempt: Attempt, outcome: Finished | Crashed | None) -> None:
        """An attempt that runs as a task has ended by itself."""


#: Makes the context that the handler is given.
ContextFactory = Callable[["Attempt"], Any]


class Attempt:
    """The running (or waiting) coroutine of an invocation."""

    __slots__ = (
        "_answered",
        "_awaiting",
        "_coro",
        "_crash",
        "_cursor",
        "_make_context",
        "_open",
        "_task",
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
        self._awaiting: JournalFuture[Any] | None = None
        self._crash: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None
        self._coro: Coroutine[Any, Any, Any] | None = None

    # -- driven by the shard

    def begin(self) -> Finished | Crashed | None:
        """Start the handler and run it as far as it gets."""
        if self.handler.needs_task:
            self._start_task()
            return None
        try:
            self._coro = start(self.handler, self._make_context(self), self.live.payload)
        except TerminalError as error:
            return _terminal(error)
        return self._advance()

    def deliver(self) -> Finished | Crashed | None:
        """Go on: a notification was appended to the journal."""
        if self._task is not None:
            self._catch_up()
            return None
        return self._advance()

    @property
    def is_task(self) -> bool:
        """Whether the handler runs as a task of its own."""
        return self._task is not None

    @property
    def running_code(self) -> bool:
        """Whether the handler may be at work outside of our hands right now (as a task that waits for something foreign)."""
        return self._task is not None and (self._awaiting is None or self._awaiting.done())

    def drop(self) -> None:
        """End without an outcome: suspended, or no longer ours. What the handler still does is discarded."""
        self.over = True
        if self._task is not None:
            self._task.cancel()
        elif self._coro is not None:
            _close(self._coro, self.handler.target)
            self._coro = None

    # -- called by the context

    def command(self, issued: j.Entry, quiet: bool = False) -> tuple[j.Entry, bool]:
        """Journal a command, or find it in the journal. Returns the entry that counts, and whether it is a replayed one.

        `quiet`: it need not be stored before what follows from it (a step's command is stored with its result).
        """
        if self.over:
            raise SuspendedException
        if self._task is not None:
            self.host.wake()
        journal, cursor = self.journal, self._cursor
        while cursor < len(journal) and journal[cursor][0] >= j.FIRST_NOTIFICATION:
            self._apply(journal[cursor])
            cursor += 1
        self._cursor = cursor + 1
        self.position += 1
        if cursor < len(journal):
            recorded = journal[cursor]
            if not j.same_command(recorded, issued):
                raise self._differs(j.describe(recorded), j.describe(issued))
            return recorded, True
        journal.append(issued)
        if not quiet:
            self.host.journaled(self.live)
        return issued, False

    def opened(self, future: JournalFuture[Any]) -> None:
        """The result of the latest command is to go to this future."""
        self._open[future.position] = future

    def answered(self, position: int) -> bool:
        """Whether the journal already holds the result of the step at this position."""
        return position in self._answered

    def expects(self, position: int, call_id: bytes | None) -> bool:
        """Whether a result of that call at that position would be taken (R9)."""
        future = self._open.get(position)
        return future is not None and future.call_id == call_id

    def awaits(self, future: JournalFuture[Any]) -> None:
        """The handler is about to wait for this."""
        if self.over:
            raise SuspendedException
        self._awaiting = future
        if self._task is not None:
            self._catch_up()

    def crash(self, error: BaseException) -> SdkInternalBaseException:
        """Note an error that must end the attempt even if the handler swallows it; the caller raises what this returns."""
        self._crash = error
        self.over = True
        return SdkInternalException()

    # -- the machine

    def _advance(self) -> Finished | Crashed | None:
        """Run the handler for as long as what it waits for is in the journal."""
        while True:
            awaiting = self._awaiting
            while awaiting is not None and not awaiting.done():
                if self._cursor >= len(self.journal):
                    return None
                entry = self.journal[self._cursor]
                if entry[0] < j.FIRST_NOTIFICATION:
                    self._differs(j.describe(entry), f"wait for position {awaiting.position}")
                    return self._end_crashed()
                self._cursor += 1
                self._apply(entry)
            outcome = self._step()
            if outcome is not None or self._task is not None:
                return outcome

    def _step(self) -> Finished | Crashed | None:
        """Run the handler to its next wait. None: it waits, or has become a task."""
        try:
            awaited = self._coro.send(None)  # type: ignore[union-attr]
        except StopIteration as stop:
            return self._finished(stop.value)
        except NeedsTask:
            self.handler.needs_task = True
            self._restart_as_task()
            return None
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            return self._failed(error)
        if isinstance(awaited, JournalFuture) and awaited.attempt is self:
            return None
        self.handler.needs_task = True
        self._restart_as_task()
        return None

    def _apply(self, entry: j.Entry) -> None:
        """Complete the future that the notification is for. One that fits nothing is ignored: its call was another's (R9)."""
        future = self._open.get(entry[1])
        if future is None or future.call_id != entry[2]:
            return
        del self._open[entry[1]]
        if entry[0] == j.RESULT:
            future.complete(entry[3])
        else:
            future.fail(terminal_error(entry[3], entry[4], entry[5]))

    def _catch_up(self) -> None:
        """As a task: apply recorded notifications until the awaited future is complete or the next entry is a command."""
        journal = self.journal
        while self._cursor < len(journal) and journal[self._cursor][0] >= j.FIRST_NOTIFICATION:
            entry = journal[self._cursor]
            self._cursor += 1
            self._apply(entry)

    def _finished(self, value: Any) -> Finished | Crashed | None:
        if self._crash is not None:
            return Crashed(self._crash)
        if self.over:
            return None
        for entry in self.journal[self._cursor :]:
            if entry[0] < j.FIRST_NOTIFICATION:
                self._differs(j.describe(entry), "end of the handler")
                return self._end_crashed()
        self.over = True
        try:
            return Finished(encode_output(self.handler, value), None)
        except TerminalError as error:
            return _terminal(error)
        except Exception as error:  # whatever a serde raises: the attempt has failed, the code wants mending
            return Crashed(error)

    def _failed(self, error: BaseException) -> Finished | Crashed | None:
        if self._crash is not None:
            return Crashed(self._crash)
        if self.over:
            return None
        self.over = True
        return _terminal(error) if isinstance(error, TerminalError) else Crashed(error)

    def _differs(self, recorded: str, issued: str) -> SdkInternalBaseException:
        return self.crash(
            NonDeterminismError(
                f"{self.live.service}/{self.live.handler}: at position {self.position} the journal has '{recorded}', but the "
                f"handler now does '{issued}'. The code has changed, or depends on something that is not in the journal."
            )
        )

    def _end_crashed(self) -> Crashed:
        if self._coro is not None:
            self.drop()
        assert self._crash is not None
        return Crashed(self._crash)

    # -- as a task

    def _restart_as_task(self) -> None:
        """Begin again from the journal, with a task of our own. What the handler did so far is in the journal, or was foreign."""
        coro, self._coro = self._coro, None
        self.over = True  # the old coroutine's finally blocks must not journal anything
        if coro is not None:
            _close(coro, self.handler.target)
        self.over = False
        self.position = 0
        self._cursor = 0
        self._open = {}
        self._awaiting = None
        self._answered = j.answered_steps(self.journal)
        self._start_task()

    def _start_task(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._as_task())
        self._task.add_done_callback(self._task_done)

    async def _as_task(self) -> Any:
        return await start(self.handler, self._make_context(self), self.live.payload)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        outcome: Finished | Crashed | None
        if task.cancelled():
            outcome = self._failed(asyncio.CancelledError("the handler's task was cancelled"))
        else:
            error = task.exception()
            outcome = self._failed(error) if error is not None else self._finished(task.result())
        self.host.task_over(self.live, self, outcome)


def _close(coro: Coroutine[Any, Any, Any], target: str) -> None:
    """Drop a coroutine. What its `finally` blocks and `except BaseException` do with that is no longer of interest."""
    try:
        coro.close()
    except (Exception, SdkInternalBaseException) as error:
        log.debug("%s raised while it was dropped: %r", target, error)


def _terminal(error: TerminalError) -> Finished:
    return Finished(None, Failure(error.status_code, error.message, dict(error.metadata or {})))
