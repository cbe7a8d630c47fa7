"""F21, F22, F24 at the doors: thousands of requests that are wrong. Each has one answer, and all else goes on.

MALFORMED_SEED repeats a run; MALFORMED_COUNT is how many (2000).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.interop.doors import Doors, doors
from tests.interop.good_calls import good_calls
from tests.interop.malformed_http import Wrong, wrong_requests
from tests.scenario.installation import Servers

COUNT = int(os.environ.get("MALFORMED_COUNT", "2000"))
SEED = int(os.environ.get("MALFORMED_SEED") or secrets.randbelow(2**32))
AT_A_TIME = 24
ANSWER_SECONDS = 20.0
#: How long nothing more may come where as many answers came as there must be, or where none must.
QUIET_SECONDS = 0.15


class Answer(NamedTuple):
    """One answer of a door."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture(scope="module")
def noisy(barnabas_stack: Servers) -> Iterator[Doors]:
    """An installation of its own."""
    with doors(barnabas_stack, "tests.interop.app:app") as found:
        yield found
        found.assert_alive()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("door", ["ingress", "admin"])
async def test_wrong_requests(noisy: Doors, door: str) -> None:
    """As many answers as requests, none of them a failure of ours; good calls are answered all the while."""
    sys.stdout.write(f"MALFORMED_SEED={SEED}\n")
    url = {"ingress": noisy.ingress, "admin": noisy.admin}[door]
    requests = wrong_requests(SEED, COUNT if door == "ingress" else COUNT // 4, admin=door == "admin")
    assert sum(one.due == 1 for one in requests) > len(requests) // 2  # most of them must be answered
    async with good_calls(noisy.ingress) as good:
        found = await _ask_all(url, requests)
    problems = [
        f"{wrong.kind}: {problem}\n  request  {wrong.content[:300]!r}\n  answers  {answers[:3]!r}"
        for wrong, answers in zip(requests, found, strict=True)
        for problem in _problems(wrong, answers, door)
    ]
    assert not problems, f"MALFORMED_SEED={SEED}, {len(problems)} problems:\n" + "\n".join(problems[:10])
    assert good["answered"] > 10
    assert good["wrong"] == 0
    statuses = Counter(answer.status for answers in found for answer in answers)
    assert {400, 404, 405, 431} <= statuses.keys(), statuses
    noisy.assert_alive()


def _problems(wrong: Wrong, answers: list[Answer], door: str) -> Iterator[str]:
    """What is not as it should be."""
    if len(answers) > wrong.most:
        yield f"{len(answers)} answers to {wrong.most} requests"
    if wrong.due and not answers:
        yield "no answer"
    for answer in answers:
        if answer.status < 400:
            continue
        if answer.status >= 500 and answer.status != 501:
            yield f"status {answer.status}"
        if answer.body and answer.headers.get("content-type") == "application/json":
            content = json.loads(answer.body)
            if door == "ingress" and (content["code"] != answer.status or not content["message"]):
                yield "the body does not say what the status says"
            if door == "admin" and "message" not in content and "code" not in content:
                yield "the body has no message"
        elif answer.body:
            yield "an error that is no JSON"


async def _ask_all(url: str, requests: list[Wrong]) -> list[list[Answer]]:
    turns = asyncio.Semaphore(AT_A_TIME)

    async def one(wrong: Wrong) -> list[Answer]:
        async with turns:
            return await _ask(url, wrong)

    return list(await asyncio.gather(*map(one, requests)))


async def _ask(url: str, wrong: Wrong) -> list[Answer]:
    """Write it to a connection of its own; what comes back until nothing more can be expected."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    received, head = b"", wrong.content.startswith(b"HEAD ")
    try:
        writer.write(wrong.content)
        while True:
            answers = _parsed(received, head=head)
            patience = QUIET_SECONDS if len(answers) >= wrong.due else ANSWER_SECONDS
            try:
                part = await asyncio.wait_for(reader.read(65_536), patience)
            except (TimeoutError, ConnectionError):
                return answers
            if not part:
                return _parsed(received, head=head)
            received += part
    finally:
        writer.close()


def _parsed(received: bytes, *, head: bool) -> list[Answer]:
    """The whole answers in it. One to HEAD has no body, whatever its length says."""
    answers = []
    while True:
        start, end, rest = received.partition(b"\r\n\r\n")
        if not end:
            return answers
        first, *lines = start.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3})( .*)?", first)
        assert match, f"no status line: {first!r}"
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = 0 if head else int(headers.get("content-length", "0"))
        if len(rest) < length:
            return answers
        answers.append(Answer(int(match[1]), headers, rest[:length]))
        received = rest[length:]
