"""A proxy between a worker and its store that loses, cuts and delays commits on demand (F57, F58).

Runs on a thread with an event loop of its own, so that tests stay plain functions. It knows commits by their script's
hash; everything else passes.
"""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from hashlib import sha1
from importlib.resources import files
from urllib.parse import urlparse

_COMMIT = (
    sha1((files("barnabas.store") / "scripts" / "commit.lua").read_bytes(), usedforsecurity=False).hexdigest().encode()
)
_META = re.compile(rb"\{[^{}]+\}:meta")
_MOST = 1 << 20
_PAUSE_SECONDS = 0.02


class Fault(Enum):
    """What happens to one round trip of commits."""

    REQUEST_LOST = "request lost"  # the connection is cut, the server never hears of it
    REPLY_LOST = "reply lost"  # the server has applied it, the connection is cut before the answer
    REQUEST_LATE = "request late"  # cut; the server gets it later, over another connection
    HANGS = "hangs"  # nothing is passed on in either direction, and nothing is cut


@dataclass(slots=True)
class Struck:
    """A fault that came about."""

    fault: Fault
    late_reply: bytes = b""  # what the server said to a late request


class Proxy:
    """Listens on a port of its own; `url` is what the worker is given."""

    def __init__(self, url: str) -> None:
        where = urlparse(url)
        self._target = (where.hostname or "127.0.0.1", where.port or 6379)
        self._faults: dict[int, Fault] = {}  # by visit: how many round trips with commits from now
        self._visits = 0
        self._late: list[tuple[set[bytes], asyncio.Event]] = []  # held requests: meta keys not committed to again yet
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.struck: list[Struck] = []
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._closing = asyncio.Event()
        self._port = 0
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), name="proxy")
        self._thread.start()
        assert self._started.wait(10)
        self.url = f"redis://127.0.0.1:{self._port}/0"

    # -- called by the test

    def strike(self, faults: dict[int, Fault]) -> None:
        """Let these faults happen at these round trips, counted from now."""
        self._loop.call_soon_threadsafe(self._arm, faults)

    def cut(self) -> None:
        """Cut all connections."""
        self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Cut everything and end."""
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(10)
        self._loop.close()

    # -- on the loop

    def _arm(self, faults: dict[int, Fault]) -> None:
        self._visits = 0
        self._faults = dict(faults)

    def _cut(self) -> None:
        for writer in list(self._open):
            writer.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=_MOST)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._closing.wait()
        server.close()
        self._cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream, to_server = await asyncio.open_connection(*self._target, limit=_MOST)
        ours = {writer, to_server}
        self._open |= ours
        answers = asyncio.ensure_future(_pump(upstream, writer))
        try:
            with suppress(ConnectionError):
                await self._requests(reader, writer, to_server, answers)
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            self._open -= ours
            await _closed(*ours)

    async def _requests(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        to_server: asyncio.StreamWriter,
        answers: asyncio.Future[None],
    ) -> None:
        while request := await reader.read(_MOST):
            fault = self._fault(request) if _COMMIT in request else None
            if fault is None:
                to_server.write(request)
                await to_server.drain()
                continue
            request += await _rest(reader)
            struck = Struck(fault)
            if fault is Fault.REPLY_LOST:
                answers.cancel()  # nobody passes the reply on
                await asyncio.gather(answers, return_exceptions=True)
                to_server.write(request)
                await self._applied(request)
            elif fault is Fault.HANGS:
                self.struck.append(struck)
                await reader.read()
                return
            writer.close()
            self.struck.append(struck)
            if fault is Fault.REQUEST_LATE:
                await self._send_late(request, struck)
            return

    def _fault(self, request: bytes) -> Fault | None:
        self._visits += 1
        metas = set(_META.findall(request))
        for waiting, gone in self._late:
            waiting -= metas
            if not waiting:
                gone.set()
        return self._faults.pop(self._visits, None)

    async def _applied(self, request: bytes) -> None:
        """The server reads connections in turn: once it has answered on another one twice, it has run this."""
        reader, writer = await asyncio.open_connection(*self._target)
        try:
            for _ in range(2):
                writer.write(b"PING\r\n")
                await reader.readline()
                await asyncio.sleep(0.02)
        finally:
            await _closed(writer)

    async def _send_late(self, request: bytes, struck: Struck) -> None:
        """Only once the worker has taken these shards again and commits to them."""
        taken_again = asyncio.Event()
        self._late.append((set(_META.findall(request)), taken_again))
        await taken_again.wait()
        reader, writer = await asyncio.open_connection(*self._target, limit=_MOST)
        try:
            writer.write(request)
            struck.late_reply = await reader.read(_MOST)
        finally:
            await _closed(writer)


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """What belongs to the same round trip: the worker says nothing more before it is answered."""
    rest = b""
    with suppress(TimeoutError):
        while True:
            async with asyncio.timeout(_PAUSE_SECONDS):
                more = await reader.read(_MOST)
            if not more:
                break
            rest += more
    return rest


async def _closed(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while answer := await reader.read(_MOST):
            writer.write(answer)
            await writer.drain()
    writer.close()
