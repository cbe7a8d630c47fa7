"""Who asyncio takes for the running task while engines work: the probe, which notices handlers that want a task of
their own.

Handlers are driven in callbacks of the loop, where no task runs, or from inside one of our own tasks, which they must
not see. asyncio has no public way to say so; `_enter_task` and `_leave_task` are what other task implementations use,
from Python 3.7 to 3.14 at least. Where they do not take the probe, `replaceable` is False, and every handler has to be
started as a task of its own. Called by the driver alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio import tasks
from collections.abc import Iterator
from typing import Any

from barnabas.runtime.attempt import TaskProbe


class CurrentTask:
    """The current task of one loop. Made inside a task of that loop or in a callback."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._probe: Any = TaskProbe()
        self.replaceable = self._try()

    @contextlib.contextmanager
    def is_probe(self) -> Iterator[None]:
        """In a callback of the loop: let the probe be the current task."""
        if not self.replaceable:
            yield
            return
        tasks._enter_task(self._loop, self._probe)
        try:
            yield
        finally:
            tasks._leave_task(self._loop, self._probe)

    @contextlib.contextmanager
    def is_probe_instead(self) -> Iterator[None]:
        """In a task: let the probe be the current task in its place."""
        task = asyncio.current_task()
        assert task is not None
        if not self.replaceable:
            yield
            return
        tasks._leave_task(self._loop, task)
        try:
            with self.is_probe():
                yield
        finally:
            tasks._enter_task(self._loop, task)

    def _try(self) -> bool:
        task = asyncio.current_task()
        try:
            if task is not None:
                tasks._leave_task(self._loop, task)
            try:
                tasks._enter_task(self._loop, self._probe)
                accepted = asyncio.current_task() is self._probe
                tasks._leave_task(self._loop, self._probe)
                return accepted
            finally:
                if task is not None:
                    tasks._enter_task(self._loop, task)
        except (
            AttributeError,
            TypeError,
            RuntimeError,
        ):  # renamed, checked for its type, or refused: this Python is another
            return False
