"""What holds for every test: no internal error was logged, and nothing that it started is left behind.

Both are looked at after the test's own fixtures are gone: a worker or a client that a fixture ends is seen at its end.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

#: Loggers on which an ERROR is a bug, or the subject of the test: ours, and asyncio's (exceptions nobody retrieved).
WATCHED = ("barnabas", "asyncio")
OURS = "barnabas-"
#: Python 3.11 logs this when an asyncio server's handler is cancelled, as those of test proxies are; 3.12 does not.
NOISE = "StreamReaderProtocol.connection_made"
GRACE_SECONDS = 2.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "expects_errors(*patterns): errors may be logged on the loggers of Barnabas; with patterns only those in which "
        "one of them (a regular expression) is found",
    )


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if NOISE not in message:
            self.messages.append(f"{record.name}: {message}")


@pytest.fixture(autouse=True)
def no_internal_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which an error was logged, unless it is marked with `expects_errors`."""
    errors = _Errors()
    for name in WATCHED:
        logging.getLogger(name).addHandler(errors)
    try:
        yield
    finally:
        for name in WATCHED:
            logging.getLogger(name).removeHandler(errors)
    marker = request.node.get_closest_marker("expects_errors")
    if marker is not None:
        patterns = [re.compile(pattern) for pattern in marker.args]
        unexpected = [
            message for message in errors.messages if patterns and not any(one.search(message) for one in patterns)
        ]
    else:
        unexpected = errors.messages
    if unexpected:
        pytest.fail("errors were logged that the test does not expect:\n" + "\n".join(unexpected), pytrace=False)


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest, no_internal_error: None) -> Iterator[None]:
    """Fail a test that leaves a thread of ours, or on its event loop any task, running."""
    before = set(threading.enumerate())
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_task_left")
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith(OURS):
            thread.join(max(0.0, deadline - time.monotonic()))
    left = [one.name for one in set(threading.enumerate()) - before if one.name.startswith(OURS)]
    if left:
        pytest.fail(f"threads were left behind: {', '.join(sorted(left))}", pytrace=False)


@pytest.fixture
async def no_task_left() -> AsyncIterator[None]:
    """Asked for by `nothing_left_behind` in tests that are coroutines; runs on their loop."""
    yield
    ending = asyncio.all_tasks() - {asyncio.current_task()}
    if ending:
        _, left = await asyncio.wait(ending, timeout=GRACE_SECONDS)
        if left:
            names = ", ".join(sorted(f"{one.get_name()} ({one.get_coro()})" for one in left))
            pytest.fail(f"tasks were left behind: {names}", pytrace=False)
