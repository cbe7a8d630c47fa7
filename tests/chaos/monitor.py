"""K8: who changed which shard of the store, in which order, as the server itself tells (MONITOR).

The scripts' own writes are seen, not what workers believe: a commit counts when `number` was written, under the lease
that its call named, and that lease must be the one that was taken last.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter, defaultdict
from typing import NamedTuple
from urllib.parse import urlparse

_WORD = re.compile(rb'"((?:[^"\\]|\\.)*)"')


class CommitSeen(NamedTuple):
    """One commit that was applied."""

    number: int
    lease: bytes
    taken: bytes  # the lease of the latest take


class CommitWatch:
    """Watches one namespace of a server from the moment it is made."""

    def __init__(self, url: str, namespace: str) -> None:
        self.commits: defaultdict[str, list[CommitSeen]] = defaultdict(list)
        self.takes: defaultdict[str, list[bytes]] = defaultdict(list)  # leases, in order
        self.calls: defaultdict[str, list[bytes]] = defaultdict(list)  # leases of commits that were asked for
        self.commands: Counter[str] = Counter()  # by verb, those of clients
        self._caller: dict[str, bytes] = {}
        self._prefix = b'"{' + namespace.encode() + b"/"
        where = urlparse(url)
        self._socket = socket.create_connection((where.hostname or "127.0.0.1", where.port or 6379))
        self._socket.sendall(b"MONITOR\r\n")
        self._file = self._socket.makefile("rb")
        assert self._file.readline() == b"+OK\r\n"
        self._thread = threading.Thread(target=self._read, name="commit-watch", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._file:
            if self._prefix in line:
                self._line(line, from_script=b" lua]" in line.split(b'"', 1)[0])

    def _line(self, line: bytes, *, from_script: bool) -> None:
        words = [match[1] for match in _WORD.finditer(line)]
        verb = words[0].upper()
        if not from_script:
            self.commands[verb.decode()] += 1
        if not from_script and verb in (b"EVALSHA", b"EVAL"):
            if len(words) == 8:  # commit: script, 1, meta, lease, number, prefix, ops
                shard = _shard(words[3])
                self._caller[shard] = words[4]
                self.calls[shard].append(words[4])
        elif from_script and verb == b"HSET" and words[1].endswith(b":meta"):
            shard = _shard(words[1])
            if words[2] == b"lease":
                self.takes[shard].append(words[3])
            elif words[2] == b"number" and len(words) == 4:
                taken = self.takes[shard][-1] if self.takes[shard] else b""
                self.commits[shard].append(CommitSeen(int(words[3]), self._caller[shard], taken))

    def refused_calls(self) -> int:
        """How many commits were asked for under a lease that was no longer the latest."""
        return sum(len(calls) for calls in self.calls.values()) - sum(len(seen) for seen in self.commits.values())

    def forget(self) -> None:
        """Forget what was seen so far: the store no longer knows it either."""
        self.commits.clear()

    def k8_single_writer(self) -> list[str]:
        """Per shard, commit numbers rise by one from the first, and each carries the lease of the latest take."""
        wrong = []
        for shard, commits in self.commits.items():
            numbers = [commit.number for commit in commits]
            if numbers != list(range(1, len(numbers) + 1)):
                wrong.append(f"{shard}: commit numbers {numbers}")
            wrong += [
                f"{shard}: commit {one.number} under a lease that was lost" for one in commits if one.lease != one.taken
            ]
        return wrong

    def close(self) -> None:
        """Watch no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._file.close()
        self._socket.close()


def _shard(meta: bytes) -> str:
    return meta.split(b"/", 1)[1].split(b"}", 1)[0].decode()
