"""Servers that ask who comes: a broker with SASL over TLS, and a store behind TLS with users of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from barnabas.devstack.broker import Broker
from barnabas.devstack.stack import usable_port
from tests.certificates import Authority

_LISTENER = "listener.name.host"


class SecuredBroker(Broker):
    """A broker whose listener HOST takes one user with a password, over TLS; `address` without them is for itself."""

    def __init__(self, directory: Path, authority: Authority, user: str, password: str) -> None:
        super().__init__(directory, usable_port(27_100), usable_port(27_200))
        self.secured_port = usable_port(27_300)
        self._authority = authority
        self._user, self._password = user, password

    @property
    def secured_address(self) -> str:
        """For clients that say who they are."""
        return f"127.0.0.1:{self.secured_port}"

    def _properties(self) -> str:
        certificate, key = self._authority.issue("broker")
        store = self.directory / "broker-keystore.pem"
        store.write_bytes(key.read_bytes() + certificate.read_bytes())
        lines = []
        for line in super()._properties().splitlines():
            name, _, value = line.partition("=")
            if name in ("listeners", "advertised.listeners"):
                line = f"{line},HOST://{self.secured_address}"
            elif name == "listener.security.protocol.map":
                line = f"{name}={value.replace('HOST:PLAINTEXT', 'HOST:SASL_SSL')}"
            lines.append(line)
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        lines += [
            "sasl.enabled.mechanisms=PLAIN",
            f'{_LISTENER}.plain.sasl.jaas.config={login} user_{self._user}="{self._password}";',
            f"{_LISTENER}.ssl.keystore.type=PEM",
            f"{_LISTENER}.ssl.keystore.location={store}",
        ]
        return "\n".join(lines) + "\n"


@contextmanager
def tls_before(url: str, certificate: tuple[Path, Path]) -> Iterator[int]:
    """A port of this machine that speaks TLS and passes on to the server at that URL, which speaks none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    target = urlsplit(url)
    ports: list[int] = []
    started, loop = threading.Event(), asyncio.new_event_loop()
    ending = asyncio.Event()

    async def serve() -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            inner_reader, inner_writer = await asyncio.open_connection(target.hostname, target.port)
            for source, drain in ((reader, inner_writer), (inner_reader, writer)):
                task = asyncio.create_task(_pump(source, drain))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        started.set()
        await ending.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(ending.set)
        thread.join()
        loop.close()


async def _pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65_536):
            drain.write(chunk)
            await drain.drain()
    drain.close()
