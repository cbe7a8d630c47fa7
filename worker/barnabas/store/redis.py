"""The store on a Redis 7 or Valkey 8 server, or later. Made by the composition root, used through `port.Store`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgpack

from barnabas.store import forms, registry
from barnabas.store.keys import META, Keys
from barnabas.store.port import (
    Applied,
    Commit,
    Query,
    Refused,
    Service,
    Shard,
    StoreCorrupt,
    StoreUnavailable,
    Taken,
    UnsafeStore,
)
from barnabas.store.wire import Command, CommandRefused, Script, Wire

_COMMIT, _TAKE, _REGISTER = Script("commit"), Script("take"), Script("register")
_APPLIED = Applied()


class RedisStore:
    """A `Store` on one server. Not a cluster client: the keys are made for one, the connection is not.

    `timeout_seconds` bounds every round trip. Two connections, so that a big read does not hold up commits; the one for
    commits also takes, so a take is not overtaken by a commit that was asked for before it.
    """

    def __init__(self, url: str, namespace: str, *, timeout_seconds: float = 5.0) -> None:
        self._keys = Keys(namespace)
        self._writes = Wire(url, timeout_seconds=timeout_seconds)
        self._reads = Wire(url, timeout_seconds=timeout_seconds)

    async def take(self, shard: Shard, lease: bytes, owner: str) -> Taken:
        """See `port.Store.take`."""
        call = (1, self._keys.prefix(shard) + META, lease, owner)
        number, takes = _answer((await self._writes.run(_TAKE, [call]))[0], str(shard))
        return Taken(number, takes)

    async def commit(self, commits: Sequence[Commit]) -> list[Applied | Refused | StoreUnavailable]:
        """See `port.Store.commit`."""
        replies = await self._writes.run(_COMMIT, [self._call(commit) for commit in commits])
        outcomes = [_outcome(commit, reply) for commit, reply in zip(commits, replies, strict=True)]
        sound: list[Applied | Refused | StoreUnavailable] = []
        for outcome in outcomes:
            if isinstance(outcome, StoreCorrupt):
                raise StoreCorrupt(str(outcome), outcomes)
            if isinstance(outcome, ValueError):
                raise outcome
            sound.append(outcome)
        return sound

    async def read(self, questions: Sequence[tuple[Shard, Query]]) -> list[Any]:
        """See `port.Store.read`."""
        commands = [self._question(shard, query) for shard, query in questions]
        replies = await self._reads.exchange(commands)
        answers = []
        for command, reply, (shard, _) in zip(commands, replies, questions, strict=True):
            answer = _answer(reply, str(shard))
            shape = _SHAPES.get(str(command[0]))
            answers.append(shape(answer) if shape else answer)
        return answers

    async def time_ms(self) -> int:
        """See `port.Store.time_ms`."""
        seconds, microseconds = await self._ask("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def register(self, services: Sequence[Service]) -> None:
        """See `port.Store.register`. All or none are written."""
        fields = [part for service in services for part in (service.name, registry.encode(service))]
        replies = await self._writes.run(_REGISTER, [(1, self._keys.services, *fields)])
        if standing := _answer(replies[0], "the registry"):
            name = standing[0].decode()
            wanted = next(service for service in services if service.name == name)
            raise registry.conflict(registry.decode(name, standing[1]), wanted)

    async def services(self) -> dict[str, Service]:
        """See `port.Store.services`."""
        replies = await self._reads.exchange([("HGETALL", self._keys.services), ("HGETALL", self._keys.public)])
        fields, public = (_pairs(_answer(reply, "the registry")) for reply in replies)
        found = {name.decode(): registry.decode(name.decode(), text) for name, text in fields.items()}
        said = {name.decode(): value == b"1" for name, value in public.items()}
        return {name: registry.with_public(one, said.get(name)) for name, one in found.items()}

    async def set_public(self, service: str, public: bool) -> None:
        """See `port.Store.set_public`."""
        [reply] = await self._writes.exchange([("HSET", self._keys.public, service, int(public))])
        _answer(reply, "the registry")

    async def settings(self) -> dict[str, str]:
        """What the doctor and the start-up check need to know of the server; `unknown` where it does not say.

        Keys: version (of the Redis commands that it speaks), valkey-version, maxmemory, maxmemory-policy, appendonly,
        appendfsync.
        """
        info = await self._reads.exchange([("INFO", "server"), ("INFO", "memory"), ("INFO", "persistence")])
        facts = dict(
            line.split(":", 1) for reply in info for line in _answer(reply, "INFO").decode().splitlines() if ":" in line
        )
        # Managed servers refuse CONFIG, each in its own way; INFO tells all but appendfsync.
        config = (await self._reads.exchange([("CONFIG", "GET", "appendfsync")]))[0]
        return {
            "version": facts.get("redis_version", "unknown"),
            "valkey-version": facts.get("valkey_version", "unknown"),
            "maxmemory": facts.get("maxmemory", "unknown"),
            "maxmemory-policy": facts.get("maxmemory_policy", "unknown"),
            "appendonly": {"1": "yes", "0": "no"}.get(facts.get("aof_enabled", ""), "unknown"),
            "appendfsync": config[1].decode() if isinstance(config, list) and config else "unknown",
        }

    async def aclose(self) -> None:
        """See `port.Store.aclose`."""
        await self._writes.aclose()
        await self._reads.aclose()

    def _call(self, commit: Commit) -> Command:
        prefix = self._keys.prefix(commit.shard)
        # raw strings for both str and bytes: Valkey's cmsgpack does not know msgpack's bin type
        ops: bytes = msgpack.packb(commit.ops, use_bin_type=False)
        return (1, prefix + META, commit.lease, commit.number, prefix, ops)

    def _question(self, shard: Shard, query: Query) -> Command:
        verb, suffix, arguments = forms.question(query)
        if verb == "ZRANGE":
            arguments.append(b"WITHSCORES")
        return (verb, self._keys.prefix(shard) + suffix, *arguments)

    async def _ask(self, *command: bytes | str | int) -> Any:
        return _answer((await self._reads.exchange([command]))[0], str(command[0]))


def check_settings(settings: Mapping[str, str]) -> None:
    """Refuse a server that would delete what Barnabas keeps, or cannot run its scripts. Raises UnsafeStore.

    `settings` are `RedisStore.settings()`; a worker asks once, before it takes a shard.
    """
    policy = settings["maxmemory-policy"]
    if policy not in ("noeviction", "unknown"):
        raise UnsafeStore(
            f"the store's maxmemory-policy is {policy}: short of memory, it would delete journals and state unasked. "
            "Run `redis-cli CONFIG SET maxmemory-policy noeviction`, and set it in the server's configuration file too."
        )
    version = settings["version"]
    major = version.split(".", 1)[0]
    if major.isdigit() and int(major) < 7:
        raise UnsafeStore(f"the store speaks Redis {version}; Barnabas needs Redis 7 or Valkey 8, or later")


def _outcome(commit: Commit, reply: Any) -> Applied | Refused | StoreUnavailable | StoreCorrupt | ValueError:
    if isinstance(reply, CommandRefused) and reply.code == "BADOP":
        return ValueError(f"malformed commit to {commit.shard}: {reply.text}")
    if isinstance(reply, CommandRefused):
        return _corrupt(reply, str(commit.shard))
    if isinstance(reply, StoreUnavailable):
        return reply
    if reply[0] == b"applied":
        return _APPLIED
    return Refused(reply[0].decode(), int(reply[1]))


def _answer(reply: Any, about: str) -> Any:
    if isinstance(reply, StoreUnavailable):
        raise reply
    if isinstance(reply, CommandRefused):
        raise _corrupt(reply, about)
    return reply


def _corrupt(reply: CommandRefused, about: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{about} cannot be used as it stands in the store: {reply}. Look at what happened to its keys; "
        "a shard closed by a half commit is opened again by deleting the field `broken` of its meta hash."
    )


def _pairs(reply: list[bytes]) -> dict[bytes, bytes]:
    parts = iter(reply)
    return dict(zip(parts, parts, strict=True))


def _scored(reply: list[bytes]) -> list[tuple[bytes, float]]:
    parts = iter(reply)
    return [(member, float(score)) for member, score in zip(parts, parts, strict=True)]


#: Question -> how its reply becomes the port's shape; all others have it already.
_SHAPES: dict[str, Callable[[Any], Any]] = {
    "HGETALL": _pairs,
    "ZRANGE": _scored,
    "SMEMBERS": set,
}
