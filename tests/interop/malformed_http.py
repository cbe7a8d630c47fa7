"""Requests that are wrong on purpose, made up from a seed: bytes for a connection, and how many answers are due."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import NamedTuple

import httptools

TARGETS = ("/Greeter/greet", "/restate/call/Greeter/greet", "/restate/send/Greeter/greet", "/Counter/k/add")
ADMIN_TARGETS = ("/services", "/invocations", "/query", "/services/Counter/state", "/invocations/inv_1/cancel")
JSON = "content-type: application/json\r\n"


class Wrong(NamedTuple):
    """Bytes of one or several requests.

    `due`: how many answers there must be, one for each request that is whole, one where no request can be read. `most`:
    how many there may be, since a request whose body has not come is answered early where it is of no interest.
    """

    kind: str
    content: bytes
    due: int
    most: int


def wrong_requests(seed: int, count: int, *, admin: bool) -> list[Wrong]:
    """So many, of all kinds in turn."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        content = kind(rng, ADMIN_TARGETS if admin else TARGETS)
        made.append(Wrong(kind.__name__, content, *_answers(content)))
    return made


class _Count:
    heads = 0
    whole = 0

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_message_complete(self) -> None:
        self.whole += 1


def _answers(content: bytes) -> tuple[int, int]:
    """How many there must be, and how many there may be."""
    count = _Count()
    unreadable = 0
    try:
        httptools.HttpRequestParser(count).feed_data(content)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        unreadable = 1
    return count.whole + unreadable, max(1, count.heads + unreadable)


def _request(path: str, body: bytes, headers: str = JSON, method: str = "POST") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


def _noise(rng: random.Random, most: int) -> bytes:
    return rng.randbytes(rng.randint(1, most))


def noise(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Anything."""
    return _noise(rng, 400) + b"\r\n\r\n"


def other_protocols(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """HTTP/2's preface, a TLS greeting, Redis, Kafka, and what was HTTP once."""
    return rng.choice(
        [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(200),
            b"*1\r\n$4\r\nPING\r\n",
            b"\0\0\0\x1f\0\x12\0\x03\0\0\0\x01\0\x07rdkafka" + rng.randbytes(20),
            b"GET /Greeter/hello\r\n\r\n",
            b"GET /Greeter/hello HTTP/9.9\r\n\r\n",
        ]
    )


def request_lines(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """A first line that is none."""
    path = rng.choice(targets)
    line = rng.choice(
        [
            f"POST  {path} HTTP/1.1",
            f"POST {path}",
            f"post {path} HTTP/1.1",
            f"POST {path} HTTP/1.1 more",
            f"PO ST {path} HTTP/1.1",
            f"POST {path} HTTQ/1.1",
            f"\x00POST {path} HTTP/1.1",
            f"POST http://[::1 {path} HTTP/1.1",
            f"CONNECT {path} HTTP/1.1",
            "OPTIONS * HTTP/1.1",
            f"POST {path}\xff\xfe HTTP/1.1",
            "POST /" + "a" * rng.randint(33_000, 70_000) + " HTTP/1.1",
        ]
    )
    return f"{line}\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode("latin-1")


def header_lines(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Headers that are none."""
    header = rng.choice(
        [
            "no colon here",
            ": no name",
            "na me: x",
            "x: a\x00b",
            "x: a\rb",
            " folded: x",
            "x:\x01\x02",
            "ünicode: x",
            "x" * 200 + "\x7f: y",
            "content-type: application/json\r\ncontent-type: text/plain",
            "host: a\r\nhost: b",
            "idempotency-key: \xff\xfe",
        ]
    )
    head = f"POST {rng.choice(targets)} HTTP/1.1\r\nhost: x\r\n{header}\r\ncontent-length: 3\r\n\r\n"
    return head.encode("latin-1") + b'"x"'


def framings(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Lengths that are none, or two of them."""
    framing = rng.choice(
        [
            "content-length: -1",
            "content-length: 1e3",
            "content-length: 99999999999999999999999",
            "content-length: 3, 4",
            "content-length: 3\r\ncontent-length: 4",
            "content-length: 3\r\ntransfer-encoding: chunked",
            "transfer-encoding: chunked, gzip",
            "transfer-encoding: gzip",
            "transfer-encoding: chunked",
            "content-length: \xb2",
        ]
    )
    body = rng.choice(
        [b"zz\r\nabc\r\n0\r\n\r\n", b"-1\r\n", b"fffffffffffffffff\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b'"x"\r\n\r\n']
    )
    head = f"POST {rng.choice(targets)} HTTP/1.1\r\nhost: x\r\n{JSON}{framing}\r\n\r\n"
    return head.encode("latin-1") + body


def large_heads(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Too many bytes before the body."""
    size = rng.randint(33_000, 120_000)
    headers = rng.choice(
        [f"x: {'y' * size}\r\n", "".join(f"x{n}: {'y' * 40}\r\n" for n in range(size // 48)), "y" * size]
    )
    return _request(rng.choice(targets), b'"x"', headers)


def paths(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Segments that cannot be decoded, or lead nowhere."""
    part = rng.choice(
        ["%zz", "%", "%f", "%ff", "%c0%af", "%00", "..", "%2e%2e", "", "//", "?", "%ed%a0%80", "{}", "\\", "a" * 5_000]
    )
    path = rng.choice(
        [
            f"/{part}",
            f"/Greeter/{part}",
            f"/Counter/{part}/add",
            f"/{part}/greet",
            f"/restate/{part}",
            f"/restate/call/Greeter/{part}",
            f"/restate/attach/{part}",
            f"/restate/awakeables/{part}/resolve",
            f"/restate/workflow/Trip/{part}/output",
            f"/services/{part}",
            f"/invocations/{part}/cancel",
        ]
    )
    return _request(path, b"1")


def queries(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Delays and parameters that are none."""
    delays = ["", "-1s", "P1Y", "%ff", "1s&delay=2s", "9" * 400, "1 fortnight"]
    others = ["&" * 200, "%zz=%zz", "limit-key=a", "limit=-1&after=zzz", "from=x", "=" * 100]
    query = rng.choice([*(f"delay={delay}" for delay in delays), *others])
    return _request(f"{rng.choice(targets)}?{query}", b'"x"')


def bodies(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """No JSON, too deep JSON, the wrong JSON."""
    body = rng.choice(
        [
            _noise(rng, 2_000),
            b"{",
            b'"\xff"',
            b'"\\ud800"',
            b"[" * 5_000,
            b"[" * 5_000 + b"]" * 5_000,
            b'{"a":' * 3_000,
            b"1e999",
            b"NaN",
            b"9" * 5_000,
            json.dumps(
                {"target": rng.choice(["invocation", "nothing", 7]), "invocationId": rng.choice([1, "inv_"])}
            ).encode(),
            b'{"query": "SELECT"}',
            b'{"object_key": 7, "new_state": {"a": [999]}}',
            b"",
        ]
    )
    path = rng.choice([*targets, "/restate/attach", "/restate/output", "/restate/lookup"])
    return _request(path, body)


def content_types(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Types that the handler does not take, or that are none."""
    name = rng.choice(
        ["text/plain", "application/cbor", ";;;", "\xff", "application/json; charset=utf-16", "json", "*/*", ""]
    )
    return _request(rng.choice(targets), b'"x"', f"content-type: {name}\r\n")


def methods(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Methods that the path does not have."""
    method = rng.choice(["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "QUERY", "SOURCE"])
    return _request(rng.choice(targets), b"", "", method)


def truncated(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """The first part of a request."""
    whole = _request(rng.choice(targets), json.dumps("x" * rng.randint(0, 500)).encode())
    return whole[: rng.randrange(1, len(whole))]


def mutated(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """A request of which some bytes are others."""
    content = bytearray(_request(rng.choice(targets), b'"Ada"', JSON + "idempotency-key: k\r\nx-foo: bar\r\n"))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(content))
        match rng.randrange(3):
            case 0:
                content[at] = rng.randrange(256)
            case 1:
                del content[at]
            case _:
                content.insert(at, rng.randrange(256))
    return bytes(content)


def pipelined(rng: random.Random, targets: tuple[str, ...]) -> bytes:
    """Good requests in one piece, and then something that is none."""
    good = b"".join(_request("/Greeter/hello", b"", "") for _ in range(rng.randint(1, 5)))
    return good + rng.choice([noise, request_lines, header_lines, framings, truncated, mutated])(rng, targets)


KINDS: tuple[Callable[[random.Random, tuple[str, ...]], bytes], ...] = (
    noise,
    other_protocols,
    request_lines,
    header_lines,
    framings,
    large_heads,
    paths,
    queries,
    bodies,
    content_types,
    methods,
    truncated,
    mutated,
    pipelined,
)
