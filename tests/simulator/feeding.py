"""A topic of others, whose records become invocations: what its members do with what they fetch
(subscriptions/loading.py), what is written to it, and what must have become of it.

Its records are raw, so there is no schema that has to be there first; what they wait for is room in the outbox.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from barnabas.contract import codec
from barnabas.contract.errors import UNADDRESSED
from barnabas.contract.records import DeadLetter
from barnabas.log.port import Batch, OutRecord, Record
from barnabas.runtime.subscribing.intake import SubscriptionIntake
from barnabas.runtime.subscribing.subscriber import Subscriber
from barnabas.runtime.tenure import Tenure
from tests.simulator.faces import Violation
from tests.simulator.places import NAMES, SUBSCRIPTION
from tests.simulator.programs import OBJECT, pack

if TYPE_CHECKING:
    from tests.simulator.expected import Expected
    from tests.simulator.member import Member
    from tests.simulator.world import World


class FeederReads:
    """The reads of the shards of a subscription."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def holds_back(self, engine: Any) -> bool:
        return False

    def take_in(self, tenure: Tenure, records: list[Record]) -> None:
        engine, intake = tenure.engine, tenure.intake
        assert isinstance(engine, Subscriber)
        assert isinstance(intake, SubscriptionIntake)
        assert intake.obstacle() is None
        if len(engine.outbox) < self._member.world.room:
            intake.on_records(records)
        else:
            place = SUBSCRIPTION.topic, tenure.shard.partition
            self._member.inbox.append(Batch(*place, tenure.epoch, records))

    def ask(self, tenure: Tenure, effect: Any) -> None:
        raise AssertionError(f"{tenure.shard} has no reason for {effect}")


def feed(world: World) -> bool:
    """Somebody writes the next record of the subscribed topic."""
    if not world.to_feed:
        return False
    one = world.to_feed.popleft()
    key = None if one.key is None else one.key.encode()
    written = world.log.append(OutRecord(SUBSCRIPTION.topic, one.partition, key, pack(one.program), None), world.now)
    one.offset = written.offset
    world.say(f"others: {one.token} at {one.partition}@{one.offset} -> {one.key} {one.program[1]}")
    return True


def expect(world: World, expected: Expected) -> None:
    """Each record that says its key runs, those of a partition with the same key in their order."""
    latest: dict[tuple[int, str], str] = {}
    for one in world.fed:
        if one.key is None:
            continue
        expected.fed(OBJECT, one.key, one.program)
        before = latest.get((one.partition, one.key))
        if before is not None:
            expected.order.append((one.key, before, one.token))
        latest[one.partition, one.key] = one.token


def check(world: World) -> None:
    """Each record about no object is a dead letter, and no other is. Raises Violation."""
    letters: Counter[tuple[int, int | None]] = Counter((one.partition, one.offset) for one in letters_of_others(world))
    for one in world.fed:
        found = letters.pop((one.partition, one.offset), 0)
        if bool(found) is not (one.key is None):
            raise Violation("P1", f"{one.token} of the subscribed topic became {found} dead letters")
    if letters:
        raise Violation("P1", f"dead letters of records that nobody wrote: {sorted(letters)}")


def letters_of_others(world: World) -> list[DeadLetter]:
    """The dead letters of the subscribed topic. Raises Violation for one that has another reason."""
    letters = [codec.decode_dead_letter(one.value) for one in world.log.partitions[NAMES.dead_letters, 0]]
    found = [one for one in letters if one.topic == SUBSCRIPTION.topic]
    for one in found:
        if one.reason != UNADDRESSED:
            raise Violation("K1", f"a dead letter: {one.reason}: {one.detail}")
    return found
