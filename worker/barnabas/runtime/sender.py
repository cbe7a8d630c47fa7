"""Everything that leaves a shard: calls and sends of its handlers, results for those who wait, dead letters.

Each becomes an entry of the outbox, in the commit that holds its cause (DESIGN.md 6.3). Nothing is produced from here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId
from barnabas.contract.records import Caller, DeadLetter, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind
from barnabas.log.port import OutRecord, Record
from barnabas.runtime import journal as j
from barnabas.runtime.deferred import Deferred
from barnabas.runtime.directory import Directory
from barnabas.runtime.live import Live
from barnabas.runtime.outbox import Entry, Outbox

#: Of a key and a detail, in a dead letter that does not fit with all that it has.
_SHORT: Final = 1000


#: How long a signal waits for its service to be registered, ms. Workers hear of a new one within seconds.
STRANDED_MS: Final = 600_000


class Call(NamedTuple):
    """A call by its id, and who waits for its result."""

    id: bytes
    caller: Caller


class Sender:
    """Turns what the engine wants to say into outbox entries of its shard."""

    def __init__(self, outbox: Outbox, directory: Directory, *, is_scheduler: bool = False) -> None:
        self._is_scheduler = is_scheduler  # what goes by `delays` has arrived there
        self._outbox = outbox
        self.directory = directory
        self.deferred = Deferred()
        self.lease = b""
        self.take = 0

    def message(
        self,
        live: Live,
        issued: j.Entry,
        position: int,
        payload: bytes,
        headers: dict[str, str] | None,
        due: int | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """The invocation that a journaled call or send asks for."""
        service, _, handler = issued[1].partition("/")
        caller = caller_of(live, position) if issued[0] == j.CALL else None
        self.invocation(
            Invocation(
                issued[3], service, handler, issued[2], payload, headers or {}, caller, None, idempotency_key, due
            )
        )

    def signal_about(self, signal: Signal, service: str, key: str | None = None) -> None:
        """A signal about an invocation of this service, which goes after that invocation's own record (R6).

        It takes the way by `delays` if the invocation may wait there (R8). `key`: of the invocation, where it is known.
        """
        if self._outbox.carries(signal.invocation):
            self.deferred.add(signal)
        else:
            self._signal(signal, service, key)

    def _signal(self, signal: Signal, service: str, key: str | None) -> None:
        id_ = InvocationId(signal.invocation)
        # Only what runs gives out ids of awakeables: its record is past the delays. A named signal may come sooner.
        of_awakeable = signal.kind is SignalKind.RESOLVE and signal.name is None
        to_what_runs = of_awakeable or signal.kind is SignalKind.COMPLETION
        by_delays = id_.delayed and not to_what_runs and not self._is_scheduler
        place = self.directory.delay_place(id_) if by_delays else self.directory.signal_place(service, id_)
        self.signal_to(place, signal, partition_key(id_, key).encode())

    def signal_to(self, place: tuple[str, int] | None, signal: Signal, key: bytes) -> None:
        """A signal to a place that is known already; where there is none, it waits until its service is registered."""
        if place is None:
            signal.label = None
            self.deferred.strand(signal)
            return
        signal.label = self._label()
        self._add(*place, key, codec.encode_signal(signal))

    def retry_stranded(self, now: int) -> None:
        """Send what waited for a service that is registered now; what has waited too long becomes a dead letter."""
        for signal in self.deferred.pop_stranded(self._is_known, now, STRANDED_MS):
            service = self.directory.service_of(signal.invocation)
            if service is not None:
                self._signal(signal, service, None)
                continue
            id_ = InvocationId(signal.invocation)
            detail = f"no service that {id_} could belong to was registered for {STRANDED_MS // 1000} s"
            key, value = partition_key(id_, None).encode(), codec.encode_signal(signal)
            self.dead_letter(DeadLetter("unaddressed", detail, "", -1, -1, 0, key, value))

    def _is_known(self, id_: bytes) -> bool:
        return self.directory.service_of(id_) is not None

    def gone(self, entry: Entry) -> None:
        """An outbox entry was acknowledged, or can never be delivered: what was held back for it goes now (R6)."""
        if entry.invocation is None:
            return
        for signal in self.deferred.pop(entry.invocation):
            self._signal(signal, self.directory.service_of(signal.invocation) or "", None)

    def restored(self) -> None:
        """After a take: send what waited for records that have left the outbox since."""
        for id_ in self.deferred.ids:
            if not self._outbox.carries(id_):
                for signal in self.deferred.pop(id_):
                    self._signal(signal, self.directory.service_of(signal.invocation) or "", None)

    def redirect(self, invocation: Invocation) -> None:
        """Send an invocation on to the partition where it belongs."""
        self.invocation(invocation)

    def outcome(self, waiter: Caller | ReplyTo, id_: bytes, result: bytes | None, failure: Failure | None) -> None:
        """Tell one who waits how an invocation ended."""
        if isinstance(waiter, ReplyTo):
            reply = Reply(waiter.client, waiter.request, id_, result, failure)
            topic, partition = self.directory.reply_place(waiter.client)
            self._add(topic, partition, waiter.client.encode(), codec.encode_reply(reply))
            return
        signal = Signal(SignalKind.COMPLETION, waiter.id, waiter.position, id_, result, failure)
        self.signal_to(self.directory.signal_place(waiter.service, waiter.id), signal, waiter.key.encode())

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep a record that nobody could read or deliver where people find it."""
        topic, partition = self.directory.dead_letter_place(letter.key)
        self._add(topic, partition, letter.key, codec.encode_dead_letter(letter))

    def undeliverable(self, entry: Entry, why: str) -> Call | None:
        """Replace an outbox entry that can never be delivered by its dead letter; the handler's call that it was, if it
        was one.

        A client who waits for it is told (R16).
        """
        record = entry.record
        if record.topic == self.directory.names.dead_letters:
            self.dead_letter(_shortened(codec.decode_dead_letter(record.value)))
            return None
        place = record.topic, record.partition
        self.dead_letter(DeadLetter("undeliverable", why, *place, -1, 0, record.key, record.value))
        if entry.invocation is None:
            self._fail_instead(record, why)
            return None
        invocation = codec.decode_invocation(record.value)
        for waiter in (invocation.reply_to, *invocation.waiters):
            if waiter is not None:
                self.outcome(waiter, invocation.id, None, undelivered(why))
        return None if invocation.caller is None else Call(invocation.id, invocation.caller)

    def _fail_instead(self, record: OutRecord, why: str) -> None:
        """Who waits for a result that can never be delivered gets a failure, which is short."""
        failure = Failure(500, f"the result could not be delivered: {why}")
        names = self.directory.names
        if record.topic == names.replies:
            reply = codec.decode_reply(record.value)
            if reply.result is not None:
                self.outcome(ReplyTo(reply.client, reply.request), reply.invocation, None, failure)
        elif (names.service_of(record.topic) or ("", ""))[1] == "signals":
            signal = codec.decode_signal(record.value)
            if signal.result is not None and signal.kind in (SignalKind.COMPLETION, SignalKind.RESOLVE):
                place = record.topic, record.partition
                self.signal_to(place, replace(signal, result=None, failure=failure), record.key or b"")

    def invocation(self, invocation: Invocation) -> None:
        """An invocation, to its target, or to `delays` if it waits there."""
        id_ = InvocationId(invocation.id)
        if id_.delayed and invocation.due is not None and not self._is_scheduler:
            topic, partition = self.directory.delay_place(id_)
        else:
            topic, partition = self.directory.invocation_place(invocation.service, id_)
        invocation.label = self._label()
        key = partition_key(id_, invocation.key).encode()
        self._add(topic, partition, key, codec.encode_invocation(invocation), invocation.id)

    def _label(self) -> Label:
        return self._outbox.label(self.lease, self.take)

    def _add(
        self, topic: str, partition: int, key: bytes | None, value: bytes, invocation: bytes | None = None
    ) -> None:
        self._outbox.add(OutRecord(topic, partition, key, value, None), self.take, invocation)


def _shortened(letter: DeadLetter) -> DeadLetter:
    """A dead letter that does not fit into a record itself: the fact without the bytes."""
    detail = f"{letter.detail[:_SHORT]} (value, headers and the rest of the key did not fit into this record)"
    key = None if letter.key is None else letter.key[:_SHORT]
    return replace(letter, detail=detail, key=key, value=None, headers=[])


def caller_of(live: Live, position: int) -> Caller:
    """An invocation that waits for a result at this position of its journal."""
    return Caller(live.id, live.service, partition_key(live.id, live.key), position)


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
