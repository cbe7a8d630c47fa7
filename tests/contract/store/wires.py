"""Connections that misbehave: a proxy that delays, a server that says only what it was told to."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Self

import hiredis


class Listener:
    """A server on a free port whose connections end with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.serve(reader, writer)
        finally:
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


class SlowProxy(Listener):
    """Passes everything on, the answers late and in pieces."""

    def __init__(self, port: int, rng: random.Random) -> None:
        super().__init__()
        self._port = port
        self._rng = rng

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, server_writer, 0))
                both.create_task(self._pass(server_reader, writer, 0.003))
        finally:
            server_writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, longest: float) -> None:
        while piece := await reader.read(self._rng.randint(1, 500)):
            if longest:
                await asyncio.sleep(self._rng.random() * longest)
            writer.write(piece)
        writer.close()


class FakeServer(Listener):
    """Greets like a server; answers script calls with the given replies in order, hangs up at a None.

    When they are used up it says nothing.
    """

    def __init__(self, *replies: bytes | None) -> None:
        super().__init__()
        self._replies = list(replies)
        self.scripts_called = 0
        self.called = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = hiredis.Reader(notEnoughData=None)
        while piece := await reader.read(65536):
            parser.feed(piece)
            while command := parser.gets():
                if command[0] != b"EVALSHA":
                    writer.write(b"+OK\r\n")
                    continue
                self.scripts_called += 1
                self.called.set()
                if not self._replies:
                    continue
                reply = self._replies.pop(0)
                if reply is None:
                    return
                writer.write(reply)
