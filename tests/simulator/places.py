"""Where things are in a simulated installation: its services, their shards and topics, and a topic of others."""

from __future__ import annotations

from typing import Any

from barnabas.contract.topics import TopicNames
from barnabas.runtime.scheduling.scheduler import FAMILY
from barnabas.runtime.subscribing.source import family_of
from barnabas.scheduler.places import DelayPlaces
from barnabas.sdk.subscription import Subscription
from barnabas.store.port import Service, Shard
from barnabas.subscriptions.places import SubscribedPlaces
from barnabas.worker.places import Places, ServicePlaces
from tests.simulator import workload
from tests.simulator.programs import FLOW, KNOT, OBJECT, SERVICE

PARTITIONS = 2
NAMES = TopicNames("sim")
TOPIC_ID = b"0123456789abcdef"


def _kinds(definition: Any) -> dict[str, str]:
    return {one.name: one.kind or "service" for one in definition.handlers.values()}


SERVICES = {
    OBJECT: Service(OBJECT, "object", PARTITIONS, "sim.workers", _kinds(workload.obj)),
    SERVICE: Service(SERVICE, "service", PARTITIONS, "sim.workers", _kinds(workload.svc)),
    FLOW: Service(FLOW, "workflow", PARTITIONS, "sim.workers", _kinds(workload.flow)),
    KNOT: Service(KNOT, "object", PARTITIONS, "sim.workers", _kinds(workload.knot)),
}
HANDLERS = {
    OBJECT: workload.obj.handlers, SERVICE: workload.svc.handlers, FLOW: workload.flow.handlers,
    KNOT: workload.knot.handlers,
}  # fmt: skip
#: A topic of others; each of its records is for an object.
SUBSCRIPTION = Subscription("others", f"{OBJECT}/work", format="raw", name="sim")
#: The three groups, and the topics of their shards.
WORKER, SCHEDULER, FEEDER = "worker", "scheduler", "feeder"
PLACES: dict[str, Places] = {
    WORKER: ServicePlaces(NAMES), SCHEDULER: DelayPlaces(NAMES), FEEDER: SubscribedPlaces(SUBSCRIPTION),
}  # fmt: skip
SERVICE_SHARDS = [Shard(service, partition) for service in SERVICES for partition in range(PARTITIONS)]
DELAY_SHARDS = [Shard(FAMILY, partition) for partition in range(PARTITIONS)]
FEED_SHARDS = [Shard(family_of(SUBSCRIPTION), partition) for partition in range(PARTITIONS)]
SHARDS = SERVICE_SHARDS + DELAY_SHARDS + FEED_SHARDS
CLIENT = "client"
