"""What a journal is made of: commands in program order, notifications in the order in which they were delivered.

An entry is a plain list, so that it packs into the store as it stands: `[kind, ...]`. Commands have a kind below
`FIRST_NOTIFICATION` and are numbered from 1 by their order; a notification names the position of the command it
answers. The attempt (`attempt.py`) writes and reads journals; the shard stores them.

    CALL       name "Service/handler", key or None, id of the called invocation
    SEND       name "Service/handler", key or None, id of the sent invocation
    RUN        name of the step
    SLEEP      name, due time in ms
    GET        name of the state value, the value or None
    STATE_KEYS "", names
    SET        name of the state value
    CLEAR      name of the state value
    CLEAR_ALL  ""
    TIME       "", ms
    AWAKEABLE  ""
    SIGNAL     name of the signal that is waited for
    ATTACH     "", id of the invocation whose result is wanted
    CANCEL     "", id of the invocation to be cancelled
    RESOLVE    id of an awakeable, or "inv_.../name" of a signal: a value or an error was sent to it
    PROMISE    name of the promise whose value is wanted
    PEEK       name of the promise, what it was: None, [bytes] or [code, message, metadata]
    COMPLETE   name of the promise, whether this completed it (else it had been completed before)
    RESULT     position, whose it is, bytes
    FAILURE    position, whose it is, code, message, metadata
    CANCELLED  0, None: the invocation was asked to end; raised at the wait that it interrupts

Behind these fields each entry has the time when it was appended, ms; no decision is made by it.

Whose a result is (R9): the id of the call, or of the invocation attached to; None for steps and sleeps; OF_AWAKEABLE;
OF_PROMISE; OF_SIGNAL, where the name of the signal stands in the place of the position, as the n-th wait for a name
gets the n-th signal of that name.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from barnabas.contract.ids import InvocationId

Entry = list[Any]

CALL: Final = 1
SEND: Final = 2
RUN: Final = 3
SLEEP: Final = 4
GET: Final = 5
STATE_KEYS: Final = 6
SET: Final = 7
CLEAR: Final = 8
CLEAR_ALL: Final = 9
TIME: Final = 10
AWAKEABLE: Final = 11
SIGNAL: Final = 12
ATTACH: Final = 13
CANCEL: Final = 14
RESOLVE: Final = 15
PROMISE: Final = 16
PEEK: Final = 17
COMPLETE: Final = 18
FIRST_NOTIFICATION: Final = 64
RESULT: Final = 64
FAILURE: Final = 65
CANCELLED: Final = 66

#: Whose a result is, where no invocation made it.
OF_AWAKEABLE: Final = b"awakeable"
OF_PROMISE: Final = b"promise"
OF_SIGNAL: Final = b"signal"

#: How many fields an entry of each kind has, before the time.
_FIELDS: Final = {
    CALL: 4,
    SEND: 4,
    RUN: 2,
    SLEEP: 3,
    GET: 3,
    STATE_KEYS: 3,
    SET: 2,
    CLEAR: 2,
    CLEAR_ALL: 2,
    TIME: 3,
    AWAKEABLE: 2,
    SIGNAL: 2,
    ATTACH: 3,
    CANCEL: 3,
    RESOLVE: 2,
    PROMISE: 2,
    PEEK: 3,
    COMPLETE: 3,
    RESULT: 4,
    FAILURE: 6,
    CANCELLED: 3,
}
_KINDS: Final = {
    CALL: "call",
    SEND: "send",
    RUN: "run",
    SLEEP: "sleep",
    GET: "get state",
    STATE_KEYS: "list state keys",
    SET: "set state",
    CLEAR: "clear state",
    CLEAR_ALL: "clear all state",
    TIME: "time",
    AWAKEABLE: "awakeable",
    SIGNAL: "wait for signal",
    ATTACH: "attach",
    CANCEL: "cancel",
    RESOLVE: "resolve",
    PROMISE: "wait for promise",
    PEEK: "peek at promise",
    COMPLETE: "complete promise",
    RESULT: "result",
    FAILURE: "failure",
    CANCELLED: "cancellation",
}

#: Commands whose third field is a target: a key, or an id.
_WITH_TARGET: Final = frozenset((CALL, SEND, ATTACH, CANCEL))
_OWNERS: Final = {AWAKEABLE: OF_AWAKEABLE, PROMISE: OF_PROMISE, SIGNAL: OF_SIGNAL}
#: Commands that have a result.
_ANSWERED: Final = frozenset((CALL, RUN, SLEEP, AWAKEABLE, SIGNAL, ATTACH, PROMISE))
#: Whose results may stand ahead of the command. Any other that does is of a time that the store has lost (R9).
_MAY_BE_AHEAD: Final = (OF_AWAKEABLE, OF_SIGNAL)

pack_entry = msgpack.Packer(autoreset=True).pack


def unpack_entry(raw: bytes) -> Entry:
    """The entry that `pack_entry` made `raw` of."""
    entry: Entry = msgpack.unpackb(raw)
    return entry


def answered_steps(journal: list[Entry]) -> frozenset[int]:
    """Positions of the steps and sleeps whose results are in the journal (other results carry whose they are)."""
    if not journal:
        return frozenset()
    return frozenset(entry[1] for entry in journal if entry[0] >= FIRST_NOTIFICATION and entry[2] is None)


def same_command(recorded: Entry, issued: Entry) -> bool:
    """Whether a handler that issued this does what the journal says it did.

    Same kind and name and, for messages, key; for attach and cancel, id.
    """
    if recorded[0] != issued[0] or recorded[1] != issued[1]:
        return False
    return recorded[0] not in _WITH_TARGET or bool(recorded[2] == issued[2])


def appended_at(entry: Entry) -> int | None:
    """When the entry came into the journal, ms; None for one of an older version, which did not note it."""
    fields = _FIELDS[entry[0]]
    at: int | None = entry[fields] if len(entry) > fields else None
    return at


def answered_by(command: Entry) -> bytes | None:
    """Whose results this command waits for; None for steps, sleeps and what waits for nothing."""
    kind = command[0]
    if kind == CALL:
        called: bytes = command[3]
        return called
    if kind == ATTACH:
        attached: bytes = command[2]
        return attached
    return _OWNERS.get(kind)


def will_take(ahead: list[Entry], before: int, position: int, call_id: bytes | None) -> bool:
    """Whether a handler that goes on with these entries takes that result, for a position it has not come to (R9).

    `before`: how many commands it has come past. There must be such a call, and no result of it; for an awakeable it is
    enough that the command may still come to be there (R7).
    """
    may_be_early = call_id == OF_AWAKEABLE
    for entry in ahead:
        if entry[0] >= FIRST_NOTIFICATION:
            # One ahead of its own call is from before the store fell back, and nobody takes it.
            if entry[1] == position and entry[2] == call_id and (may_be_early or before >= position):
                return False
            continue
        before += 1
        if before == position and answered_by(entry) != call_id:
            return False
    return may_be_early or position <= before


class Command(NamedTuple):
    """A command as it stands in a journal."""

    entry: Entry
    position: int
    at: int  # which entry it is, from 0
    answered_at: int | None = None  # which entry its result is, if that is there
    cancelled: bool = False  # the invocation was cancelled since; a call was then cancelled with it

    @property
    def is_open(self) -> bool:
        """Whether it has a result, which is still to come."""
        return self.answered_at is None and self.entry[0] in _ANSWERED


def commands(journal: Sequence[Entry]) -> list[Command]:
    """The commands of a journal in their order, each with what answers it.

    For those who look at a journal as a whole; an attempt finds out as it goes.
    """
    found: list[Command] = []
    waiting: dict[tuple[Any, Any], deque[Command]] = {}
    ahead: dict[tuple[Any, Any], deque[int]] = {}
    for at, entry in enumerate(journal):
        if entry[0] == CANCELLED:
            found = [command._replace(cancelled=True) for command in found]
        elif entry[0] < FIRST_NOTIFICATION:
            command = Command(entry, len(found) + 1, at)
            if command.is_open:
                whose = (entry[1] if entry[0] == SIGNAL else command.position, answered_by(entry))
                if ahead.get(whose):
                    command = command._replace(answered_at=ahead[whose].popleft())
                else:
                    waiting.setdefault(whose, deque()).append(command)
            found.append(command)
        elif waiting.get(whose := (entry[1], entry[2])):
            index = waiting[whose].popleft().position - 1
            found[index] = found[index]._replace(answered_at=at)
        elif entry[2] in _MAY_BE_AHEAD:
            ahead.setdefault(whose, deque()).append(at)
    return found


def describe(entry: Entry) -> str:
    """An entry for people, without payloads: `call Cart/add of key 'Mary'`."""
    kind = entry[0]
    words = _KINDS.get(kind, f"entry of kind {kind}")
    if kind == CANCELLED:
        return words
    if kind >= FIRST_NOTIFICATION:
        return f"{words} of signal {entry[1]!r}" if entry[2] == OF_SIGNAL else f"{words} for position {entry[1]}"
    if entry[1]:
        words += f" {entry[1]!r}" if kind > SEND else f" {entry[1]}"
    if kind in _WITH_TARGET and entry[2] is not None:
        words += f" of key {entry[2]!r}" if kind <= SEND else f" {InvocationId(entry[2])}"
    return words
