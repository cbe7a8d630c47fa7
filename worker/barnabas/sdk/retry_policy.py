"""How often, and how far apart, something is tried again: what users write, and what the runtime follows.

`InvocationRetryPolicy` is what users write, with gaps. `ResolvedRetryPolicy` has none: it is made once, when a
handler is defined (`resolve_invocation_policy`) or a step starts (`resolve_step_policy`), and asked after every
failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeVar

T = TypeVar("T")

OnMaxAttempts = Literal["pause", "kill"]


@dataclass
class InvocationRetryPolicy:
    """Retry policy of a service or handler. What is None comes from the next wider level: handler, service, Barnabas.

    `max_attempts` counts the first attempt too. `on_max_attempts` says what becomes of the invocation after the
    last one.
    """

    initial_interval: timedelta | None = None
    exponentiation_factor: float | None = None
    max_interval: timedelta | None = None
    max_attempts: int | None = None
    on_max_attempts: OnMaxAttempts | None = None


@dataclass(frozen=True, slots=True)
class ResolvedRetryPolicy:
    """A retry policy without gaps. Times are seconds; a limit of None is no limit."""

    initial_interval: float
    factor: float
    max_interval: float
    max_attempts: int | None
    max_duration: float | None = None
    on_max_attempts: OnMaxAttempts = "pause"

    def __post_init__(self) -> None:
        if self.initial_interval < 0 or self.max_interval < 0 or (self.max_duration or 0) < 0:
            raise ValueError(f"a retry policy's times must not be negative: {self}")
        if self.factor < 1:
            raise ValueError(f"a retry policy's factor must be at least 1, not {self.factor}")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"max_attempts counts the first attempt, so it is at least 1, not {self.max_attempts}")
        if self.on_max_attempts not in ("pause", "kill"):
            raise ValueError(f"on_max_attempts is 'pause' or 'kill', not {self.on_max_attempts!r}")

    def delay(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (from 1) has failed."""
        try:
            return min(self.initial_interval * self.factor ** (attempt - 1), self.max_interval)
        except OverflowError:
            return self.max_interval

    def gives_up(self, attempt: int, elapsed: float = 0.0) -> bool:
        """Whether attempt number `attempt`, which failed `elapsed` seconds after the first one began, was the last."""
        if self.max_attempts is not None and attempt >= self.max_attempts:
            return True
        return self.max_duration is not None and elapsed >= self.max_duration


DEFAULT_POLICY: Final = ResolvedRetryPolicy(initial_interval=0.05, factor=2.0, max_interval=60.0, max_attempts=70)

_STEP_INITIAL_INTERVAL: Final = 0.05
_STEP_FACTOR: Final = 2.0
_STEP_MAX_INTERVAL: Final = 10.0


def resolve_invocation_policy(*policies: InvocationRetryPolicy | None) -> ResolvedRetryPolicy:
    """The policy of a handler: `policies` from the narrowest (handler) to the widest (service), then the defaults.

    Raises ValueError for a policy that makes no sense.
    """
    merged = InvocationRetryPolicy()
    for policy in policies:
        if policy is not None:
            merged = InvocationRetryPolicy(
                initial_interval=_first(merged.initial_interval, policy.initial_interval),
                exponentiation_factor=_first(merged.exponentiation_factor, policy.exponentiation_factor),
                max_interval=_first(merged.max_interval, policy.max_interval),
                max_attempts=_first(merged.max_attempts, policy.max_attempts),
                on_max_attempts=_first(merged.on_max_attempts, policy.on_max_attempts),
            )
    return ResolvedRetryPolicy(
        initial_interval=_seconds(merged.initial_interval, DEFAULT_POLICY.initial_interval),
        factor=_or(merged.exponentiation_factor, DEFAULT_POLICY.factor),
        max_interval=_seconds(merged.max_interval, DEFAULT_POLICY.max_interval),
        max_attempts=_or(merged.max_attempts, DEFAULT_POLICY.max_attempts),
        on_max_attempts=_or(merged.on_max_attempts, DEFAULT_POLICY.on_max_attempts),
    )


def resolve_step_policy(
    max_attempts: int | None,
    max_duration: timedelta | None,
    initial_interval: timedelta | None,
    max_interval: timedelta | None,
    factor: float | None,
) -> ResolvedRetryPolicy | None:
    """The policy of a `ctx.run` step, or None if it has none of its own and the invocation's applies.

    As soon as one value is given the others have defaults: 50 ms, factor 2, at most 10 s apart, without an end.
    """
    if all(value is None for value in (max_attempts, max_duration, initial_interval, max_interval, factor)):
        return None
    return ResolvedRetryPolicy(
        initial_interval=_seconds(initial_interval, _STEP_INITIAL_INTERVAL),
        factor=_or(factor, _STEP_FACTOR),
        max_interval=_seconds(max_interval, _STEP_MAX_INTERVAL),
        max_attempts=max_attempts,
        max_duration=None if max_duration is None else max_duration.total_seconds(),
    )


def _first(one: T | None, other: T | None) -> T | None:
    return other if one is None else one


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _seconds(value: timedelta | None, default: float) -> float:
    return default if value is None else value.total_seconds()
