"""HTTP/1.1 connections for an ASGI application: uvicorn, embedded, with bounded heads and errors as JSON.

Used by the ingress, and by the admin API. What uvicorn does on its own behalf is off: signals, logging, ends of
processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from barnabas.ingress.http.responses import Response, error_response
from barnabas.worker.member import NotReady

_KEEP_ALIVE_SECONDS: Final = 75  # longer than the idle time of usual load balancers
_HEAD_SECONDS: Final = 30.0  # for a request's path and headers, from the connection's or the first byte's arrival
_TAKE_SECONDS: Final = 60.0  # without a client taking any of an answer that waits for it
_BACKLOG: Final = 2048
_LAST_SECONDS: Final = 5.0  # for answers on their way, after the application has given up what it was doing
_UPGRADE: Final = re.compile(rb"\r\nupgrade:[^\r\n]*(?=\r\n)", re.IGNORECASE)
_WITH_BODY: Final = frozenset({b"content-length", b"transfer-encoding"})
_PHRASES: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on. Raises NotReady where it cannot be had. Port 0: any."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise NotReady(
            f"cannot listen on {host}:{port}: {error.strerror or error}. Choose another --port or --host"
        ) from error


def url_of(listening: socket.socket, tls: ssl.SSLContext | None = None) -> str:
    """Where a client on this machine finds it."""
    host, port = listening.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


class Server:
    """Serves one application on one socket. `run` returns after `stop`, when all has been answered."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        *,
        max_header_bytes: int,
        drain_seconds: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._socket = listening
        config = uvicorn.Config(
            app,
            loop="none",
            http=_protocol(max_header_bytes),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=round(drain_seconds + _LAST_SECONDS),
        )
        config.load()
        config.ssl = tls  # ready-made: uvicorn's own options know neither which versions nor whose fault an error is
        self._server = _Embedded(config)

    async def run(self) -> None:
        """Serve until `stop`."""
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._socket.close()

    async def started(self) -> None:
        """Returns when connections are accepted."""
        await self._server.accepting.wait()

    def stop(self) -> None:
        """Accept no more connections, close those that are idle, let the others get their answers."""
        self._server.should_exit = True


class _Embedded(uvicorn.Server):
    """The process belongs to whoever runs it: no signal handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()


class _HeadTooLarge(Exception):
    pass


class _BodyWouldBeLost(Exception):
    pass


def _without_upgrade(data: bytes, limit: int) -> bytes:
    """The same without the wish for another protocol: the parser drops the body of a request that has one.

    Java's client asks for HTTP/2 with its first request, and goes on with HTTP/1.1 where nobody answers to it. One that
    comes in two pieces is refused later on.
    """
    end = data.find(b"\r\n\r\n", 0, limit)
    head = len(data) if end < 0 else end + 2
    if _UPGRADE.search(data, 0, min(head, limit)) is None:
        return data
    return _UPGRADE.sub(b"", data[:head]) + data[head:]


def _protocol(max_header_bytes: int) -> type[HttpToolsProtocol]:
    """A connection whose requests may have so many bytes before the body."""

    class Bounded(HttpToolsProtocol):
        _head = 0  # of the request that is being read, as far as it was parsed
        _unparsed = 0  # received for a head that has not ended yet
        _in_head = True
        _ended = False  # whether a request has, in the piece that is being parsed
        _too_large = False
        _overdue: asyncio.TimerHandle | None = None  # the end of patience with a head
        _stuck: asyncio.TimerHandle | None = None  # and with an answer that is not taken

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._head_came()
            self._taken()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._expect_taking()

        def resume_writing(self) -> None:
            super().resume_writing()
            self._taken()

        def data_received(self, data: bytes) -> None:
            if self._in_head:
                data = _without_upgrade(data, max_header_bytes)
            self._ended = False
            super().data_received(data)
            # The parser keeps a header to itself until it has ended, and would do so for ever. Where a request has
            # ended in this piece, how much of it is the next one's is not known, and is not much.
            self._unparsed = self._unparsed + len(data) if self._in_head and not self._ended else 0
            if self._unparsed and self._overdue is None:
                self._expect_head()
            if self._unparsed > max_header_bytes and not self._too_large and not self.transport.is_closing():
                self._too_large = True
                self.send_400_response("")

        def on_message_begin(self) -> None:
            self._head, self._in_head = 0, True
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._count(len(url))
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._count(len(name) + len(value) + 4)
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_head = False
            self._head_came()
            if self.parser.should_upgrade() and any(name in _WITH_BODY for name, _ in self.headers):
                raise _BodyWouldBeLost
            super().on_headers_complete()

        def _expect_head(self) -> None:
            self._overdue = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

        def _expect_taking(self) -> None:
            left = self.transport.get_write_buffer_size()
            self._stuck = self.loop.call_later(_TAKE_SECONDS, self._look_whether_taken, left)

        def _look_whether_taken(self, before: int) -> None:
            """What nobody takes would lie in the memory as long as the client likes: closing waits for it, too."""
            if self.transport.get_write_buffer_size() < before:
                self._expect_taking()
            else:
                self.transport.abort()

        def _taken(self) -> None:
            if self._stuck is not None:
                self._stuck.cancel()
                self._stuck = None

        def _head_came(self) -> None:
            if self._overdue is not None:
                self._overdue.cancel()
                self._overdue = None

        def _count(self, size: int) -> None:
            self._head += size
            if self._head > max_header_bytes:
                self._too_large = True
                raise _HeadTooLarge  # the parser gives up, and `send_400_response` is called

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._in_head = self._ended = True

        def send_400_response(self, msg: str) -> None:
            if self._too_large:
                answer = error_response(431, f"path and headers have more than {max_header_bytes} bytes")
            else:
                answer = error_response(400, "this is no HTTP request that can be read")
            self.transport.write(_on_the_wire(answer))
            self.transport.close()

    return Bounded


def _on_the_wire(answer: Response) -> bytes:
    lines = [b"HTTP/1.1 %d %s" % (answer.status, _PHRASES[answer.status])]
    lines += [name + b": " + value for name, value in answer.headers]
    lines += [b"content-length: %d" % len(answer.body), b"connection: close", b"", answer.body]
    return b"\r\n".join(lines)
