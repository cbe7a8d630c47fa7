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
import contextvars
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from barnabas.runtime import journal as j
from barnabas.runtime.failures import MAX_CHARACTERS, failure_of, too_long
from barnabas.runtime.futures import JournalFuture
from barnabas.runtime.host import Crashed as Crashed
from barnabas.runtime.host import Finished as Finished
from barnabas.runtime.host import Host as Host
from barnabas.runtime.host import Outcome as Outcome
from barnabas.runtime.host import Replaced as Replaced
from barnabas.runtime.outside import Outside
from barnabas.runtime.tasks import Branches, NeedsTask, Rest, close, finish, suspended
from barnabas.runtime.tasks import TaskProbe as TaskProbe
from barnabas.sdk.current import current
from barnabas.sdk.errors import (
    NonDeterminismError,
    SdkInternalBaseException,
    SdkInternalException,
    TerminalError,
)
from barnabas.sdk.handler import Handler, encode_output, start
from barnabas.sdk.waits import Wait

if TYPE_CHECKING:
    from barnabas.runtime.live import Live


#: Stands for the handler's own, which leads back to the attempt, once the handler is over.
_NO_CONTEXT = contextvars.Context()

_NONE: frozenset[int] = frozenset()

#: Makes the context that the handler is given.
ContextFactory = Callable[["Attempt"], Any]


class Attempt:
    """The running (or waiting) coroutine of an invocation."""

    __slots__ = (
        "_answered",
        "_awaiting",
        "_cancels",
        "_context",
        "_coro",
        "_crash",
        "_cursor",
        "_driving",
        "_known",
        "_make_context",
        "_open",
        "_outside",
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
        self._answered = j.answered_steps(self.journal) if self.journal else _NONE
        self._known = len(self.journal)  # entries that `_answered` is about
        self._outside: Outside | None = None
        self._cancels = 0  # met outside of a wait: the next waits raise them
        self._awaiting: Wait | None = None  # driven by hand: what the handler waits for
        self._crash: BaseException | None = None
        self._driving = False  # the handler is at work in our hands
        self._task: Branches | None = None
        self._coro: Coroutine[Any, Any, Any] | None = None
        # The handler's context variables are its own, whichever turn it goes on in.
        self._context = contextvars.copy_context()

    # -- driven by the shard

    def begin(self) -> Outcome | None:
        """Start the handler and run it as far as it gets."""
        if self.handler.needs_task:
            self._start_task(finish(self._as_task()))
            return None
        self._driving = True
        try:
            try:
                context = self._make_context(self)
                self._context.run(current.set, context)
                self._coro = start(self.handler, context, self.live.payload)
            # No input for it; or what a handler raises that is a plain function around a coroutine.
            except (Exception, SystemExit) as error:
                return self._failed(error)
            return self._advance()
        finally:
            self._driving = False

    def deliver(self) -> Outcome | None:
        """Go on: a notification was appended to the journal."""
        if self._task is not None:
            self._task.stirred()
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
        return self._task is not None and self._task.running_code

    @property
    def at_rest(self) -> bool:
        """Whether it only waits for what its journal does not have yet."""
        return not self.over and not self.lags and not self.running_code

    @property
    def stuck_since(self) -> int | None:
        """Since when (ms) a handler that runs as a task waits although its journal goes on with a command."""
        if self.over or self._task is None or not self.lags or self.running_code:
            return None
        return self._task.calm_since

    def give_up(self) -> None:
        """It has been stuck for so long that the command in its journal will not come: it departs from it.

        Driven by hand this is seen at once. A task may have a branch that waits for something foreign, and no way to
        say so.
        """
        assert self._task is not None
        self._left_over(f"wait for {self._task.describe()}")

    def drop(self) -> None:
        """End without an outcome: suspended, or no longer ours. What the handler still does is discarded."""
        self.over = True
        if self._task is None:
            coro, self._coro = self._coro, None
            if coro is not None:
                self._context.run(close, coro, self.handler.target)
            self._open.clear()
            self._let_go()
        else:
            self._task.drop()

    # -- called by the context

    def command(self, issued: j.Entry, quiet: bool = False) -> tuple[j.Entry, bool]:
        """Journal a command, or find it in the journal. Returns the entry that counts, and whether it is a replayed
        one.

        `quiet`: it need not be stored before what follows from it (a step's command is stored with its result).
        """
        self._check_in_hand()
        if len(issued[1]) > MAX_CHARACTERS:
            raise too_long("a name", len(issued[1]))
        if not issued[1].isascii():
            issued[1].encode()  # a name without a UTF-8 form could not be stored: raise that in the handler
        journal, cursor = self.journal, self._cursor
        while cursor < len(journal) and journal[cursor][0] >= j.FIRST_NOTIFICATION:
            entry = journal[cursor]
            self._cursor = cursor = cursor + 1
            self._apply(entry)
        if cursor < len(journal):
            self._cursor += 1
            self.position += 1
            recorded = journal[cursor]
            if not j.same_command(recorded, issued):
                raise self._differs(j.describe(recorded), j.describe(issued))
            if self._task is not None:
                # Another branch of the handler may wait for what comes next in the journal, while this one never waits
                # again.
                self._task.stirred()
            return recorded, True
        self.host.journaling(self.live, quiet)
        issued.append(self.host.now)
        journal.append(issued)
        self._cursor += 1
        self.position += 1
        return issued, False

    @property
    def replaying(self) -> bool:
        """Whether the next command is in the journal already."""
        journal = self.journal
        if self._cursor == len(journal):
            return False
        return any(journal[at][0] < j.FIRST_NOTIFICATION for at in range(self._cursor, len(journal)))

    @property
    def reached(self) -> int:
        """How many entries of the journal the handler has come past."""
        return self._cursor

    def opened(self, future: JournalFuture[Any]) -> None:
        """The result of the latest command is to go to this future."""
        if self._outside is not None and future.call_id == j.OF_AWAKEABLE:
            early = self._outside.take(future.position)
            if early is not None:
                future.answer(early)
                return
        self._open[future.position] = future

    def opened_signal(self, name: str, future: JournalFuture[Any]) -> None:
        """The next signal of that name that nobody has asked for is to go to this future."""
        if self._outside is None:
            self._outside = Outside()
        self._outside.wait_for(name, future)

    def answered(self, position: int) -> bool:
        """Whether the journal holds the result of the step whose command was just found in it."""
        if position in self._answered:
            return True
        # It may have come since this attempt was made: from a step that an earlier attempt had started.
        late = self.journal[max(self._cursor, self._known) :]
        return any(entry[0] >= j.FIRST_NOTIFICATION and entry[1] == position and entry[2] is None for entry in late)

    def expects(self, position: int | str | None, call_id: bytes | None) -> bool:
        """Whether this result would be taken (R9): of that call, awakeable or promise at that position, or a signal.

        One for an awakeable is also taken ahead of it (R7).
        """
        if call_id == j.OF_SIGNAL:
            return True
        if not isinstance(position, int):
            return False
        future = self._open.get(position)
        if future is not None:
            return future.call_id == call_id
        if self._outside is not None and self._outside.has(position):
            return False
        return position > self.position and j.will_take(self.journal[self._cursor :], self.position, position, call_id)

    def drives(self, wait: Wait) -> bool:
        """The handler is about to wait for this. Raises what is to be raised in its next wait.

        True: driven by hand, hand it out; False: as a task, see `waiting`.
        """
        self._check_in_hand()
        if self._cancels:
            self._cancels -= 1
            raise cancelled()
        if self._task is not None:
            return False
        self._awaiting = wait
        return True

    def waiting(self, waiter: asyncio.Future[None], wait: Wait) -> AbstractContextManager[None]:
        """Around the wait of a task for `wait`, which completes `waiter`."""
        assert self._task is not None
        return self._task.waiting(waiter, wait)

    def _check_in_hand(self) -> None:
        """Raise if the handler is over.

        One that is driven by hand becomes a task when a task that it started uses its context.
        """
        if self.over:
            raise suspended()
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
            error: TerminalError | None = None
            while awaiting is not None and error is None and not awaiting.done():
                if not self.apply_next():
                    if self._cursor >= len(self.journal):
                        return None
                    return self._ended_early(f"wait for {awaiting.describe()}")
                if self._cancels:
                    self._cancels -= 1
                    error = cancelled()
            outcome = self._step(error)
            if outcome is not None or self._task is not None:
                return outcome

    def _step(self, error: TerminalError | None) -> Outcome | None:
        """Run the handler to its next wait, with the error that its present one raises, if any.

        None: it waits, or has become a task.
        """
        assert self._coro is not None
        try:
            if error is None:
                awaited = self._context.run(self._coro.send, None)
            else:
                awaited = self._context.run(self._coro.throw, error)
        except StopIteration as stop:
            return self._finished(stop.value)
        except NeedsTask:
            self.handler.needs_task = True
            self.over = True
            return Replaced()
        except KeyboardInterrupt:
            raise
        except BaseException as raised:  # also SystemExit: the process is not this handler's alone
            return self._failed(raised)
        if not isinstance(awaited, Wait):
            self._become_task(awaited)
        return None

    @property
    def lags(self) -> bool:
        """Whether the journal has more than the handler has come past, and it is not over."""
        return self._cursor < len(self.journal) and not self.over

    def apply_next(self) -> bool:
        """Apply the next entry of the journal, if it is there and a notification."""
        if self._cursor >= len(self.journal):
            return False
        entry = self.journal[self._cursor]
        if entry[0] < j.FIRST_NOTIFICATION:
            return False
        self._cursor += 1
        self._apply(entry)
        return True

    def _apply(self, entry: j.Entry) -> None:
        """Complete the future that the notification is for.

        One that fits nothing is ignored: its call was another's (R9).
        """
        future = self._open.get(entry[1])
        if future is None or future.call_id != entry[2]:
            self._apply_unasked(entry)
            return
        del self._open[entry[1]]
        future.answer(entry)

    def _apply_unasked(self, entry: j.Entry) -> None:
        """The notification answers no open command: is it one of those that need not?"""
        if entry[0] == j.CANCELLED:
            # Driven by hand, `_advance` raises it in the wait that it finds the handler in.
            if self._task is None or not self._task.interrupt(cancelled()):
                self.cancel_later()
            return
        signal = entry[2] == j.OF_SIGNAL
        if not signal and (entry[2] != j.OF_AWAKEABLE or entry[1] <= self.position):
            return
        if self._outside is None:
            self._outside = Outside()
        if signal:
            self._outside.signalled(entry)
        else:
            self._outside.keep(entry)

    def cancel_later(self) -> None:
        """Nobody waits whom the cancellation could interrupt: the next wait raises."""
        self._cancels += 1

    def _finished(self, value: Any) -> Outcome | None:
        self._let_go()
        if self._crash is not None:
            return Crashed(self._crash)
        if self.over:
            return None
        if self.replaying:
            return self._ended_early("end of the handler")
        self.over = True
        try:
            return Finished(encode_output(self.handler, value), None)
        except TerminalError as error:
            return Finished(None, failure_of(error))
        except Exception as error:  # whatever a serde raises: the attempt has failed, the code wants mending
            return Crashed(error)

    def _let_go(self) -> None:
        """The handler is over: what leads from here back to here is not left to the garbage collector."""
        self._context = _NO_CONTEXT
        self._awaiting = None

    def _failed(self, error: BaseException) -> Outcome | None:
        self._let_go()
        if self._crash is not None:
            return Crashed(self._crash)
        if self.over:
            return None
        if not isinstance(error, TerminalError):
            self.over = True
            return Crashed(error)
        if self.replaying:
            return self._ended_early(f"end with the error '{error.message}'")
        self.over = True
        return Finished(None, failure_of(error))

    def _differs(self, recorded: str, issued: str) -> SdkInternalBaseException:
        return self.crash(
            NonDeterminismError(
                f"{self.live.service}/{self.live.handler}: at position {self.position} the journal has '{recorded}', "
                f"but the handler now does '{issued}'. The code has changed, or depends on something that no journal "
                f"records."
            )
        )

    def _ended_early(self, now: str) -> Crashed:
        self._left_over(now)
        self.drop()
        assert self._crash is not None
        return Crashed(self._crash)

    def _left_over(self, now: str) -> None:
        """The journal goes on with a command where the handler does something else."""
        left = next(one for one in self.journal[self._cursor :] if one[0] < j.FIRST_NOTIFICATION)
        self.position += 1
        self._differs(j.describe(left), now)

    # -- as a task

    def _become_task(self, awaited: Any) -> None:
        """Let a task take over the coroutine, which waits for this."""
        assert self._coro is not None
        self.handler.needs_task = True
        coro, self._coro = self._coro, None
        self._start_task(finish(Rest(coro, awaited)))

    def _start_task(self, coro: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(coro, context=self._context)
        self._task = Branches(self, task)
        task.add_done_callback(self._task_done)

    async def _as_task(self) -> Any:
        context = self._make_context(self)
        current.set(context)
        return await start(self.handler, context, self.live.payload)

    def _task_done(self, task: asyncio.Task[Any]) -> None:
        outcome: Outcome | None
        if task.cancelled():
            outcome = self._failed(asyncio.CancelledError("the handler's task was cancelled"))
        else:
            error = task.exception()
            outcome = self._failed(error) if error is not None else self._finished(task.result())
        if self._task is not None:
            self._task.drop()
        self.host.task_over(self.live, self, outcome)


def cancelled() -> TerminalError:
    """What a wait raises that a cancellation interrupts, always a new one."""
    return TerminalError("cancelled", 409)
