"""Targets and headers on the command line."""

from __future__ import annotations

import pytest

from barnabas.cli.targets import Target, parse_headers, parse_target


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
