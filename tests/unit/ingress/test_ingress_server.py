"""Connections: what uvicorn is given, over real sockets, with an application that tells what it got."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, MutableMapping
from typing import Any, cast

import pytest

from barnabas.ingress.http import server as module
from barnabas.ingress.http.server import Server, listen, url_of
from barnabas.worker.member import NotReady

MAX_HEADER_BYTES = 1_000
LARGE = b"x" * 8_000_000


class Echo:
    """Answers with what it got; `/wait` waits."""

    def __init__(self) -> None:
        self.answered = 0
        self.waiting = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/large":
            body = LARGE
        if scope["path"] == "/wait":
            self.waiting.set()
            await self.go_on.wait()
        answer = json.dumps(
            {"method": scope["method"], "raw_path": scope["raw_path"].decode(), "body": body.decode()}
        ).encode()
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        self.answered += 1


class Running:
    def __init__(self) -> None:
        self.app = Echo()
        self.socket = listen("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.server = Server(self.app, self.socket, max_header_bytes=MAX_HEADER_BYTES, drain_seconds=5)

    @property
    def connections(self) -> set[Any]:
        """Those that are open."""
        return self.server._server.server_state.connections

    async def exchange(self, *parts: bytes) -> list[tuple[int, dict[str, str], dict[str, Any]]]:
        """All answers of a connection to which this is sent, until the server closes it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            answers = []
            async with asyncio.timeout(10):
                while (answer := await read_answer(reader)) is not None:
                    answers.append(answer)
            return answers
        finally:
            writer.close()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], dict[str, Any]] | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return None
    first, *lines = head.decode().strip().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers, json.loads(body)


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    running = Running()
    serving = asyncio.create_task(running.server.run())
    await running.server.started()
    yield running
    running.app.go_on.set()
    running.server.stop()
    await serving


def request(path: str = "/x", *headers: str, body: str = "", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: x", f"content-length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


CLOSE = "connection: close"


async def test_a_path_comes_as_it_was_sent(running: Running) -> None:
    [(status, _, answer)] = await running.exchange(request("/a%2Fb/%c3%a9?x=%2F", CLOSE, body="hi"))
    assert (status, answer) == (200, {"method": "POST", "raw_path": "/a%2Fb/%c3%a9", "body": "hi"})


async def test_requests_in_a_row_are_answered_in_order(running: Running) -> None:
    answers = await running.exchange(request("/1"), request("/2") + request("/3", CLOSE))
    assert [answer["raw_path"] for _, _, answer in answers] == ["/1", "/2", "/3"]


async def test_a_head_of_the_greatest_size_in_one_byte_pieces(running: Running) -> None:
    raw = request("/x", CLOSE, "x-long: " + "y" * 800, body="hi")
    answers = await running.exchange(*(raw[at : at + 1] for at in range(len(raw))))
    assert [status for status, _, _ in answers] == [200]


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_may_be_larger_than_a_head(running: Running, chunked: bool) -> None:
    body = "y" * 50_000
    raw = request("/x", CLOSE, body=body)
    if chunked:
        raw = (
            f"POST /x HTTP/1.1\r\nhost: x\r\n{CLOSE}\r\ntransfer-encoding: chunked\r\n\r\n"
            f"{len(body):x}\r\n{body}\r\n0\r\n\r\n"
        ).encode()
    for parts in ((raw,), tuple(raw[at : at + 7_000] for at in range(0, len(raw), 7_000))):
        [(status, _, answer)] = await running.exchange(*parts)
        assert (status, len(answer["body"])) == (200, 50_000)


@pytest.mark.parametrize(
    "parts",
    [
        (request("/x", "x-long: " + "y" * 1_000),),
        (request("/" + "y" * 1_000),),
        (request("/x", *(f"x-{n}: y" for n in range(200))),),
        (b"GET / HTTP/1.1\r\nx-long: ", b"y" * 600, b"y" * 600),  # and never an end
        (b"GET /", b"y" * 600, b"y" * 600),
        (request("/1"), request("/x", "x-long: " + "y" * 1_000)),
    ],
)
async def test_a_head_that_is_too_large(running: Running, parts: tuple[bytes, ...]) -> None:
    answers = await running.exchange(*parts)
    status, headers, answer = answers[-1]
    assert status == 431
    assert answer["code"] == 431
    assert answer["source"] == "ingress"
    assert headers["x-restate-error-source"] == "ingress"
    assert headers["connection"] == "close"


@pytest.mark.parametrize(
    "raw",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /x HTTP/9.9\r\n\r\n",
        b"FOO /x HTTP/1.1\r\n\r\n",
        b"GET /x HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET /x HTTP/1.1\r\nx: \x00\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /x HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nhello",
        b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n",
    ],
)
async def test_what_is_no_request_is_answered_once(running: Running, raw: bytes) -> None:
    answers = await running.exchange(raw)
    assert [status for status, _, _ in answers] == [400]
    _, headers, answer = answers[0]
    assert answer["source"] == "ingress"
    assert headers["content-type"] == "application/json"
    [(status, _, _)] = await running.exchange(request("/x", CLOSE))  # the next one is not affected
    assert status == 200


async def test_a_wish_for_another_protocol_is_ignored(running: Running) -> None:
    """Java's client asks for h2c with its first request."""
    upgrade = request("/1", "Upgrade: h2c", "http2-settings: AAMAAABk", "connection: upgrade", body="hi")
    answers = await running.exchange(upgrade, request("/2", CLOSE, body="\r\nupgrade: h2c\r\n"))
    assert [(status, answer["body"]) for status, _, answer in answers] == [
        (200, "hi"),
        (200, "\r\nupgrade: h2c\r\n"),
    ]


async def test_a_body_is_never_dropped_without_a_word(running: Running) -> None:
    """The parser would, where the wish comes in two pieces."""
    raw = request("/1", "Upgrade: h2c", "connection: upgrade", body="hi")
    at = raw.index(b"grade: h2c")
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(raw[:at])
    for _ in range(50):  # the loop is the server's too
        await asyncio.sleep(0)
    writer.write(raw[at:])
    async with asyncio.timeout(5):
        answer = await read_answer(reader)
    assert answer is not None
    assert answer[0] == 400
    writer.close()


async def test_the_end_waits_for_answers_and_takes_no_more(running: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request("/wait"))
    await running.app.waiting.wait()
    running.server.stop()
    assert await idle_reader.read() == b""  # closed
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", running.port)
    running.app.go_on.set()
    answer = await read_answer(reader)
    assert answer is not None
    assert answer[0] == 200
    assert await reader.read() == b""
    writer.close()
    idle_writer.close()


@pytest.mark.parametrize("before", [b"", request("/1")])
@pytest.mark.parametrize("head", [b"", b"GET /x HT"])
async def test_a_head_that_does_not_come(
    running: Running, monkeypatch: pytest.MonkeyPatch, before: bytes, head: bytes
) -> None:
    """Without a byte of it a connection that was used is idle, and may be so for longer."""
    monkeypatch.setattr(module, "_HEAD_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    try:
        async with asyncio.timeout(5):
            if before:
                writer.write(before)
                assert await read_answer(reader) is not None
            writer.write(head)
            if head or not before:
                assert await reader.read() == b""
            else:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(reader.read(1), 0.2)
    finally:
        writer.close()


async def test_who_waits_for_an_answer_is_not_overdue(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HEAD_SECONDS", 0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request("/wait"))
    await running.app.waiting.wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.1)
    running.app.go_on.set()
    assert await read_answer(reader) is not None
    writer.close()


@pytest.mark.parametrize(
    "raw",
    [request("/large"), request("/large", CLOSE), request("/large") + request("/2")],
    ids=["kept", "closed", "another behind it"],
)
async def test_an_answer_that_nobody_takes(running: Running, monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    """It would lie in the memory for as long as the client likes."""
    monkeypatch.setattr(module, "_TAKE_SECONDS", 0.05)
    writer = await deaf_client(running, raw)
    await until(lambda: running.app.answered > 0 and not running.connections)
    writer.close()


async def test_an_answer_that_is_taken_slowly(running: Running) -> None:
    """Any progress between two looks is enough."""
    writer = await deaf_client(running, request("/large"))
    await until(lambda: running.app.answered > 0)
    [connection] = running.connections
    left = connection.transport.get_write_buffer_size()
    connection._look_whether_taken(left + 1)
    assert not connection.transport.is_closing()
    connection._look_whether_taken(left)
    await until(lambda: not running.connections)
    writer.close()


async def deaf_client(running: Running, raw: bytes) -> asyncio.StreamWriter:
    """One that sends this, and reads nothing."""
    _, writer = await asyncio.open_connection("127.0.0.1", running.port)
    cast(asyncio.ReadTransport, writer.transport).pause_reading()
    writer.write(raw)
    return writer


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - conditions of the server's own
            await asyncio.sleep(0)


async def test_an_address_that_is_taken(running: Running) -> None:
    with pytest.raises(NotReady, match=f"cannot listen on 127.0.0.1:{running.port}"):
        listen("127.0.0.1", running.port)
    with pytest.raises(NotReady, match="cannot listen"):
        listen("no-such-host.invalid", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_where_it_listens(host: str) -> None:
    with listen(host, 0) as found:
        assert url_of(found).endswith(f":{found.getsockname()[1]}")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_an_ipv6_address_has_brackets() -> None:
    try:
        found = listen("::1", 0)
    except NotReady:
        pytest.skip("no IPv6 here")
    with found:
        assert url_of(found).startswith("http://[::1]:")
