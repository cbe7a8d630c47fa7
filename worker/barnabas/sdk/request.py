"""`Request`: the invocation as a handler sees it, by `ctx.request()`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


class AttemptFinishedEvent(ABC):
    """Set when the attempt is over, so that what was opened for it alone can be closed."""

    @abstractmethod
    def is_set(self) -> bool:
        """Whether the attempt is over."""

    @abstractmethod
    async def wait(self) -> None:
        """Return when the attempt is over."""


@dataclass
class Request:
    """The invocation as it came in. `body` is the payload, not yet decoded; `headers` are the sender's."""

    id: str
    headers: dict[str, str]
    attempt_headers: dict[str, str]
    body: bytes
    attempt_finished_event: AttemptFinishedEvent
    scope: str | None = None
    limit_key: str | None = None
    idempotency_key: str | None = None
