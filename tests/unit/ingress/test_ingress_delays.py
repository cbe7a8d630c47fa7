"""How clients write delays."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barnabas.ingress.http.delays import MAX_DELAY_MS, parse_delay

HOUR, DAY = 3_600_000, 86_400_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("PT10S", 10_000),
        ("pt10s", 10_000),
        ("PT0.5S", 500),
        ("PT0,5S", 500),
        ("P1DT2H", DAY + 2 * HOUR),
        ("P2W", 14 * DAY),
        ("+PT1M", 60_000),
        ("PT0S", 0),
        ("10s", 10_000),
        ("10 s", 10_000),
        ("0s", 0),
        ("1h 30m", HOUR + 30 * 60_000),
        ("1h30m", HOUR + 30 * 60_000),
        ("1h, 30m", HOUR + 30 * 60_000),
        ("1.5s", 1_500),
        ("1day", DAY),
        ("2 weeks", 14 * DAY),
        ("1000ms", 1_000),
        ("1500us", 1),
        ("5 µs", 0),
        ("1000", 1_000),
        ("0", 0),
        ("  7 ", 7),
    ],
)
def test_every_form(text: str, milliseconds: int) -> None:
    assert parse_delay(text) == milliseconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "zzz",
        "P",
        "PT",
        "P1DT",
        "-PT1S",
        "-5",
        "-5s",
        "1.5",
        "s",
        "10 lightyears",
        "PT1H2",
        "P1S",
        "1h 30",
        ",1h",
        "1e3s",
        "\u0661s",
        "1_000",
        "1s;2s",
        "inf",
        "NaN",
    ],
)
def test_what_is_no_delay(text: str) -> None:
    with pytest.raises(ValueError, match="neither an ISO 8601"):
        parse_delay(text)


@pytest.mark.parametrize("text", ["1M", "1H", "1S", "1Min", "1MS", "1D", "2 Weeks", "1h 5M"])
def test_units_are_small_letters(text: str) -> None:
    """As Restate has it. `M` is a month to some and a minute to others: nobody's message is to be early by 30 days."""
    with pytest.raises(ValueError, match="neither an ISO 8601"):
        parse_delay(text)


@pytest.mark.parametrize("text", ["P1M", "P1Y", "1month", "1 year", "P1Y2M3DT4S"])
def test_units_of_the_calendar_have_no_length(text: str) -> None:
    with pytest.raises(ValueError, match="say it in days"):
        parse_delay(text)


@pytest.mark.parametrize("text", ["999999999999999999", "99999999999999d", "P99999999999999D"])
def test_a_delay_has_an_end(text: str) -> None:
    with pytest.raises(ValueError, match="thousand years"):
        parse_delay(text)


@given(st.integers(0, MAX_DELAY_MS))
def test_milliseconds_come_through_each_form(milliseconds: int) -> None:
    seconds, rest = divmod(milliseconds, 1000)
    assert parse_delay(str(milliseconds)) == milliseconds
    assert parse_delay(f"{milliseconds}ms") == milliseconds
    assert parse_delay(f"PT{seconds}.{rest:03d}S") == milliseconds
    assert parse_delay(f"{seconds}s {rest}ms") == milliseconds


@given(st.timedeltas(timedelta(0), timedelta(days=10_000)))
def test_days_hours_and_minutes_add_up(delay: timedelta) -> None:
    minutes, seconds = divmod(delay.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    expected = int(timedelta(delay.days, delay.seconds) / timedelta(milliseconds=1))
    assert parse_delay(f"P{delay.days}DT{hours}H{minutes}M{seconds}S") == expected
    assert parse_delay(f"{delay.days}d {hours}h {minutes}min {seconds}sec") == expected


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    with suppress(ValueError):
        assert 0 <= parse_delay(text) <= MAX_DELAY_MS
