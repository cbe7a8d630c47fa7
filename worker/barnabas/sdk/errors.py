"""The errors of the public API, sorted by what the runtime does next.

    Exception
    ├── TerminalError                 ends the invocation (or step) at once; reaches the caller
    │   └── NotYetSupported           (501) the API has the name already, this release not the function
    ├── RetryableError                ends the attempt; the next one may say when it wants to start
    └── NonDeterminismError           ends the attempt; the code does not do what its journal says
    BaseException
    └── SdkInternalBaseException      control flow of the runtime, not for handlers to catch
        ├── SuspendedException        the attempt waits; it is rebuilt by replay
        └── SdkInternalException      the attempt has failed and will be retried

Any other exception that leaves a handler ends the attempt and is retried like a RetryableError without a delay.
The internal ones are no `Exception`s, so that a handler's `except Exception` cannot swallow a suspension.
Used by every layer above; imports nothing of Barnabas.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypeGuard

_HINT: Final = """
Barnabas raised this to leave the handler; nothing is wrong. A handler that sees it has caught too much:
catch TerminalError (or Exception) instead of using a bare `except:` or `except BaseException:`,
or raise it again, as barnabas.is_internal_exception(error) tells which errors these are."""


class TerminalError(Exception):
    """Ends an invocation for good: it is not retried, and whoever waits for its result gets this error.

    `status_code` is an HTTP status; `metadata` travels to the caller with code and message.
    """

    def __init__(self, message: str, status_code: int = 500, metadata: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.metadata = metadata


class NotYetSupported(TerminalError):
    """A part of the API that a later release brings. Terminal: trying again cannot help, the caller is told at once."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status_code=501)


class RetryableError(Exception):
    """Ends an attempt. The next one starts after `retry_after`, or after what the retry policy says if that is None."""

    def __init__(self, message: str, status_code: int = 500, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.retry_after = retry_after


class NonDeterminismError(Exception):
    """A replayed handler did something else than its journal holds. The message names both sides."""


class SdkInternalBaseException(BaseException):
    """Base of what the runtime raises inside a handler to leave it. Do not catch it, or raise it again."""

    def __init__(self, message: str) -> None:
        super().__init__(message + _HINT)


class SuspendedException(SdkInternalBaseException):
    """The attempt ends because it has to wait; it goes on, by replay, when something arrives."""

    def __init__(self) -> None:
        super().__init__("The invocation was suspended and goes on as soon as what it waits for is there.")


class SdkInternalException(SdkInternalBaseException):
    """The attempt ends because of an error that the runtime has noted already; the invocation is retried."""

    def __init__(self) -> None:
        super().__init__("The attempt has failed; the invocation is retried from where its journal ends.")


def is_internal_exception(e: BaseException | None) -> TypeGuard[SdkInternalBaseException]:
    """Whether `e` belongs to the runtime's control flow and must be raised again by whoever caught it."""
    return isinstance(e, SdkInternalBaseException)
