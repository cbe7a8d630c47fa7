"""Records that are wrong on purpose, made up from a seed, and what a reader of our contract would say of each."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass

from barnabas.contract import codec, raw
from barnabas.contract.errors import PoisonRecord
from barnabas.contract.ids import random_id
from barnabas.contract.records import Caller, DeadLetter, Failure, Invocation, Label, Reply, ReplyTo, Signal, SignalKind

Headers = list[tuple[str, bytes | None]]
KEYS = (None, b"", b"k", b"\xff\xfe", b"a\x00b", b"{curly}", b"\r\nGET", b"long" * 5_000, "schlüssel".encode())


@dataclass(frozen=True, slots=True)
class Made:
    """A record to produce.

    `poison`: nobody can read it, so that it must become a dead letter. `request`: it can be read and asks for an
    answer, which must come under this number, unless it becomes a dead letter.
    """

    kind: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    poison: bool
    request: bytes | None


class Maker:
    """Makes records for one topic. `role`: what it holds, of `service`, whose `handler` takes nothing.

    `client` is who is answered.
    """

    def __init__(
        self, seed: int, topic: str, partitions: int, role: str, service: str, handler: str, client: str, *, keyed: bool
    ) -> None:
        self.rng = random.Random(f"{seed} {role} {service}")
        self._handler = handler
        self._client = client
        self._topic = topic
        self._partitions = partitions
        self._role = role
        self._service = service
        self._keyed = keyed

    def records(self, count: int) -> list[Made]:
        """So many, of all kinds in turn."""
        return [self._made(KINDS[number % len(KINDS)]) for number in range(count)]

    def _made(self, kind: Callable[[Maker], tuple[bytes | None, Headers]]) -> Made:
        value, headers = kind(self)
        key = self.rng.choice(KEYS)
        partition = self.rng.randrange(self._partitions)
        poison, request = self._judged(key, value, headers)
        return Made(kind.__name__, self._topic, partition, key, value, headers, poison, request)

    def valid(self) -> bytes:
        """One that can be read."""
        rng, service = self.rng, self._service
        id_ = random_id(service, "k" if self._keyed else None, delayed=self._role == "delays")
        reply_to = ReplyTo(self._client, rng.randbytes(12))
        caller = Caller(random_id(service, None), service, "k", rng.randrange(9))
        match self._role:
            case "signals":
                kind = rng.choice(list(SignalKind))
                return codec.encode_signal(
                    Signal(kind, id_, rng.choice([None, 1]), None, b"1", None, rng.choice([None, _label(rng)]), caller)
                )
            case "replies":
                return codec.encode_reply(Reply("nobody", b"1", id_, None, Failure(500, "x")))
            case "source":
                return json.dumps(rng.choice(["Ada", 7, [1, "x"], {"a": None}])).encode()
            case "dead-letters":
                return codec.encode_dead_letter(DeadLetter("r", "d", "t", 0, 1, 2, b"k", b"v", [("h", None)]))
            case _:
                key = "k" if self._keyed else None
                label = rng.choice([None, None, _label(rng)])
                return codec.encode_invocation(
                    Invocation(id_, service, self._handler, key, b"", {"a": "b"}, None, reply_to, None, None, label)
                )

    def _judged(self, key: bytes | None, value: bytes | None, headers: Headers) -> tuple[bool, bytes | None]:
        """Whether it is poison, and the number of the answer that is due."""
        try:
            read = self._read(key, value, headers)
        except (PoisonRecord, ValueError):
            return True, None
        return False, self._due(read) if isinstance(read, Invocation) else None

    def _read(self, key: bytes | None, value: bytes | None, headers: Headers) -> Invocation | Signal | None:
        match self._role:
            case "signals":
                return codec.decode_signal(value)
            case "delays":
                return codec.decode_delayed(value)
            case "invocations" if raw.is_raw(headers):
                return raw.parse_raw(
                    self._service, key, value, headers, keyed=self._keyed, topic_id=bytes(16), partition=0, offset=0
                )
            case "invocations":
                return codec.decode_invocation(value)
            case "source" if value is not None:
                json.loads(value[5:] if value.startswith(b"\0") else value)  # with a registry's id before it
        return None  # nobody writes dead letters about replies and about dead letters

    def _due(self, read: Invocation) -> bytes | None:
        """Not where what was changed makes it wait for ever: for a handler that may come, for a time, for a sender."""
        known = (read.service, read.handler) == (self._service, self._handler)
        waits = not known or read.due is not None or read.label is not None or read.caller is not None
        to = read.reply_to
        return None if waits or to is None or to.client != self._client else to.request


def _label(rng: random.Random) -> Label:
    """A forged one."""
    return Label(rng.choice(["Nobody/0", "Counter/1", "x", ""]), rng.randbytes(16), rng.randrange(2**40), 1, 1)


def noise(maker: Maker) -> tuple[bytes | None, Headers]:
    """Any bytes."""
    return maker.rng.randbytes(maker.rng.randint(1, 300)), []


def nothing(maker: Maker) -> tuple[bytes | None, Headers]:
    """No value at all, or an empty one."""
    return maker.rng.choice([None, b""]), []


def truncated(maker: Maker) -> tuple[bytes | None, Headers]:
    """The first part of a good one."""
    value = maker.valid()
    return value[: maker.rng.randrange(len(value))], []


def prolonged(maker: Maker) -> tuple[bytes | None, Headers]:
    """A good one with something behind it."""
    return maker.valid() + maker.rng.randbytes(maker.rng.randint(1, 20)), []


def mutated(maker: Maker) -> tuple[bytes | None, Headers]:
    """A good one of which some bytes are others, but not those that say what it is."""
    rng, value = maker.rng, bytearray(maker.valid())
    start = 10 if value.startswith(b"\xc3\x01") else 0
    for _ in range(rng.randint(1, 6)):
        value[rng.randrange(start, len(value))] = rng.randrange(256)
    return bytes(value), []


def magics(maker: Maker) -> tuple[bytes | None, Headers]:
    """Another magic, an unknown schema, a schema registry's id, a bomb of lengths."""
    rng, value = maker.rng, maker.valid()
    return rng.choice(
        [
            b"\xc3\x02" + value[2:],
            value[:2] + rng.randbytes(8) + value[10:],
            b"\x00\x00\x00\x00\x07" + value,
            value[:10] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01" * 3,
            value[:10] + b"\x80" * 200,
            b"\xc3\x01",
            b'{"json": true}',
        ]
    ), []


def raw_headers(maker: Maker) -> tuple[bytes | None, Headers]:
    """Headers that act, once too often, without a value, in no encoding, empty, or naming what is not for people."""
    handler = "barnabas-handler"
    idempotency = "barnabas-idempotency-key"
    wrong: list[Headers] = [
        [(handler, b"greet"), (handler, b"greet")],
        [(handler, None)],
        [(handler, b"")],
        [(handler, b"\xff")],
        [(handler, b"@state")],
        [(handler, b"hello"), (idempotency, b"")],
        [(handler, b"hello"), (idempotency, b"\xff")],
        [(handler, b"hello"), ("traceparent", None)],
    ]
    return maker.rng.choice([b"1", None, b"\xff"]), maker.rng.choice(wrong)


def forged_headers(maker: Maker) -> tuple[bytes | None, Headers]:
    """Headers that look as if they acted, on a record that is none of ours."""
    names = ("barnabas-id", "barnabas-reply-to", "barnabas-label", "Barnabas-Handler", "epoch", "\U0001f600", "")
    headers: Headers = [(maker.rng.choice(names), maker.rng.randbytes(20)) for _ in range(maker.rng.randint(1, 30))]
    return maker.rng.randbytes(30), headers


KINDS: tuple[Callable[[Maker], tuple[bytes | None, Headers]], ...] = (
    noise,
    nothing,
    truncated,
    prolonged,
    mutated,
    magics,
    raw_headers,
    forged_headers,
)
