"""A store filled by hand, with the packers that the engine uses: who runs, who is queued, who has called whom."""

from __future__ import annotations

from barnabas.contract.codec import encode_invocation
from barnabas.contract.ids import InvocationId, child_id, random_id
from barnabas.contract.records import Caller, Invocation, ReplyTo
from barnabas.runtime import journal as j
from barnabas.runtime.live import QUEUED, RUNNING, SUSPENDED, Live
from barnabas.runtime.scheduling.waiting import Waiting, accepted
from barnabas.store import keys
from barnabas.store.memory import MemoryStore
from barnabas.store.port import Applied, Commit, Op, Service, Shard

PARTITIONS = 3
NOW = 1_790_000_000_000


def service(name: str, kind: str = "object") -> Service:
    """One whose handlers are `transfer`, and `look`, which is shared."""
    handlers = {"transfer": "exclusive", "look": "shared"} if kind == "object" else {"transfer": "service"}
    return Service(name, kind, PARTITIONS, "g", handlers)


class Filled:
    """A store in memory. Every method is one commit to one shard."""

    def __init__(self, *services: Service) -> None:
        self.store = MemoryStore()
        self.services = {one.name: one for one in services}
        self.store.core.register(services)
        self._numbers: dict[Shard, int] = {}
        self._journals: dict[bytes, list[j.Entry]] = {}
        self._targets: dict[bytes, Live] = {}
        self._clock = NOW
        self._arrivals = 0

    def root(self, name: str, key: str | None = None) -> bytes:
        """A client's call, which runs, and holds its key if it has one."""
        return self._accept(random_id(name, key), name, key, RUNNING, [ReplyTo("client", b"1")])

    def call(self, caller: bytes, name: str, key: str | None = None, *, accept: bool = True) -> bytes:
        """A call that `caller` has made and not got the result of; it runs unless its key is held, then it is queued.

        `accept=False`: its record is on its way.
        """
        position = len([entry for entry in self._journals[caller] if entry[0] < j.FIRST_NOTIFICATION]) + 1
        id_ = child_id(caller, position, name, "transfer", key, b"")
        self.journal(caller, [j.CALL, f"{name}/transfer", key, id_])
        if accept:
            self.accept(id_, name, key, self.caller(caller, position))
        return id_

    def caller(self, id_: bytes, position: int) -> Caller:
        """An invocation as one that waits for a result."""
        live = self._targets[id_]
        return Caller(id_, live.service, live.key or "", position)

    def accept(self, id_: bytes, name: str, key: str | None, caller: Caller) -> None:
        """A call's record has come to its shard."""
        holder = self.holder(name, key)
        self._accept(id_, name, key, RUNNING if holder is None else QUEUED, [caller])
        if holder is not None and key is not None:
            self.commit(self.shard(name, id_), ("HSET", keys.HEADS, key, holder))

    def spill(self, caller: bytes, name: str, key: str) -> bytes:
        """A call that was accepted with its input left in Kafka."""
        id_ = self.call(caller, name, key, accept=False)
        holder = self.holder(name, key)
        assert holder is not None
        self.commit(self.shard(name, id_), ("HSET", keys.SPILL, id_, 7), ("HSET", keys.HEADS, key, holder))
        return id_

    def delay(self, name: str, key: str | None, due: int, *, partition: int = 2, stranded: bool = False) -> Waiting:
        """A client's message that waits in the scheduler; `stranded`: past its due time, for want of its service."""
        id_ = random_id(name, key, delayed=True)
        self._arrivals += 1
        wanted = Invocation(id_, name, "transfer", key, b"12345", reply_to=ReplyTo("client", b"1"))
        waiting = accepted(wanted, due, self._arrivals, encode_invocation(wanted))
        waiting.stranded = stranded
        ops: list[Op] = [
            ("HSET", keys.WAITING, id_, waiting.header()),
            ("HSET", keys.WAITING_INPUTS, id_, encode_invocation(wanted)),
            ("ZADD", waiting.wanted_place, due, waiting.member),
        ]
        if stranded:
            ops.append(("SADD", keys.STRANDED, name))
        self.commit(Shard("@delays", partition), *ops)
        return waiting

    def release(self, waiting: Waiting, partition: int = 2) -> None:
        """It is due, and on its way to its target."""
        self.commit(
            Shard("@delays", partition),
            ("HDEL", keys.WAITING, waiting.id),
            ("HDEL", keys.WAITING_INPUTS, waiting.id),
            ("ZREM", waiting.wanted_place, waiting.member),
        )

    def attach(self, caller: bytes, target: bytes) -> None:
        """`caller` waits for the result of `target`."""
        live = self._targets[target]
        position = len([entry for entry in self._journals[caller] if entry[0] < j.FIRST_NOTIFICATION]) + 1
        self.journal(caller, [j.ATTACH, "", target])
        live.waiters.append(self.caller(caller, position))
        self.commit(self.shard(live.service, target), ("HSET", keys.LIVE, target, live.header()))

    def journal(self, id_: bytes, *entries: j.Entry) -> None:
        """More of an invocation's journal."""
        self._journals[id_] += entries
        shard = self.shard(self._targets[id_].service, id_)
        self.commit(shard, ("RPUSH", keys.journal(id_), *map(j.pack_entry, entries)))

    def answer(self, caller: bytes, callee: bytes) -> None:
        """`callee` is over, and its result is with `caller`; who waits for its key goes on."""
        entries = self._journals[caller]
        commands = [entry for entry in entries if entry[0] < j.FIRST_NOTIFICATION]
        position = next(i for i, one in enumerate(commands, 1) if callee in one)
        self.journal(caller, [j.RESULT, position, callee, b"1"])
        self.end(callee)

    def end(self, callee: bytes) -> None:
        """It is over, and its result is on its way."""
        live = self._targets.pop(callee)
        shard = self.shard(live.service, callee)
        ops: list[Op] = [("HDEL", keys.LIVE, callee), ("DEL", keys.journal(callee))]
        if self.holder(live.service, live.key) is None and live.key is not None:
            ops.append(("HDEL", keys.HEADS, live.key))
        self.commit(shard, *ops)

    def suspend(self, id_: bytes) -> None:
        """It waits without a coroutine."""
        live = self._targets[id_]
        live.status = SUSPENDED
        self.commit(self.shard(live.service, id_), ("HSET", keys.LIVE, id_, live.header()))

    def holder(self, name: str, key: str | None) -> bytes | None:
        """Who runs at this key."""
        held = (one.id for one in self._targets.values() if (one.service, one.key) == (name, key) and one.exclusive)
        return next(held, None) if key is not None else None

    def shard(self, name: str, id_: bytes) -> Shard:
        return Shard(name, InvocationId(id_).partition(PARTITIONS))

    def commit(self, shard: Shard, *ops: Op) -> None:
        """One commit, as a worker makes it."""
        if shard not in self._numbers:
            self._numbers[shard] = self.store.core.take(shard, b"lease", "me").number
        self._numbers[shard] += 1
        outcome = self.store.core.commit(Commit(shard, b"lease", self._numbers[shard], list(ops)))
        assert outcome == Applied()

    def _accept(self, id_: bytes, name: str, key: str | None, status: str, waiters: list[Caller | ReplyTo]) -> bytes:
        self._clock += 1
        live = Live(id_, name, "transfer", key, key is not None, 1, self._clock)
        live.status, live.waiters = status, waiters
        self._targets[id_], self._journals[id_] = live, []
        self.commit(
            self.shard(name, id_),
            ("HSET", keys.LIVE, id_, live.header()),
            ("HSET", keys.INPUTS, id_, live.input()),
        )
        return id_
