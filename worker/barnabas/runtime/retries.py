"""What follows from a failure: another attempt after a delay, a pause, or the end. The policies are the sdk's."""

from __future__ import annotations

from typing import Any, NamedTuple

from barnabas.runtime.live import Step
from barnabas.sdk.errors import RetryableError
from barnabas.sdk.handler import Handler
from barnabas.sdk.retry_policy import DEFAULT_POLICY, ResolvedRetryPolicy


class Retry(NamedTuple):
    """`delay_ms` until the next attempt, None for no next one; `kill`: the failure is final."""

    delay_ms: int | None
    kill: bool = False

    def describe(self) -> str:
        """For the log."""
        if self.kill:
            return "gives up"
        return "pauses" if self.delay_ms is None else f"next in {self.delay_ms / 1000:g} s"


def of_invocation(handler: Handler[Any, Any] | None, failed: int, error: BaseException) -> Retry:
    """After attempt number `failed` of an invocation.

    A handler that is missing here may come with the next deployment.
    """
    policy = DEFAULT_POLICY if handler is None else handler.retry_policy
    if handler is not None and policy.gives_up(failed):
        return Retry(None, policy.on_max_attempts == "kill")
    return Retry(_delay_ms(policy, failed, error))


def of_step(step: Step, handler: Handler[Any, Any] | None, error: BaseException, now: int) -> Retry:
    """After attempt number `step.attempts` of a step.

    Its own options end it with a failure, the invocation's policy as that says.
    """
    policy = step.policy
    elapsed = (now - step.first_failed_at) / 1000
    if policy is None:
        policy = DEFAULT_POLICY if handler is None else handler.retry_policy
        if policy.gives_up(step.attempts):
            return Retry(None, policy.on_max_attempts == "kill")
    elif policy.gives_up(step.attempts, elapsed):
        return Retry(None, kill=True)
    return Retry(_delay_ms(policy, step.attempts, error))


def _delay_ms(policy: ResolvedRetryPolicy, failed: int, error: BaseException) -> int:
    if isinstance(error, RetryableError) and error.retry_after is not None:
        return max(0, round(error.retry_after.total_seconds() * 1000))
    return round(policy.delay(failed) * 1000)
