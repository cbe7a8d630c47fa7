"""What must be true of a world at rest (P1-P6, K1-K8 of FAULTS.md)."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from barnabas.contract import codec, raw
from barnabas.contract.ids import InvocationId
from barnabas.contract.records import DeadLetter, Invocation
from barnabas.store import keys
from tests.simulator import agreement, feeding, retention
from tests.simulator.expected import Expected
from tests.simulator.faces import Violation
from tests.simulator.patterns import fits
from tests.simulator.places import NAMES, PARTITIONS, SHARDS, SUBSCRIPTION, TOPIC_ID
from tests.simulator.programs import FLOW, KEYS, KNOT, KNOTS, OBJECT, Root, unpack

if TYPE_CHECKING:
    from tests.simulator.world import World

#: Hashes of a shard in which nothing may be left.
EMPTY_IN_THE_END = (
    keys.LIVE, keys.INPUTS, keys.OUTBOX, keys.SPILL, keys.SPILL_COUNTS, keys.SPILL_RECORDS, keys.PARKED, keys.DEFERRED,
    keys.HEADS, keys.UNCHECKED, keys.WAITING, keys.WAITING_INPUTS,
)  # fmt: skip


def check(world: World) -> None:
    """Raises Violation for the first promise that was broken."""
    if world.violation is not None:
        raise world.violation
    expected = Expected(world.cut, world.fell_back, world.leads_back)
    results = {root.number: expected.of(root) for root in world.roots}
    feeding.expect(world, expected)
    feeding.check(world)
    _replies(world, expected, results)
    agreement.check(world, expected)
    logs = {key: _log_of(world, key) for key in (*KEYS, *KNOTS, "f0")}
    _logs(world, expected, logs)
    _order(world, expected, logs)
    _effects(world, expected)
    _nothing_left(world)


def _replies(world: World, expected: Expected, results: dict[int, Any]) -> None:
    """P1, K1: each request has one outcome, the right one, and each client was told."""
    by_name: dict[str, list[Any]] = defaultdict(list)
    for record in world.log.partitions[NAMES.replies, 0]:
        reply = codec.decode_reply(record.value)
        told = ["failed", reply.failure.code] if reply.failure is not None else unpack(reply.result)
        by_name[reply.request.decode()].append(told)
    for root in world.roots:
        if root.raw:
            continue
        told = by_name[root.name]
        if not told:
            raise Violation("P1", f"{root.name} was never answered")
        if root.handler == "look":
            _looks(world, root, told)
            continue
        _one_outcome(world, root.name, told, results[root.number], root.token in world.cut)
        attached = by_name[f"attach {root.name}"]
        if root.attached and not attached:
            raise Violation("P1", f"who attached to {root.name} was never answered")
        pattern = expected.attached(root) if root.shared is not None else results[root.number]
        same = attached if root.shared is not None else told + attached
        _one_outcome(world, f"attach {root.name}", same, pattern, root.token in world.cut)


def _one_outcome(world: World, name: str, told: list[Any], pattern: Any, cut: bool) -> None:
    for one in told:
        if not fits(pattern, one):
            raise Violation("P1", f"{name} was answered with {one}, not with {pattern}")
    if any(one != told[0] for one in told) and not cut and not world.fell_back:
        raise Violation("P1", f"{name} was answered in more than one way: {told}")


def _looks(world: World, root: Root, told: list[Any]) -> None:
    for _, mark in told:
        if mark is not None and mark not in world.store.committed_marks:
            raise Violation("R12", f"{root.token} was answered with {mark}, which no commit holds")
    if not world.fell_back and len({mark for _, mark in told}) > 1:
        raise Violation("P1", f"{root.token} was answered in more than one way: {told}")


def _log_of(world: World, key: str) -> list[tuple[str, str]]:
    for shard in SHARDS:
        if shard.service in (OBJECT, FLOW, KNOT):
            found = world.store.read(shard, ("HGETALL", keys.state(key))).get(b"log")
            if found:
                return [(token, word) for token, word in unpack(found)]
    return []


def _logs(world: World, expected: Expected, logs: dict[str, list[tuple[str, str]]]) -> None:
    """P2, P4, K2, K3: everything ran exactly once, on its key, one after the other."""
    begun: dict[str, str] = {}
    runs = Counter(token for log in logs.values() for token, word in log if word == "begin")
    for shared in world.shared:
        if world.profile.mix.brief and shared.handler == "brief":
            retention.check(world, shared, runs[shared.token])
    for key, log in logs.items():
        running = ""
        for token, word in log:
            if word == "end":
                if running != token:
                    raise Violation("P2", f"{key}: {token} ends while {running or 'nothing'} runs")
                running = ""
                continue
            if running and expected.ends(running):
                raise Violation("P2", f"{key}: {token} begins while {running} runs")
            if token in begun and not (token in world.may_repeat or (world.fell_back and token in expected.again)):
                raise Violation("K2", f"{token} ran twice")
            begun[token] = key
            running = token
    for token, logged in expected.logged.items():
        if logged.sure and begun.get(token) != logged.key:
            raise Violation("K1", f"{token} never ran on {logged.key}")
    thrown = Counter(token.partition("!")[0] for token in begun if "!" in token)
    for place, sure in expected.thrown.items():
        if (sure and not thrown[place]) or (thrown[place] > 1 and not world.fell_back):
            raise Violation("K1", f"the call of {place} ran {thrown[place]} times")
    unknown = [
        token for token in begun if token not in expected.logged and token.partition("!")[0] not in expected.thrown
    ]
    if unknown:
        raise Violation("K1", f"{unknown} ran, and nobody asked for it")


def _order(world: World, expected: Expected, logs: dict[str, list[tuple[str, str]]]) -> None:
    """P2, K2: on each key in topic order, and in the order of each sender."""
    topic = _topic_order(world)
    for key, log in logs.items():
        loose = expected.shared | (expected.again if world.fell_back else set())
        ran = [token for token, word in log if word == "begin" and token not in loose]
        wanted = [token for token in topic.get(key, []) if token in set(ran)]
        if ran != wanted:
            raise Violation("P2", f"{key}: ran {ran}, accepted in the order {wanted}")
        place = {token: index for index, token in enumerate(ran)}
        for at, earlier, later in expected.order:
            if at == key and place.get(earlier, -1) > place.get(later, len(ran)) and not world.fell_back:
                raise Violation("P2", f"{key}: {later} ran before {earlier}, sent in the other order")


def _topic_order(world: World) -> dict[str, list[str]]:
    order: dict[str, list[str]] = defaultdict(list)
    for shard in SHARDS:
        if shard.service not in (OBJECT, KNOT):
            continue
        seen: set[str] = set()
        for record in world.log.partitions[NAMES.invocations(shard.service), shard.partition]:
            key, token, partition = _addressed(shard.service, record)
            if partition(PARTITIONS) == shard.partition and token not in seen:
                seen.add(token)
                order[key].append(token)
    return order


def _addressed(service: str, record: Any) -> Any:
    if raw.is_raw(record.headers):
        found: Invocation = raw.parse_raw(
            service,
            record.key,
            record.value,
            record.headers,
            keyed=True,
            topic_id=TOPIC_ID,
            partition=0,
            offset=record.offset,
        )
    else:
        found = codec.decode_invocation(record.value)
    return found.key, unpack(found.payload)[0], InvocationId(found.id).partition


def _effects(world: World, expected: Expected) -> None:
    """K4: every step has acted."""
    for me in expected.effects:
        if not world.effects[me]:
            raise Violation("K4", f"the step {me} never acted")


def _nothing_left(world: World) -> None:
    """K5: no lock, timer, outbox entry or journal is left in the store, and only what was meant to is a dead letter."""
    for shard in SHARDS:
        for place in EMPTY_IN_THE_END:
            left = world.store.read(shard, ("HGETALL", place))
            if left:
                raise Violation("K5", f"{shard}: {place.decode()} still has {list(left)[:3]}")
        if world.store.read(shard, ("ZRANGE", keys.TIMERS, 0, -1)) or world.store.read(
            shard, ("ZRANGE", keys.DUE, 0, -1)
        ):
            raise Violation("K5", f"{shard}: timers are left")
        _no_journals(world, shard)
    for record in world.log.partitions[NAMES.dead_letters, 0]:
        letter: DeadLetter = codec.decode_dead_letter(record.value)
        if letter.topic == SUBSCRIPTION.topic:
            continue  # `feeding` has looked at them
        if letter.reason not in ("undeliverable", "stale-label"):
            raise Violation("K1", f"a dead letter: {letter.reason}: {letter.detail}")


def _no_journals(world: World, shard: Any) -> None:
    for suffix in world.store._shards.get(shard, {}):
        if suffix[:2] in (b"j:", b"sp"):
            raise Violation("K5", f"{shard}: {suffix!r} is left")
