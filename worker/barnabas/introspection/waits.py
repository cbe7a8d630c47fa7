"""What an invocation waits for, read from its journal: commands whose results are not there. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from barnabas.runtime import journal as j

#: Command -> where in its entry stands whose result answers it; or the fixed value.
_ANSWERED_BY: Final = {
    j.CALL: 3,
    j.ATTACH: 2,
    j.RUN: None,
    j.SLEEP: None,
    j.AWAKEABLE: j.OF_AWAKEABLE,
    j.PROMISE: j.OF_PROMISE,
}


class Open(NamedTuple):
    """A command without its result."""

    position: int
    entry: j.Entry
    cancelled: bool  # the invocation was cancelled since; a call was then cancelled with it


class CallTarget(NamedTuple):
    """What a CALL entry says about the invocation that it made."""

    id: bytes
    service: str
    handler: str
    key: str | None


def open_commands(journal: Sequence[j.Entry]) -> list[Open]:
    """The commands that wait for a result, in program order. Whether the handler awaits them now, nobody has noted."""
    answered = {(entry[1], entry[2]) for entry in journal if j.FIRST_NOTIFICATION <= entry[0] <= j.FAILURE}
    signals = Counter(entry[1] for entry in journal if entry[0] in (j.RESULT, j.FAILURE) and entry[2] == j.OF_SIGNAL)
    last_cancelled = max((at for at, entry in enumerate(journal) if entry[0] == j.CANCELLED), default=-1)
    found = []
    position = 0
    for at, entry in enumerate(journal):
        if entry[0] >= j.FIRST_NOTIFICATION:
            continue
        position += 1
        if entry[0] == j.SIGNAL:
            signals[entry[1]] -= 1
            is_open = signals[entry[1]] < 0
        else:
            is_open = entry[0] in _ANSWERED_BY and (position, _answers(entry)) not in answered
        if is_open:
            found.append(Open(position, entry, at < last_cancelled))
    return found


def call_target(entry: j.Entry) -> CallTarget:
    """Where a CALL or SEND goes."""
    service, _, handler = entry[1].partition("/")
    return CallTarget(entry[3], service, handler, entry[2])


def _answers(entry: j.Entry) -> bytes | None:
    place = _ANSWERED_BY[entry[0]]
    whose: bytes | None = entry[place] if isinstance(place, int) else place
    return whose
