"""A stack: one broker and one store in one folder, shared by whoever finds it there, and never started twice.

Used by the command line, the demo and the pytest plugin. A stack ends with its last user, unless it was started
detached; users that died are forgotten, so a stack that a killed process left behind is reused by the next one and ends
with it. Touches its folder, and the two servers.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from barnabas.devstack.broker import Broker
from barnabas.devstack.errors import DevstackError
from barnabas.devstack.process import Process
from barnabas.devstack.server import replace_file
from barnabas.devstack.store import Store

DEFAULT_DIRECTORY = Path(".barnabas/stack")
#: Below every system's range for outgoing connections: there, a client that tries to reach a server that was killed
#: could be given the server's own port, and would be connected to itself.
PORTS = range(20_000, 32_000)


class Addresses(NamedTuple):
    """Where the two servers are: `host:port`, and a `redis://` URL."""

    kafka: str
    redis: str


@dataclass(frozen=True, slots=True)
class Status:
    """What runs of a stack, and for whom."""

    addresses: Addresses
    broker_pid: int | None
    store_pid: int | None
    detached: bool
    users: list[int]  # ids of the live processes that use it


@dataclass(slots=True)
class _Record:
    """What `stack.json` remembers."""

    kafka: int
    controller: int
    store: int
    detached: bool = False
    users: list[Process] = field(default_factory=list)


class Stack:
    """The stack in a folder; the folder is made when first needed, and nothing runs before `up`."""

    def __init__(self, directory: Path = DEFAULT_DIRECTORY) -> None:
        self.directory = directory.absolute()
        self._broker: Broker | None = None
        self._store: Store | None = None

    @property
    def broker(self) -> Broker:
        """The broker of this stack, running or not. `kill()` and `start()` keep port and data."""
        if self._broker is None:
            record = self._read()
            self._broker = Broker(self.directory, record.kafka, record.controller)
        return self._broker

    @property
    def store(self) -> Store:
        """The store of this stack, running or not. `kill()` and `start()` keep port and data."""
        if self._store is None:
            self._store = Store(self.directory, self._read().store)
        return self._store

    @property
    def addresses(self) -> Addresses:
        """Where the servers are when they run."""
        return Addresses(self.broker.address, self.store.address)

    def up(self, *, broker: bool = True, store: bool = True, detached: bool = False) -> Addresses:
        """Have the servers running and ready, and use them until `leave` or the end of this process.

        `detached`: they stay until `down`. Raises DevstackError, with what is missing, where they cannot be had.
        """
        with self._locked():
            self._settle_ports()
            record = self._read()
            try:
                for wanted, server in ((store, self.store), (broker, self.broker)):
                    if wanted:
                        server.start()
            except BaseException:  # Ctrl-C too: what nobody else uses must not stay behind
                self._stop_unless_used(record)
                raise
            record.detached |= detached
            if not detached:
                own = Process.current()
                record.users = [user for user in record.users if user != own and user.is_alive()] + [own]
                atexit.register(self.leave)
            self._write(record)
        return self.addresses

    def revive(self) -> list[str]:
        """Start again, on its port and with its data, what has ended without being asked to; returns the names.

        Raises DevstackError.
        """
        with self._locked():
            dead = [server for server in (self.store, self.broker) if server.has_died]
            for server in dead:
                server.start()
        return [server.name for server in dead]

    def leave(self) -> None:
        """Use the stack no more: it ends unless somebody else uses it or it was started detached."""
        atexit.unregister(self.leave)
        with self._locked():
            record = self._read()
            own = Process.current()
            record.users = [user for user in record.users if user != own]
            self._write(record)
            self._stop_unless_used(record)

    def down(self) -> None:
        """End both servers whoever uses them; ports and data stay for the next `up`."""
        atexit.unregister(self.leave)
        if not self.directory.exists():
            return
        with self._locked():
            record = self._read()
            record.detached, record.users = False, []
            self._write(record)
            self._stop()

    def status(self) -> Status:
        """What runs now. Changes nothing but the folder's existence."""
        with self._locked():
            record = self._read()
            users = [user.pid for user in record.users if user.is_alive()]
            return Status(self.addresses, self.broker.pid, self.store.pid, record.detached, users)

    def _stop_unless_used(self, record: _Record) -> None:
        if not record.detached and not any(user.is_alive() for user in record.users):
            self._stop()

    def _stop(self) -> None:
        self.broker.stop()
        self.store.stop()

    def _settle_ports(self) -> None:
        """Keep the remembered ports; a server that does not run and whose port somebody else took gets another."""
        record = self._read()
        if self.broker.process is None:
            record.kafka, record.controller = usable_port(record.kafka), usable_port(record.controller)
        if self.store.process is None:
            record.store = usable_port(record.store)
        self._write(record)
        self._broker = self._store = None

    def _read(self) -> _Record:
        try:
            stored = json.loads(self._file.read_text())
        except FileNotFoundError:
            self.directory.mkdir(parents=True, exist_ok=True)
            kafka, controller, store = random.sample(PORTS, 3)
            record = _Record(kafka, controller, store)
            self._write(record)
            return record
        return _Record(**{**stored, "users": [Process(**user) for user in stored["users"]]})

    def _write(self, record: _Record) -> None:
        replace_file(self._file, json.dumps(asdict(record)))

    @property
    def _file(self) -> Path:
        return self.directory / "stack.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process at a time starts or ends this stack; the system drops the lock of one that was killed."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "stack.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


@contextmanager
def find_or_start(directory: Path | None = None) -> Iterator[Addresses]:
    """The servers that `BARNABAS_KAFKA` and `BARNABAS_REDIS` name; where one is not set, the stack's in `directory`.

    What this starts ends with the context, unless another process uses it by then. Raises DevstackError.
    """
    kafka, redis = os.environ.get("BARNABAS_KAFKA"), os.environ.get("BARNABAS_REDIS")
    if kafka and redis:
        yield Addresses(kafka, redis)
        return
    stack = Stack(directory or DEFAULT_DIRECTORY)
    own = stack.up(broker=not kafka, store=not redis)
    try:
        yield Addresses(kafka or own.kafka, redis or own.redis)
    finally:
        stack.leave()


def usable_port(port: int) -> int:
    """That port of the loopback interface, if a server could listen there now, else another. Raises DevstackError."""
    candidates = [port, *random.sample(PORTS, 50)]
    for candidate in candidates:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return candidate
    raise DevstackError(f"No free port found on 127.0.0.1 between {PORTS.start} and {PORTS.stop}")
