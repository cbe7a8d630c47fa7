"""What a journal says about what its invocation waits for."""

from __future__ import annotations

from typing import Any

import pytest

from barnabas.introspection.waits import CallTarget, call_target, open_commands
from barnabas.runtime import journal as j

A, B = b"a" * 24, b"b" * 24


def kinds(*journal: list[Any]) -> list[tuple[int, int]]:
    return [(one.position, one.entry[0]) for one in open_commands(journal)]


@pytest.mark.parametrize(
    ("command", "whose", "place"),
    [
        ([j.CALL, "S/h", "k", A], A, 2),
        ([j.ATTACH, "", A], A, 2),
        ([j.RUN, "step"], None, 2),
        ([j.SLEEP, "", 5], None, 2),
        ([j.AWAKEABLE, ""], j.OF_AWAKEABLE, 2),
        ([j.PROMISE, "p"], j.OF_PROMISE, 2),
        ([j.SIGNAL, "s"], j.OF_SIGNAL, "s"),
    ],
)
def test_a_command_is_open_until_its_own_result_is_there(command: list[Any], whose: Any, place: Any) -> None:
    first = [j.SET, "x"]
    assert kinds(first, command) == [(2, command[0])]
    assert kinds(first, command, [j.RESULT, place, whose, b"1"]) == []
    assert kinds(first, command, [j.FAILURE, place, whose, 500, "no", {}]) == []
    assert kinds(first, command, [j.RESULT, place, b"another's", b"1"]) == [(2, command[0])]
    if place == 2:
        assert kinds(first, command, [j.RESULT, 1, whose, b"1"]) == [(2, command[0])]


@pytest.mark.parametrize("command", [[j.CALL, "S/h", "k", A], [j.ATTACH, "", A]])
def test_a_result_from_before_a_call_answers_nothing(command: list[Any]) -> None:
    """It is of a time that the store has lost, and the attempt passes it by (R9)."""
    early = [j.FAILURE, 1, A, 409, "of another time", {}]
    assert kinds(early, command) == [(1, command[0])]
    assert kinds(early, command, [j.RESULT, 1, A, b"1"]) == []


def test_an_awakeable_may_be_resolved_ahead() -> None:
    assert kinds([j.RESULT, 1, j.OF_AWAKEABLE, b"1"], [j.AWAKEABLE, ""]) == []


def test_what_nobody_waits_for_is_never_open() -> None:
    done = [[j.SEND, "S/h", None, A], [j.GET, "x", None], [j.SET, "x"], [j.TIME, "", 1], [j.CANCEL, "", A]]
    done += [[j.RESOLVE, "inv_"], [j.PEEK, "p", None], [j.COMPLETE, "p", True], [j.CLEAR_ALL, ""], [j.CLEAR, "x"]]
    assert kinds(*done, [j.STATE_KEYS, "", []]) == []


def test_each_signal_answers_one_wait_for_its_name_also_ahead_of_it() -> None:
    sent = [j.RESULT, "s", j.OF_SIGNAL, b"1"]
    assert kinds(sent, [j.SIGNAL, "s"]) == []
    assert kinds([j.SIGNAL, "s"], sent, [j.SIGNAL, "s"], [j.SIGNAL, "t"]) == [(2, j.SIGNAL), (3, j.SIGNAL)]


def test_what_was_open_at_a_cancellation_is_marked() -> None:
    journal = [[j.CALL, "S/h", "k", A], [j.CANCELLED, 0, None], [j.CALL, "S/h", "k", B]]
    assert [(one.entry[3], one.cancelled) for one in open_commands(journal)] == [(A, True), (B, False)]


def test_a_call_names_its_target() -> None:
    assert call_target([j.CALL, "Service/a/b", "k/1", A]) == CallTarget(A, "Service", "a/b", "k/1")
