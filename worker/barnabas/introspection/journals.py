"""A journal for people and programs: each entry with what it is called, what it is about, and what came of it. Pure.

An entry's type has Restate's name ("Command: Call", "Notification: Sleep"), since people's queries and tools know them.
Entries are numbered as Restate does it: 0 is the input, which our journals do not hold, and the output comes last.
Values are left out: only their sizes are shown. Used by `invocations` and by the SQL tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Failure
from barnabas.introspection.waits import open_commands
from barnabas.runtime import journal as j

#: Command -> the name after "Command: ", and after "Notification: " for what answers it.
NAMES: Final = {
    j.CALL: "Call",
    j.SEND: "OneWayCall",
    j.RUN: "Run",
    j.SLEEP: "Sleep",
    j.GET: "GetEagerState",
    j.STATE_KEYS: "GetEagerStateKeys",
    j.SET: "SetState",
    j.CLEAR: "ClearState",
    j.CLEAR_ALL: "ClearAllState",
    j.TIME: "Time",
    j.AWAKEABLE: "Awakeable",
    j.SIGNAL: "Signal",
    j.ATTACH: "AttachInvocation",
    j.CANCEL: "SendSignal",
    j.RESOLVE: "CompleteAwakeable",
    j.PROMISE: "GetPromise",
    j.PEEK: "PeekPromise",
    j.COMPLETE: "CompletePromise",
}
#: Which place of an entry has the id of another invocation.
_ABOUT: Final = {j.CALL: 3, j.SEND: 3, j.ATTACH: 2, j.CANCEL: 2}


@dataclass(frozen=True, slots=True)
class Line:
    """One entry. Fields that do not apply are None."""

    index: int  # 0 is the input
    entry_type: str  # "Command: Call", "Notification: Call", ...
    text: str  # for people, without values
    name: str | None = None  # of the step, the state value, the promise or the signal
    position: int | None = None  # of a command, from 1; of a notification, the command's that it answers
    completed: bool | None = None  # of a command that has a result: whether that is there
    invocation: InvocationId | None = None  # that was called, sent, attached to or cancelled
    target: str | None = None  # of that one, where the entry says it: Service/key/handler
    wakeup_at: int | None = None  # ms, of a sleep
    size: int | None = None  # bytes of a result
    failure: Failure | None = None
    appended_at: int | None = None  # ms; None: not noted, by an older version
    took: int | None = None  # ms from the command to this result


def lines_of(journal: Sequence[j.Entry], *, input_size: int | None = None) -> list[Line]:
    """All entries, the input first."""
    open_ones = {one.position for one in open_commands(journal)}
    commands: list[j.Entry] = []  # so far
    lines = [Line(0, "Command: Input", "input", size=input_size)]
    for index, entry in enumerate(journal, 1):
        if entry[0] < j.FIRST_NOTIFICATION:
            commands.append(entry)
            lines.append(_command(index, len(commands), entry, len(commands) in open_ones))
        else:
            lines.append(_notification(index, entry, commands))
    return lines


def output_line(index: int, size: int | None, failure: Failure | None) -> Line:
    """The end of one that is over."""
    text = "output" if failure is None else f"failed: [{failure.code}] {failure.message}"
    return Line(index, "Command: Output", text, size=size, failure=failure)


def words(entry: j.Entry) -> str:
    """A command for people, with the id of the invocation that it is about."""
    about = _about(entry)
    id_already_there = entry[0] in (j.ATTACH, j.CANCEL)
    return j.describe(entry) + (f" {about}" if about is not None and not id_already_there else "")


def _command(index: int, position: int, entry: j.Entry, is_open: bool) -> Line:
    kind = entry[0]
    return Line(
        index,
        f"Command: {NAMES.get(kind, kind)}",
        words(entry),
        name=entry[1] if kind not in (j.CALL, j.SEND) and entry[1] else None,
        position=position,
        completed=not is_open if kind in _WITH_RESULT else None,
        invocation=_about(entry),
        target=_target(entry) if kind in (j.CALL, j.SEND) else None,
        wakeup_at=entry[2] if kind == j.SLEEP else None,
        appended_at=j.appended_at(entry),
    )


def _notification(index: int, entry: j.Entry, commands: Sequence[j.Entry]) -> Line:
    at = j.appended_at(entry)
    if entry[0] == j.CANCELLED:
        return Line(index, "Notification: Signal", "cancelled", name="CANCEL", appended_at=at)
    of_signal = entry[2] == j.OF_SIGNAL
    position = None if of_signal else entry[1]
    # A result may lie ahead of its command (R7): then nobody can say yet what it answers, but for awakeables.
    answered = commands[position - 1] if position is not None and 0 < position <= len(commands) else None
    kind = "Signal" if of_signal or answered is None else NAMES.get(answered[0], str(answered[0]))
    asked_at = None if answered is None else j.appended_at(answered)
    failure = Failure(entry[3], entry[4], entry[5]) if entry[0] == j.FAILURE else None
    text = j.describe(entry) + (f": [{failure.code}] {failure.message}" if failure is not None else "")
    size = len(entry[3]) if entry[0] == j.RESULT and isinstance(entry[3], bytes) else None
    return Line(
        index,
        f"Notification: {kind}",
        text,
        name=entry[1] if of_signal else None,
        position=position,
        size=size,
        failure=failure,
        appended_at=at,
        took=None if at is None or asked_at is None else at - asked_at,
    )


_WITH_RESULT: Final = frozenset({j.CALL, j.RUN, j.SLEEP, j.AWAKEABLE, j.SIGNAL, j.ATTACH, j.PROMISE})


def _about(entry: j.Entry) -> InvocationId | None:
    place = _ABOUT.get(entry[0])
    return None if place is None else InvocationId(entry[place])


def _target(entry: list[Any]) -> str:
    service, _, handler = entry[1].partition("/")
    return target_text(service, entry[2], handler)


def target_text(service: str, key: str | None, handler: str) -> str:
    """`Service/handler` or `Service/key/handler`, whole."""
    return "/".join(part for part in (service, key, handler) if part is not None)
