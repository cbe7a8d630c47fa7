"""Errors: which ones a handler may catch, and what they tell."""

from __future__ import annotations

import inspect
from datetime import timedelta

import pytest

import barnabas
from barnabas import exceptions
from barnabas.sdk import context, futures


@pytest.mark.parametrize("error", [exceptions.SuspendedException(), exceptions.SdkInternalException()])
def test_an_except_exception_does_not_swallow_control_flow(error):
    assert not isinstance(error, Exception)
    assert barnabas.is_internal_exception(error)
    assert "except TerminalError" in str(error) or "catch TerminalError" in str(error)


def test_other_errors_are_not_internal():
    for error in (barnabas.TerminalError("x"), ValueError(), KeyboardInterrupt(), None):
        assert not barnabas.is_internal_exception(error)


def test_terminal_errors_carry_code_and_metadata():
    error = barnabas.TerminalError("no seat", status_code=409, metadata={"seat": "1A"})

    assert (str(error), error.message, error.status_code, error.metadata) == ("no seat", "no seat", 409, {"seat": "1A"})
    assert barnabas.TerminalError("x").status_code == 500


def test_retryable_errors_carry_a_delay():
    assert barnabas.RetryableError("busy", retry_after=timedelta(seconds=3)).retry_after == timedelta(seconds=3)


def test_what_is_not_there_yet_ends_the_invocation_with_501():
    error = barnabas.NotYetSupported("scopes are not part of Barnabas yet")

    assert isinstance(error, barnabas.TerminalError)
    assert error.status_code == 501


def test_scopes_are_no_part_of_it_and_say_so():
    with pytest.raises(barnabas.NotYetSupported, match="not part of"):
        context.Context.scope(None, "tenant")


@pytest.mark.parametrize(
    "owner",
    [
        context.Context,
        context.ObjectContext,
        context.ObjectSharedContext,
        context.WorkflowContext,
        context.WorkflowSharedContext,
        futures.DurableFuture,
        futures.DurableCallFuture,
        futures.SendHandle,
    ],
)
def test_the_api_is_abstract(owner):
    assert inspect.isabstract(owner)
