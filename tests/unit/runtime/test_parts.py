"""The parts of an engine by themselves: outbox, timers, state, directory."""

from __future__ import annotations

import pytest

from barnabas.contract.records import Label
from barnabas.contract.topics import TopicNames
from barnabas.log.port import OutRecord
from barnabas.runtime.directory import Directory, UnknownTarget
from barnabas.runtime.outbox import Outbox
from barnabas.runtime.state import KeyState, States
from barnabas.runtime.timers import RETRY, Timers
from barnabas.store.port import Service


def record(value: bytes = b"v") -> OutRecord:
    return OutRecord("t", 0, b"k", value, None)


# -- outbox


def test_outbox_entries_are_numbered_in_order_and_leave_one_by_one() -> None:
    """R2."""
    outbox = Outbox("S/0")
    for _ in range(3):
        outbox.add(record(), 1)
    added, put, gone = outbox.seal()
    assert (added, put[::2], gone) == ([1, 2, 3], [1, 2, 3], [])
    outbox.remove(2)
    assert outbox.remove(2) is None
    assert outbox.committed() == [1, 3]
    assert outbox.seal() == ([], [], [2])
    assert outbox.seal() == ([], [], [])


def test_only_committed_outbox_entries_are_produced_again() -> None:
    outbox = Outbox("S/0")
    for _ in range(4):
        outbox.add(record(), 1)
        outbox.seal()
    outbox.add(record(), 1)
    assert outbox.committed() == [1, 2, 3, 4]
    assert outbox.committed(3) == [1, 2]


def test_labels_carry_the_take_of_the_oldest_entry() -> None:
    """R14."""
    outbox = Outbox("S/0")
    assert outbox.label(b"L3", 3) == Label("S/0", b"L3", 1, 3, 3)
    outbox.add(record(), 3)
    assert outbox.label(b"L5", 5) == Label("S/0", b"L5", 2, 5, 3)
    outbox.add(record(), 5)
    outbox.remove(1)
    assert outbox.label(b"L5", 5).oldest_take == 5


def test_an_outbox_comes_back_as_it_was_with_its_labels() -> None:
    outbox = Outbox("S/0")
    for n in range(12):
        outbox.add(OutRecord("t", n, None, b"%d" % n, [("a", b"b")]), n)
    _, put, _ = outbox.seal()
    again = Outbox("S/0")
    again.restore(12, {b"%d" % number: packed for number, packed in zip(put[::2], put[1::2], strict=True)})
    assert again.get(again.committed()) == outbox.get(outbox.committed())
    assert again.label(b"", 99).oldest_take == 0
    again.add(record(), 1)
    assert again.last == 13


# -- timers


def test_timers_come_up_in_order_of_their_due_time() -> None:
    timers = Timers()
    timers.arm_sleep(b"a", 1, 30)
    timers.arm_retry(b"b", 10)
    timers.arm_step(b"c", 2, 20)
    assert timers.next_due() == 10
    assert timers.pop_due(9) == []
    assert [(one.id, one.position, one.step) for one in timers.pop_due(30)] == [
        (b"b", RETRY, False),
        (b"c", 2, True),
        (b"a", 1, False),
    ]
    assert timers.next_due() is None


def test_a_sleep_that_is_over_before_its_commit_leaves_nothing_in_the_store() -> None:
    timers = Timers()
    timers.arm_sleep(b"a", 1, 30)
    timers.pop_due(30)
    assert timers.seal() == ([], [])


def test_sleeps_of_an_invocation_that_is_over_are_forgotten() -> None:
    timers = Timers()
    timers.arm_sleep(b"a" * 24, 1, 30)
    timers.arm_sleep(b"a" * 24, 2, 40)
    put, _ = timers.seal()
    timers.forget(b"a" * 24)
    assert timers.pop_due(100) == []
    assert sorted(timers.seal()[1]) == sorted(put[1::2])


def test_sleeps_come_back_from_the_store() -> None:
    timers = Timers()
    timers.arm_sleep(b"a" * 24, 70_000, 2**53 - 1)
    put, _ = timers.seal()
    again = Timers()
    again.restore([(put[1], float(put[0]))])  # type: ignore[list-item]
    [timer] = again.pop_due(2**53)
    assert (timer.id, timer.position, timer.due) == (b"a" * 24, 70_000, 2**53 - 1)


# -- state


def test_of_many_writes_to_a_value_the_last_is_stored() -> None:
    state = KeyState({"old": b"1"})
    state.set("a", b"1")
    state.set("a", b"22")
    state.set("old", None)
    assert state.seal("k") == [("HDEL", b"st:k", "old"), ("HSET", b"st:k", "a", b"22")]
    assert state.seal("k") == []
    assert state.size == 2


def test_clearing_everything_comes_before_what_is_written_after_it() -> None:
    state = KeyState({"old": b"1"})
    state.set("lost", b"1")
    state.clear()
    state.set("a", b"1")
    state.set("old", None)
    assert state.seal("k") == [("DEL", b"st:k"), ("HSET", b"st:k", "a", b"1")]


def test_states_that_are_in_use_or_not_committed_stay_in_memory() -> None:
    states = States(1000)
    for key in ("used", "uncommitted", "changed", "idle"):
        states.load(key, {b"a": b"x" * 1000})
    uncommitted, changed = states.get("uncommitted"), states.get("changed")
    assert uncommitted is not None
    assert changed is not None
    uncommitted.dirty = 5
    states.changed["changed"] = changed
    states.shrink(4, {"used"})
    assert [states.get(key) is not None for key in ("used", "uncommitted", "changed", "idle")] == [
        True,
        True,
        True,
        False,
    ]


# -- directory


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (("Nobody", "run", False), "no service 'Nobody' is registered"),
        (("Svc", "walk", False), r"no handler 'walk' \(it has: run\)"),
        (("Svc", "run", True), "is a service and takes no key"),
        (("Obj", "run", False), "is a object and needs a key|is an object and needs a key"),
    ],
)
def test_a_target_that_nobody_serves_is_refused_with_what_to_do(target: tuple[str, str, bool], words: str) -> None:
    services = {
        "Svc": Service("Svc", "service", 1, "g", {"run": "service"}),
        "Obj": Service("Obj", "object", 1, "g", {"run": "exclusive"}),
    }
    directory = Directory(TopicNames("t"), services, 1, 1)
    with pytest.raises(UnknownTarget, match=words):
        directory.check(*target)
    directory.check("Obj", "run", True)
