"""Errors of user code as they are stored and as they travel: always text that has a UTF-8 form, never without bounds.

A message is whatever the user (or a payload from outside) put into it. What could not be encoded would break the commit
or the record it stands in, and with it every other invocation of the shard, so it is made fit here, where errors enter
the engine.
"""

from __future__ import annotations

from typing import Final

from barnabas.contract.records import Failure
from barnabas.sdk.errors import NonDeterminismError, RetryableError, TerminalError

#: Characters of a message, of all metadata together, of a name, and of what addresses a message (key, idempotency key,
#: headers). More would not fit into a record beside everything else.
MAX_CHARACTERS: Final = 32_000
#: The status of a failure whose own is no HTTP status.
_UNKNOWN_STATUS: Final = 500
#: The status of one whose handler did something else than its journal holds, to the end; as in Restate.
_JOURNAL_MISMATCH: Final = 570


def failure_of(error: TerminalError) -> Failure:
    """A terminal error as a value. Metadata that is too long is left out."""
    code = error.status_code
    if not isinstance(code, int) or not 100 <= code <= 999:
        code = _UNKNOWN_STATUS
    metadata = {_clean(str(name)): _clean(str(value)) for name, value in (error.metadata or {}).items()}
    if sum(len(name) + len(value) for name, value in metadata.items()) > MAX_CHARACTERS:
        metadata = {}
    return Failure(int(code), _clean(str(error.message)), metadata)


def status_given_up(error: BaseException) -> int:
    """The status of an invocation whose attempts are used up, by the error of the last one."""
    return _JOURNAL_MISMATCH if isinstance(error, NonDeterminismError) else _UNKNOWN_STATUS


def too_long(what: str, characters: int) -> TerminalError:
    """The error for a text whose place in a record is too small for it."""
    return TerminalError(f"{what} has {characters} characters, more than {MAX_CHARACTERS}", 413)


def failure_text(error: BaseException) -> str:
    """An error in one line, as callers and people see it."""
    if isinstance(error, (TerminalError, RetryableError)):
        return _clean(str(error.message))
    text = _text(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _text(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except Exception as broken:  # an exception class of the user's, whose __str__ is wrong
        return f"(its text cannot be had: {type(broken).__name__})"


def _clean(text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        text = text[:MAX_CHARACTERS] + "..."
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
