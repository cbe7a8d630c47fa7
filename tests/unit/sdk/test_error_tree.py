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
    error = barnabas.NotYetSupported("send_delay comes with the next release")

    assert isinstance(error, barnabas.TerminalError)
    assert error.status_code == 501


@pytest.mark.parametrize(
    ("owner", "method", "args"),
    [
        (context.Context, "awakeable", ()),
        (context.Context, "resolve_awakeable", ("sign_1", 5)),
        (context.Context, "reject_awakeable", ("sign_1", "no")),
        (context.Context, "signal", ("paid",)),
        (context.Context, "resolve_signal", ("inv_1", "paid", 5)),
        (context.Context, "reject_signal", ("inv_1", "paid", "no")),
        (context.Context, "cancel_invocation", ("inv_1",)),
        (context.Context, "attach_invocation", ("inv_1",)),
        (context.Context, "scope", ("tenant",)),
        (context.WorkflowContext, "promise", ("paid",)),
        (context.WorkflowSharedContext, "promise", ("paid",)),
    ],
)
def test_what_the_next_release_brings_says_so(owner, method, args):
    with pytest.raises(barnabas.NotYetSupported, match=r"next release|not part of"):
        getattr(owner, method)(None, *args)


@pytest.mark.parametrize("owner", [futures.DurableCallFuture, futures.SendHandle])
async def test_cancelling_by_a_handle_says_so(owner):
    with pytest.raises(barnabas.NotYetSupported, match="next release"):
        await owner.cancel_invocation(None)


@pytest.mark.parametrize(
    "owner",
    [context.Context, context.ObjectContext, context.ObjectSharedContext, futures.DurableFuture, futures.SendHandle],
)
def test_the_api_is_abstract(owner):
    assert inspect.isabstract(owner)
