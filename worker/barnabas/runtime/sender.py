"""Everything that leaves a shard: calls and sends of its handlers, results for those who wait, dead letters.

Each becomes an entry of the outbox, in the commit that holds its cause (DESIGN.md 6.3). Nothing is produced from here.
"""

from __future__ import annotations

from typing import NamedTuple

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, DeadLetter, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind
from barnabas.log.port import OutRecord, Record
from barnabas.runtime import journal as j
from barnabas.runtime.directory import Directory
from barnabas.runtime.live import Live
from barnabas.runtime.outbox import Outbox


class Call(NamedTuple):
    """A call by its id, and who waits for its result."""

    id: bytes
    caller: Caller


class Sender:
    """Turns what the engine wants to say into outbox entries of its shard."""

    def __init__(self, outbox: Outbox, directory: Directory) -> None:
        self._outbox = outbox
        self.directory = directory
        self.lease = b""
        self.take = 0

    def message(
        self, live: Live, issued: j.Entry, position: int, payload: bytes, headers: dict[str, str] | None
    ) -> None:
        """The invocation that a journaled call or send asks for."""
        service, _, handler = issued[1].partition("/")
        caller = None
        if issued[0] == j.CALL:
            caller = Caller(live.id, live.service, partition_key(live.id, live.key), position)
        self._invocation(
            Invocation(issued[3], service, handler, issued[2], payload, headers or {}, caller, label=self._label())
        )

    def redirect(self, invocation: Invocation) -> None:
        """Send an invocation on to the partition where it belongs."""
        invocation.label = self._label()
        self._invocation(invocation)

    def outcome(self, waiter: Caller | ReplyTo, id_: bytes, result: bytes | None, failure: Failure | None) -> None:
        """Tell one who waits how an invocation ended."""
        if isinstance(waiter, ReplyTo):
            reply = Reply(waiter.client, waiter.request, id_, result, failure)
            topic, partition = self.directory.reply_place(waiter.client)
            self._add(topic, partition, waiter.client.encode(), codec.encode_reply(reply))
            return
        signal = Signal(SignalKind.COMPLETION, waiter.id, waiter.position, id_, result, failure, self._label())
        place = self.directory.signal_place(waiter.service, waiter.id)
        key, value = waiter.key.encode(), codec.encode_signal(signal)
        if place is None:
            detail = f"the caller's service '{waiter.service}' is not registered: its result has nowhere to go"
            self.dead_letter(DeadLetter("unaddressed", detail, "", -1, -1, 0, key, value))
        else:
            self._add(*place, key, value)

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep a record that nobody could read or deliver where people find it."""
        topic, partition = self.directory.dead_letter_place(letter.key)
        self._add(topic, partition, letter.key, codec.encode_dead_letter(letter))

    def undeliverable(self, record: OutRecord, why: str) -> Call | None:
        """Replace an outbox entry that can never be delivered by its dead letter; the handler's call that it was, if it
        was one.

        A client who waits for it is told (R16).
        """
        value = record.value
        if record.topic == self.directory.names.dead_letters:
            value = None  # the dead letter itself is what does not fit: keep the fact, drop the bytes
        self.dead_letter(DeadLetter("undeliverable", why, record.topic, record.partition, -1, 0, record.key, value))
        place = self.directory.names.service_of(record.topic)
        if place is None or place[1] != "invocations":
            return None
        invocation = codec.decode_invocation(record.value)
        if invocation.reply_to is not None:
            self.outcome(invocation.reply_to, invocation.id, None, undelivered(why))
        return None if invocation.caller is None else Call(invocation.id, invocation.caller)

    def _invocation(self, invocation: Invocation) -> None:
        topic, partition = self.directory.invocation_place(invocation.service, invocation.id)
        key = partition_key(invocation.id, invocation.key).encode()
        self._add(topic, partition, key, codec.encode_invocation(invocation))

    def _label(self) -> Label:
        return self._outbox.label(self.lease, self.take)

    def _add(self, topic: str, partition: int, key: bytes | None, value: bytes) -> None:
        self._outbox.add(OutRecord(topic, partition, key, value, None), self.take)


def undelivered(why: str) -> Failure:
    """What the caller of an invocation that can never be delivered gets."""
    return Failure(500, f"the call could not be delivered: {why}")


def partition_key(id_: bytes, key: str | None) -> str:
    """What an invocation's records are keyed by: the object's key, or for a service the identity in hex."""
    return key if key is not None else InvocationId(id_).service_partition_key


def letter_of(record: Record, topic: str, partition: int, reason: str, detail: str) -> DeadLetter:
    """The dead letter of a record that was read, with everything about it."""
    return DeadLetter(
        reason,
        detail,
        topic,
        partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        record.headers or [],
    )
