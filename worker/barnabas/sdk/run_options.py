"""`RunOptions`: what a step of `ctx.run_typed` is told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from barnabas.sdk.retry_policy import ResolvedRetryPolicy, resolve_step_policy
from barnabas.sdk.serde import DEFAULT_SERDE, Serde

T = TypeVar("T")


@dataclass
class RunOptions(Generic[T]):
    """How a step of `ctx.run_typed` stores its result and how it is tried again.

    `type_hint` picks the serde where the action has no return annotation. `max_attempts` (the first one counts) and
    `max_duration` end the retries: the step then raises a TerminalError with the last message. As soon as one retry
    value is given the others have defaults (50 ms, factor 2, at most 10 s apart, no end); if none is, the
    invocation's retry policy applies. `max_retry_duration` is the older name of `max_duration`.
    """

    serde: Serde[T] = DEFAULT_SERDE
    type_hint: type[T] | None = None
    max_attempts: int | None = None
    max_duration: timedelta | None = None
    initial_retry_interval: timedelta | None = None
    max_retry_interval: timedelta | None = None
    retry_interval_factor: float | None = None
    max_retry_duration: timedelta | None = None

    def retry_policy(self) -> ResolvedRetryPolicy | None:
        """The step's own policy, or None where the invocation's applies. Raises ValueError if it makes no sense."""
        return resolve_step_policy(
            max_attempts=self.max_attempts,
            max_duration=self.max_retry_duration if self.max_duration is None else self.max_duration,
            initial_interval=self.initial_retry_interval,
            max_interval=self.max_retry_interval,
            factor=self.retry_interval_factor,
        )
