"""Outcomes that are kept for a short time only: a repeat that was written within it does not run again (R13). Part of
`checks.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from barnabas.contract import codec, raw
from barnabas.contract.ids import InvocationId, idempotent_id
from tests.simulator.faces import Violation
from tests.simulator.places import NAMES, PARTITIONS
from tests.simulator.programs import OBJECT

if TYPE_CHECKING:
    from tests.simulator.programs import Shared
    from tests.simulator.world import World


def check(world: World, shared: Shared, runs: int) -> None:
    """`runs`: how often it ran. Raises Violation unless each time but the first was asked for late enough."""
    assert shared.idempotency_key is not None
    id_ = idempotent_id(OBJECT, shared.handler, shared.key, shared.idempotency_key)
    asked = iter(_asked(world, id_))
    for expiry in world.store.expiries.get(id_, [])[: runs - 1]:
        if not any(at >= expiry for at in asked):
            raise Violation("R13", f"{shared.token} ran {runs} times, and nobody asked again after {expiry}")


def _asked(world: World, id_: InvocationId) -> list[int]:
    """When records that ask for it were written."""
    place = NAMES.invocations(OBJECT), id_.partition(PARTITIONS)
    records = [one for one in world.log.partitions[place] if not raw.is_raw(one.headers)]
    return [one.timestamp for one in records if codec.decode_invocation(one.value).id == id_]
