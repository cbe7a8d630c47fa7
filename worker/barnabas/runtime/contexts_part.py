"""What the parts of a handler's context share; see `context.py`."""

from __future__ import annotations

from typing import Any, Final

from barnabas.contract.ids import InvocationId, MalformedId
from barnabas.runtime.attempt import Attempt
from barnabas.sdk.errors import TerminalError
from barnabas.sdk.serde import DefaultSerde

DEFAULT: Final[DefaultSerde[Any]] = DefaultSerde()


class ContextPart:
    """A context's way to its attempt and its shard."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._live = attempt.live
        self._host = attempt.host


def invocation_of(text: Any) -> InvocationId:
    """The id that a handler has given. Raises TerminalError 400 if it is none."""
    if not isinstance(text, str):
        raise TerminalError(f"an invocation's id is a text ('inv_...'), not a {type(text).__qualname__}", 400)
    try:
        return InvocationId.parse(text)
    except MalformedId as error:
        raise TerminalError(str(error), 400) from None
