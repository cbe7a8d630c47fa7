"""Journals for people: every entry has a line, whatever order results came in."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from barnabas.contract.records import Failure
from barnabas.introspection.journals import NAMES, lines_of, output_line, target_text
from barnabas.runtime import journal as j

ids = st.binary(min_size=24, max_size=24)
names = st.text(max_size=5)
keys = st.none() | names
COMMANDS = {
    j.CALL: st.tuples(st.just("S/h"), keys, ids),
    j.SEND: st.tuples(st.just("S/h"), keys, ids),
    j.RUN: st.tuples(names),
    j.SLEEP: st.tuples(names, st.integers(0, 2**53)),
    j.GET: st.tuples(names, st.none() | st.binary(max_size=3)),
    j.STATE_KEYS: st.tuples(st.just(""), st.lists(names)),
    j.SET: st.tuples(names),
    j.CLEAR: st.tuples(names),
    j.CLEAR_ALL: st.tuples(st.just("")),
    j.TIME: st.tuples(st.just(""), st.integers(0, 2**53)),
    j.AWAKEABLE: st.tuples(st.just("")),
    j.SIGNAL: st.tuples(names),
    j.ATTACH: st.tuples(st.just(""), ids),
    j.CANCEL: st.tuples(st.just(""), ids),
    j.RESOLVE: st.tuples(names),
    j.PROMISE: st.tuples(names),
    j.PEEK: st.tuples(names, st.none() | st.lists(st.binary(max_size=3), min_size=1, max_size=1)),
    j.COMPLETE: st.tuples(names, st.booleans()),
}
whose = st.sampled_from([None, j.OF_AWAKEABLE, j.OF_PROMISE]) | ids


def _entry(kind: int) -> st.SearchStrategy[list[Any]]:
    return COMMANDS[kind].map(lambda fields: [kind, *fields])


commands = st.sampled_from(sorted(COMMANDS)).flatmap(_entry)
results = st.builds(lambda at, by, value: [j.RESULT, at, by, value], st.integers(1, 9), whose, st.binary(max_size=3))
failures = st.builds(lambda at, by: [j.FAILURE, at, by, 500, "no", {}], st.integers(1, 9), whose)
signals = st.builds(lambda name: [j.RESULT, name, j.OF_SIGNAL, b"1"], names)
journals = st.lists(commands | results | failures | signals | st.just([j.CANCELLED, 0, None]), max_size=12)


def test_every_command_has_a_name() -> None:
    kinds = {value for name, value in vars(j).items() if name.isupper() and isinstance(value, int)}
    assert {kind for kind in kinds if kind < j.FIRST_NOTIFICATION} == set(NAMES) == set(COMMANDS)


@given(journals)
def test_every_entry_has_a_line(journal: list[j.Entry]) -> None:
    lines = lines_of([j.unpack_entry(j.pack_entry(entry)) for entry in journal], input_size=3)
    assert [line.index for line in lines] == list(range(len(journal) + 1))
    assert all(line.text for line in lines)
    of_commands = [line for line in lines if line.entry_type.startswith("Command: ") and line.index]
    assert [line.position for line in of_commands] == list(range(1, len(of_commands) + 1))
    assert len(of_commands) == sum(entry[0] < j.FIRST_NOTIFICATION for entry in journal)


def test_what_is_answered_is_completed() -> None:
    journal: list[j.Entry] = [[j.RUN, "a"], [j.RUN, "b"], [j.RESULT, 2, None, b"12"], [j.SET, "x"]]
    lines = lines_of(journal)
    assert [line.completed for line in lines] == [None, False, True, None, None]
    assert (lines[3].entry_type, lines[3].position, lines[3].size) == ("Notification: Run", 2, 2)


def test_times_are_there_where_they_were_noted() -> None:
    journal: list[j.Entry] = [
        [j.RUN, "old"],
        [j.RUN, "a", 100],
        [j.RESULT, 2, None, b"1", 130],
        [j.RESULT, 1, None, b"", 140],
    ]
    lines = lines_of([*journal, [j.CANCELLED, 0, None, 150], [j.RESULT, 9, None, b"", 160]])
    assert [line.appended_at for line in lines] == [None, None, 100, 130, 140, 150, 160]
    assert [line.took for line in lines] == [None, None, None, 30, None, None, None]


def test_the_end() -> None:
    assert output_line(4, 3, None).entry_type == "Command: Output"
    assert output_line(4, None, Failure(404, "no")).text == "failed: [404] no"
    assert [target_text("S", key, "h") for key in (None, "k/1", "")] == ["S/h", "S/k/1/h", "S//h"]
