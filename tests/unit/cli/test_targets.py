"""Targets and headers on the command line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from barnabas.cli.targets import Target, parse_delay, parse_headers, parse_target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("Greeter/greet", Target("Greeter", None, "greet")),
        ("Plane/N14228/depart", Target("Plane", "N14228", "depart")),
        ("Plane/a%2Fb%20%C3%BC/depart", Target("Plane", "a/b ü", "depart")),
    ],
)
def test_targets_are_read(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize("text", ["Greeter", "", "/greet", "Plane//depart", "a/b/c/d", "Greeter/"])
def test_what_is_no_target_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="Object/key/handler"):
        parse_target(text)


def test_a_key_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(ValueError, match="not UTF-8"):
        parse_target("Plane/%ff/depart")


def test_headers_are_read() -> None:
    assert parse_headers(["a=b", "c=d=e", "f="]) == {"a": "b", "c": "d=e", "f": ""}
    with pytest.raises(ValueError, match="'a' is no header"):
        parse_headers(["a"])


def test_a_workflows_target_has_a_key() -> None:
    assert parse_target("Flow/id/run", workflow=True) == Target("Flow", "id", "run", True)
    with pytest.raises(ValueError, match="Workflow/key/handler"):
        parse_target("Flow/run", workflow=True)


@pytest.mark.parametrize(
    ("text", "delay"),
    [
        ("10s", timedelta(seconds=10)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("1h 30m", timedelta(hours=1, minutes=30)),
        ("2 days", timedelta(days=2)),
        ("500ms", timedelta(milliseconds=500)),
        ("1.5h", timedelta(minutes=90)),
        ("PT10S", timedelta(seconds=10)),
        ("P1DT2H", timedelta(days=1, hours=2)),
        ("P2W", timedelta(weeks=2)),
    ],
)
def test_delays_are_read(text: str, delay: timedelta) -> None:
    assert parse_delay(text) == delay


@pytest.mark.parametrize("text", ["", "10", "s", "10x", "1d x", "-1s", "P", "PT", "10 s or so"])
def test_what_is_no_delay_says_how_to_write_one(text: str) -> None:
    with pytest.raises(ValueError, match="write 10s, 1h30m, 2 days or PT10S"):
        parse_delay(text)


def test_a_delay_that_python_cannot_hold_says_so() -> None:
    with pytest.raises(ValueError, match="too long a delay"):
        parse_delay("99999999999999 days")
