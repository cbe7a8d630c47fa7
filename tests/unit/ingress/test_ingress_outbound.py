"""Records on their way to Kafka while sessions end, queues are full and nobody acknowledges."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from barnabas.ingress import outbound as module
from barnabas.ingress.errors import GatewayError, TooLarge, Unavailable
from barnabas.ingress.outbound import Outbound, Outgoing
from barnabas.log.port import BatchRefusedError, OutRecord, ProducerEvents, UndeliverableError


class Session:
    """A producer session that the test acknowledges and ends."""

    def __init__(self, events: ProducerEvents, one_by_one: bool) -> None:
        self.events = events
        self.one_by_one = one_by_one
        self.taken: list[Sent] = []
        self.room = 1_000
        self.closed = False

    def produce(self, record: OutRecord, token: object) -> bool:
        if len(self.taken) >= self.room:
            return False
        assert isinstance(token, Sent)
        self.taken.append(token)
        return True

    def acknowledge(self, *sent: Sent) -> None:
        self.events.on_delivered(list(sent))

    async def aclose(self, flush_seconds: float) -> None:
        self.closed = True


class Sent(Outgoing):
    """A record that notes what it was told."""

    def __init__(self, name: str, *, repeatable: bool = True, size: int = 1) -> None:
        super().__init__(OutRecord("t", 0, None, name.encode() + b"." * (size - 1), None), repeatable=repeatable)
        self.name = name
        self.told: list[str] = []

    def on_acknowledged(self) -> None:
        self.told.append("acknowledged")

    def on_failed(self, error: GatewayError) -> None:
        self.told.append(type(error).__name__)

    def __repr__(self) -> str:
        return self.name


class Stage:
    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.opened = asyncio.Event()
        self.outbound = Outbound(self.open, acknowledge_seconds=30)

    def open(self, events: ProducerEvents, *, one_by_one: bool) -> Session:
        self.sessions.append(Session(events, one_by_one))
        self.opened.set()
        return self.sessions[-1]

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    def produce(self, name: str, *, repeatable: bool = True, size: int = 1) -> Sent:
        sent = Sent(name, repeatable=repeatable, size=size)
        self.outbound.produce(sent)
        return sent

    async def end_session(
        self, *hopeless: tuple[Sent, str], error: BaseException | None = None, wait: bool = True
    ) -> None:
        self.opened.clear()
        refused: list[tuple[object, UndeliverableError]] = [(sent, UndeliverableError(why)) for sent, why in hopeless]
        self.outbound.on_session_over(refused, error or RuntimeError("fenced"))
        if wait:
            await self.opened.wait()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await stage.outbound.aclose(0)


async def test_an_acknowledgement_is_told_once(stage: Stage) -> None:
    sent = stage.produce("a")
    assert stage.session.taken == [sent]
    stage.session.acknowledge(sent)
    stage.session.acknowledge(sent)
    assert sent.told == ["acknowledged"]
    assert stage.outbound.unacknowledged == 0


async def test_a_session_that_ends_is_followed_by_one_that_has_what_is_repeatable_in_order(stage: Stage) -> None:
    first, second, third = (stage.produce(name) for name in "abc")
    plain = stage.produce("plain", repeatable=False)
    stage.session.acknowledge(first)
    await stage.end_session()
    assert stage.session.taken == [second, third]
    assert stage.sessions[0].closed
    assert plain.told == ["Unavailable"]
    assert second.told == []
    stage.session.acknowledge(second, third)
    assert second.told == third.told == ["acknowledged"]
    assert stage.outbound.unacknowledged == 0


async def test_what_comes_between_two_sessions_goes_behind(stage: Stage) -> None:
    first = stage.produce("a")
    await stage.end_session(wait=False)
    second = stage.produce("b", repeatable=False)  # was never in a session, so nothing is in doubt
    await stage.opened.wait()
    assert stage.session.taken == [first, second]


async def test_a_record_that_kafka_will_never_take_fails_alone(stage: Stage) -> None:
    good, large, lost = stage.produce("a"), stage.produce("b"), stage.produce("c")
    await stage.end_session((large, "MSG_SIZE_TOO_LARGE: too large"), (lost, "UNKNOWN_TOPIC_OR_PART: gone"))
    assert (large.told, lost.told) == (["TooLarge"], ["Unavailable"])
    assert stage.session.taken == [good]


async def test_after_a_refused_batch_records_go_one_by_one(stage: Stage) -> None:
    stage.produce("a")
    await stage.end_session(error=BatchRefusedError("which?"))
    assert [session.one_by_one for session in stage.sessions] == [False, True]
    await stage.end_session()
    assert not stage.session.one_by_one


async def test_a_full_queue_keeps_the_order(stage: Stage) -> None:
    stage.session.room = 1
    first, second, third = (stage.produce(name) for name in "abc")
    assert stage.session.taken == [first]
    stage.session.room = 3
    stage.session.acknowledge(first)
    assert stage.session.taken == [first, second, third]


async def test_what_is_too_large_for_any_topic_is_refused_at_once(stage: Stage) -> None:
    with pytest.raises(TooLarge, match="reference"):
        stage.produce("a", size=module.MAX_RECORD_BYTES)
    assert stage.session.taken == []
    assert stage.outbound.unacknowledged == 0


async def test_an_outage_does_not_fill_the_memory(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_RECORDS", 2)
    first, _ = stage.produce("a"), stage.produce("b")
    with pytest.raises(Unavailable, match="has not acknowledged the last 2"):
        stage.produce("c")
    stage.session.acknowledge(first)
    stage.produce("c")
    monkeypatch.setattr(module, "MAX_RECORDS", 100)
    monkeypatch.setattr(module, "MAX_BYTES", 50)
    with pytest.raises(Unavailable):
        stage.produce("d")


async def test_the_bytes_are_counted_back_whatever_becomes_of_a_record(stage: Stage) -> None:
    kept, plain, hopeless = stage.produce("a"), stage.produce("b", repeatable=False), stage.produce("c")
    await stage.end_session((hopeless, "gone"))
    stage.session.acknowledge(kept)
    assert plain.told
    assert stage.outbound.unacknowledged == 0
    assert stage.outbound._bytes == 0


async def test_who_waits_too_long_is_told_and_the_record_stays_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    sent, late = stage.produce("a"), stage.produce("b")
    sent.since -= 31
    stage.outbound._give_up_overdue()
    assert (sent.told, late.told) == (["Unavailable"], [])
    stage.outbound._give_up_overdue()
    assert stage.outbound.unacknowledged == 2  # it still is in librdkafka's memory
    await stage.end_session()
    assert stage.session.taken == [late]  # nobody waits for the other
    stage.session.acknowledge(late)
    assert sent.told == ["Unavailable"]
    assert stage.outbound._bytes == 0
    await stage.outbound.aclose(0)


async def test_at_the_end_whoever_waits_is_told() -> None:
    stage = Stage()
    sent = stage.produce("a")
    await stage.outbound.aclose(0)
    assert sent.told == ["Unavailable"]
    with pytest.raises(Unavailable, match="ending"):
        stage.produce("b")
