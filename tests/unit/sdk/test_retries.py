"""Retry policies: gaps are filled from the wider level, delays grow to their limit, nonsense is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from barnabas.sdk.retry_policy import InvocationRetryPolicy, ResolvedRetryPolicy, resolve_invocation_policy
from barnabas.sdk.run_options import RunOptions


def test_the_defaults_of_an_invocation():
    policy = resolve_invocation_policy(None, None)

    assert [policy.delay(n) for n in (1, 2, 3, 10, 11, 12, 70)] == [0.05, 0.1, 0.2, 25.6, 51.2, 60.0, 60.0]
    assert (policy.max_attempts, policy.on_max_attempts, policy.max_duration) == (70, "pause", None)


def test_the_narrower_level_wins_value_by_value():
    handler = InvocationRetryPolicy(max_attempts=3, on_max_attempts="kill")
    service = InvocationRetryPolicy(timedelta(seconds=1), 3.0, timedelta(seconds=5), 9, "pause")

    policy = resolve_invocation_policy(handler, service)

    assert policy == ResolvedRetryPolicy(1.0, 3.0, 5.0, 3, None, "kill")
    assert [policy.delay(n) for n in (1, 2, 3)] == [1.0, 3.0, 5.0]


def test_a_delay_after_very_many_attempts_is_the_longest():
    assert resolve_invocation_policy().delay(100_000) == 60.0


def test_attempts_count_the_first_one():
    policy = resolve_invocation_policy(InvocationRetryPolicy(max_attempts=2))

    assert [policy.gives_up(n) for n in (1, 2, 3)] == [False, True, True]


@pytest.mark.parametrize(
    "policy",
    [
        InvocationRetryPolicy(max_attempts=0),
        InvocationRetryPolicy(initial_interval=timedelta(seconds=-1)),
        InvocationRetryPolicy(exponentiation_factor=0.5),
        InvocationRetryPolicy(on_max_attempts="stop"),  # type: ignore[arg-type]
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy):
    with pytest.raises(ValueError, match=r"negative|factor|first attempt|pause"):
        resolve_invocation_policy(policy)


def test_a_step_without_retry_options_leaves_it_to_the_invocation():
    assert RunOptions[int]().retry_policy() is None
    assert RunOptions(type_hint=int).retry_policy() is None


def test_a_step_with_one_retry_option_has_defaults_for_the_others():
    policy = RunOptions[int](max_attempts=4).retry_policy()

    assert policy == ResolvedRetryPolicy(0.05, 2.0, 10.0, 4)


@pytest.mark.parametrize(
    "options",
    [RunOptions[int](max_duration=timedelta(seconds=3)), RunOptions[int](max_retry_duration=timedelta(seconds=3))],
)
def test_a_step_gives_up_after_its_duration(options):
    policy = options.retry_policy()

    assert policy is not None
    assert policy.max_attempts is None
    assert [policy.gives_up(1000, elapsed) for elapsed in (0.0, 2.9, 3.0)] == [False, False, True]
