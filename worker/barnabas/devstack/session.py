"""A stack of its own for one test session, in a temporary folder. Used by `pytest_plugin`.

A session that was killed could not end its stack, and nobody else looks into its folder: so the folder is named after
the process, and the next session ends what it finds there of processes that are gone.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barnabas.devstack.process import Process
from barnabas.devstack.stack import Addresses, Stack, find_or_start


@contextmanager
def session_stack() -> Iterator[Addresses]:
    """The servers that `BARNABAS_KAFKA` and `BARNABAS_REDIS` name; where one is not set, a new one with no data.

    Raises DevstackError where it cannot be had.
    """
    end_orphans(sessions_directory())
    own = Process.current()
    directory = sessions_directory() / f"{own.pid}-{own.birth}"
    try:
        with find_or_start(directory) as addresses:
            yield addresses
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def sessions_directory() -> Path:
    """Where this user's sessions have their folders."""
    return Path(tempfile.gettempdir()) / f"barnabas-sessions-{os.getuid()}"


def end_orphans(sessions: Path) -> None:
    """End the stacks of sessions whose process is gone, and remove their folders."""
    for directory in sessions.glob("*-*"):
        pid, _, birth = directory.name.partition("-")
        if not Process(int(pid), birth).is_alive():
            Stack(directory).down()
            shutil.rmtree(directory, ignore_errors=True)
