"""The world outside: clients that ask, ask again, attach, cancel, kill, and complete what was handed to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from barnabas.contract import codec, raw
from barnabas.contract.ids import InvocationId, child_id, idempotent_id, parse_awakeable_id, workflow_id
from barnabas.contract.records import Invocation, ReplyTo, Signal, SignalKind
from barnabas.log.port import OutRecord
from tests.simulator.places import CLIENT, NAMES, PARTITIONS
from tests.simulator.programs import FLOW, Root, pack

if TYPE_CHECKING:
    from tests.simulator.world import World

#: As if it were the client's: ids of delayed requests derive from it.
_NOBODY = bytes(24)
#: How often a client attaches to one request.
_ATTACHES = 2


def produce(world: World) -> bool:
    """A client writes its next request."""
    if not world.to_produce:
        return False
    write_request(world, world.to_produce.popleft())
    return True


def write_request(world: World, root: Root) -> None:
    root.produced += 1
    world.say(f"client: {root.name} = {root.token} -> {root.service}/{root.key or ''} {root.program[1]}")
    if root.raw:
        headers = [(raw.HANDLER, root.handler.encode())]
        record = OutRecord(
            NAMES.invocations(root.service), world.random.randrange(PARTITIONS),
            root.key.encode() if root.key else None, pack(root.program), headers,
        )  # fmt: skip
    else:
        record = _request(world, root)
    world.log.append(record, world.now)


def _request(world: World, root: Root) -> OutRecord:
    if root.delay is not None and root.due is None:
        root.due = world.now + root.delay
        if root.shared is None:
            world.earliest[root.token] = root.due
    id_ = id_of(root)
    key = None if root.shared is None else root.shared.idempotency_key
    invocation = Invocation(
        id_, root.service, root.handler, root.key, pack(root.program), reply_to=ReplyTo(CLIENT, root.name.encode()),
        idempotency_key=key, due=root.due,
    )  # fmt: skip
    directory = world.directory
    place = directory.delay_place(id_) if id_.delayed else directory.invocation_place(root.service, id_)
    return OutRecord(*place, b"", codec.encode_invocation(invocation), None)


def id_of(root: Root) -> InvocationId:
    """The id of a request that is no raw record."""
    if root.handler == "run":
        return workflow_id(root.service, root.key or "")
    if root.shared is not None:
        return idempotent_id(root.service, root.handler, root.key, root.shared.idempotency_key or "")
    if root.delay is not None:
        payload = pack(root.program)
        return child_id(_NOBODY, root.number, root.service, root.handler, root.key, payload, delayed=True)
    return idempotent_id(root.service, root.handler, root.key, root.name)


def _signal(world: World, service: str, signal: Signal) -> None:
    id_ = InvocationId(signal.invocation)
    place = world.directory.delay_place(id_) if id_.delayed else world.directory.signal_place(service, id_)
    assert place is not None
    world.log.append(OutRecord(*place, b"", codec.encode_signal(signal), None), world.now)


# -- events


def attach(world: World) -> bool:
    """A client attaches to a request that was written before."""
    roots = [root for root in world.roots if root.produced and not root.raw and root.attached < _ATTACHES]
    roots = [root for root in roots if root.handler != "look"]
    if not roots or world.random.random() > world.profile.attaches:
        return False
    root = world.random.choice(roots)
    root.attached += 1
    world.say(f"client: attaches to {root.name}")
    reply_to = ReplyTo(CLIENT, f"attach {root.name}".encode())
    _signal(world, root.service, Signal(SignalKind.ATTACH, id_of(root), reply_to=reply_to))
    return True


def end(world: World) -> bool:
    """A client cancels or kills a request of those that it may."""
    roots = [root for root in world.roots if root.produced and root.fate and not root.fulfilled]
    if not roots or world.random.random() > 0.3:
        return False
    _end(world, world.random.choice(roots))
    return True


def cancel(world: World, service: str, id_: InvocationId) -> None:
    """Somebody cancels what nobody was meant to."""
    world.say(f"somebody: cancels {id_}")
    _signal(world, service, Signal(SignalKind.CANCEL, id_))


def _end(world: World, root: Root) -> None:
    root.fulfilled += 1
    world.say(f"client: {root.fate}s {root.name}")
    kind = SignalKind.CANCEL if root.fate == "cancel" else SignalKind.KILL
    _signal(world, root.service, Signal(kind, id_of(root)))


def resolve(world: World) -> bool:
    """Somebody completes an awakeable whose id a step has shown."""
    if not world.revealed:
        return False
    me, id_ = world.revealed.popleft()
    world.say(f"client: completes the awakeable of {me}")
    invocation, position = parse_awakeable_id(id_)
    service = world.directory.service_of(invocation)
    assert service is not None
    for _ in range(world.random.choice((1, 1, 2))):
        value = f"outside/{world.count()}"
        world.resolved.setdefault(id_, []).append(value)
        _signal(world, service, Signal(SignalKind.RESOLVE, invocation, position, result=value.encode()))
    return True


def finish(world: World) -> None:
    """Everything that has to come from outside at last comes."""
    while produce(world):
        pass
    for root in world.roots:
        if root.fate and not root.fulfilled:
            _end(world, root)
    if any(
        root.handler == "run" or "submit" in repr(root.program) or "ask" in repr(root.program) for root in world.roots
    ):
        _complete_promise(world)


def _complete_promise(world: World) -> None:
    world.say("client: completes the workflow's promise")
    id_ = idempotent_id(FLOW, "tell", "f0", "outside")
    invocation = Invocation(id_, FLOW, "tell", "f0", pack(["outside", [["fulfil"]]]))
    place = world.directory.invocation_place(FLOW, id_)
    world.log.append(OutRecord(*place, b"", codec.encode_invocation(invocation), None), world.now)
