"""One connection to a Redis or Valkey server: many commands, one round trip, errors sorted. For the `redis` adapter.

The only file that imports redis-py and hiredis. It promises three things that a pool with default settings does not:
- nothing is ever sent twice: no retries inside (redis-py's own would repeat scripts);
- a caller that is cancelled never leaves its replies to the next one: each exchange runs in a task of its own, which
  reads to the end;
- every failure is one of two kinds: `StoreUnavailable`, or `CommandRefused`, which is an answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any, cast

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from barnabas.store.port import StoreUnavailable

#: A command's parts, its name first.
Command = tuple[bytes | str | int, ...]

#: First words of the server's error replies that mean "not now" (R15); in all of them the command changed nothing.
OUTAGES = frozenset(
    {
        "ASK",
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOAUTH",
        "NOPERM",
        "NOREPLICAS",
        "OOM",
        "READONLY",
        "TRYAGAIN",
        "UNKILLABLE",
        "WRONGPASS",
    }
)
# An administrator's SCRIPT KILL; the server grants it only to a script that has not written yet.
_KILLED = "SCRIPT KILL"


class CommandRefused(Exception):
    """The server answered a command with an error that is no outage. `code` is the answer's first word."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code
        self.text = text


def sort_error(error: RedisError | OSError) -> StoreUnavailable | CommandRefused:
    """The one place where foreign errors become ours. `TimeoutError` is an OSError."""
    # redis-py takes the first word off the text for the codes that it knows
    code = error.status_code if isinstance(error, RedisError) else None
    text = str(error) or type(error).__name__
    if isinstance(error, ResponseError):
        if code is None:
            code, _, text = text.partition(" ")
        if code not in OUTAGES and _KILLED not in text:
            return CommandRefused(code, text)
    return StoreUnavailable(f"the store cannot be used now: {code or 'no answer,'} {text}")


class Script:
    """A Lua script of `scripts/`, called by its hash."""

    def __init__(self, name: str) -> None:
        self.text = (files("barnabas.store") / "scripts" / f"{name}.lua").read_bytes()
        # the server's name for a script, not a matter of security
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


class Wire:
    """A connection that is made at the first exchange, and again at the first after it broke.

    Exchanges go one after the other, in the order in which they were asked for. `timeout_seconds` covers all of one:
    waiting for its turn, connecting, sending, and every reply.
    """

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        self._connection = _connection(url, timeout_seconds)
        self._timeout_seconds = timeout_seconds
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[list[Any]]] = set()
        self._closed = False

    async def exchange(self, commands: Iterable[Command]) -> list[Any]:
        """Send all commands, return one reply each. An error stands, sorted, in its reply's place; it is not raised.

        Cancelling the caller does not stop the exchange.
        """
        return await self._to_the_end(self._exchange(commands))

    async def run(self, script: Script, calls: Sequence[Command]) -> list[Any]:
        """One call of the script each; a call is what follows the hash: number of keys, keys, arguments.

        A server that does not know the script has run nothing of that call, so it is sent again with the text.
        """
        return await self._to_the_end(self._run(script, calls))

    async def aclose(self) -> None:
        """Break off what is under way (its callers get StoreUnavailable) and close the connection for good."""
        self._closed = True
        # an exchange that has not begun ends by itself; if it were cancelled first, its caller would be too
        await asyncio.sleep(0)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # a dead peer does not take the last bytes; the connection is closed all the same
        with suppress(RedisError):
            await self._connection.disconnect()

    async def _to_the_end(self, work: Coroutine[Any, Any, list[Any]]) -> list[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _run(self, script: Script, calls: Sequence[Command]) -> list[Any]:
        replies = await self._exchange([("EVALSHA", script.sha, *call) for call in calls])
        unknown = [index for index, reply in enumerate(replies) if _is_noscript(reply)]
        if unknown:
            again = await self._exchange([("EVAL", script.text, *calls[index]) for index in unknown])
            for index, reply in zip(unknown, again, strict=True):
                replies[index] = reply
        return replies

    async def _exchange(self, commands: Iterable[Command]) -> list[Any]:
        packed = [pack_command(cast("Any", command)) for command in commands]
        replies: list[Any] = []
        outage: StoreUnavailable | CommandRefused
        try:
            if self._closed:
                raise RedisConnectionError("this store was closed")
            async with asyncio.timeout(self._timeout_seconds), self._turn:
                await self._talk(packed, replies)
            return replies
        except TimeoutError:
            outage = StoreUnavailable(f"no answer from the store within {self._timeout_seconds} s")
        except (RedisError, OSError) as error:
            outage = sort_error(error)
        except asyncio.CancelledError:
            if not self._closed:
                raise
            outage = StoreUnavailable("the store was closed while this was under way")
        return replies + [outage] * (len(packed) - len(replies))

    async def _talk(self, packed: list[bytes], replies: list[Any]) -> None:
        """Fill `replies`; whatever goes wrong, no reply stays behind on the connection.

        redis-py closes a failed connection too, but got that wrong before, and a reply that goes to the wrong
        caller is the worst that can happen here.
        """
        connection = self._connection
        try:
            # Readable before anything was asked: the server hung up, and what we sent would be of unknown fate.
            if connection.is_connected and await connection.can_read():
                await connection.disconnect(nowait=True)
            await connection.send_packed_command(packed)
            while len(replies) < len(packed):
                replies.append(await self._reply())
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def _reply(self) -> Any:
        try:
            return await self._connection.read_response()
        except ResponseError as error:
            return sort_error(error)


def _is_noscript(reply: object) -> bool:
    return isinstance(reply, CommandRefused) and reply.code == "NOSCRIPT"


def check_url(url: str) -> None:
    """Raises ValueError for a URL that is none. The message says what one looks like, and nothing that is in it."""
    _connection(url, 1)


def _connection(url: str, timeout_seconds: float) -> AbstractConnection:
    """A connection that is not made yet. Raises ValueError for a URL that is none."""
    try:
        return _made(url, timeout_seconds)
    except (ValueError, TypeError):  # their messages quote what they do not understand, which may be the password
        raise ValueError(
            "this is no URL of a store: write redis://[user:password@]host:port/db, or rediss://... for TLS with "
            "options such as ?ssl_ca_certs=FILE; what is special in a password is percent-encoded"
        ) from None


def _made(url: str, timeout_seconds: float) -> AbstractConnection:
    options: dict[str, Any] = dict(parse_url(url))
    make = options.pop("connection_class", Connection)
    options |= {
        "protocol": 2,  # flat replies from every server version
        "decode_responses": False,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,  # one deadline for the whole exchange instead of one for each reply
        "socket_connect_timeout": timeout_seconds,
        "client_name": "barnabas",
    }
    connection: AbstractConnection = make(**options)
    return connection
