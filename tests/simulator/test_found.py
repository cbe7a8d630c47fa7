"""Traces that the simulator found once and finds too seldom to rely on, told step by step."""

from __future__ import annotations

from barnabas.contract import codec
from barnabas.contract.ids import InvocationId, idempotent_id
from barnabas.contract.records import Invocation
from barnabas.log.port import Record
from barnabas.runtime import effects as fx
from barnabas.runtime.intake import Intake
from barnabas.runtime.recovery import QUESTIONS
from barnabas.runtime.tenure import State, Tenure
from barnabas.store.memory import MemoryCore
from barnabas.store.port import Shard, StoreUnavailable, Taken
from tests.simulator.places import PARTITIONS
from tests.simulator.profiles import PROFILES
from tests.simulator.programs import SERVICE, pack
from tests.simulator.workload import scene
from tests.simulator.world import World

NOW = 1_000


def with_an_unanswered_commit() -> Tenure:
    """A tenure whose first commit got no reply, and that asks for the shard again."""
    id_ = idempotent_id(SERVICE, "serve", None, "one")
    shard = Shard(SERVICE, InvocationId(id_).partition(PARTITIONS))
    world = scene.world = World(1, PROFILES["calm"])
    tenure = world.make_tenure(shard)
    core = MemoryCore()
    tenure.drain()
    tenure.on_taken(tenure.lease, core.take(shard, tenure.lease, "w"), NOW)
    tenure.on_loaded(tenure.lease, [core.read(shard, question) for question in QUESTIONS], NOW)
    invocation = Invocation(id_, SERVICE, "serve", None, pack(["one", [["sleep", 100]]]))
    assert isinstance(tenure.intake, Intake)
    tenure.intake.on_invocations(tenure.intake.read([Record(0, NOW, b"", codec.encode_invocation(invocation), None)]))
    tenure.gather(NOW)
    [sent] = [effect for effect in tenure.drain() if isinstance(effect, fx.SendCommit)]
    assert sent.commit.number == 1
    tenure.on_commit(sent.commit, StoreUnavailable("no answer"), NOW)
    tenure.on_tick(NOW + 10_000)
    assert tenure.state is State.TAKING
    return tenure


def test_a_number_that_another_owner_has_committed_is_not_taken_for_ours() -> None:
    """F57, F58: another owner took the shard meanwhile and made its own first commit; ours was refused, unheard."""
    tenure = with_an_unanswered_commit()
    tenure.on_taken(tenure.lease, Taken(number=1, takes=3), NOW + 10_001)
    assert tenure.state is State.LOADING


def test_a_number_is_ours_where_nobody_has_held_the_shard_in_between() -> None:
    """F57: the commit was applied, its reply was lost."""
    tenure = with_an_unanswered_commit()
    tenure.on_taken(tenure.lease, Taken(number=1, takes=2), NOW + 10_001)
    assert tenure.state is State.ACTIVE
    assert not any(isinstance(effect, fx.SendCommit) for effect in tenure.drain())
