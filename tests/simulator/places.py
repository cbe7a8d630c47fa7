"""Where things are in a simulated installation: its services, their shards and topics."""

from __future__ import annotations

from barnabas.contract.topics import TopicNames
from barnabas.store.port import Service, Shard
from tests.simulator import workload
from tests.simulator.workload import OBJECT, SERVICE

PARTITIONS = 2
NAMES = TopicNames("sim")
TOPIC_ID = b"0123456789abcdef"
SERVICES = {
    OBJECT: Service(OBJECT, "object", PARTITIONS, "sim.workers", {"work": "exclusive", "look": "shared"}),
    SERVICE: Service(SERVICE, "service", PARTITIONS, "sim.workers", {"serve": "service"}),
}
HANDLERS = {OBJECT: workload.obj.handlers, SERVICE: workload.svc.handlers}
SHARDS = [Shard(service, partition) for service in SERVICES for partition in range(PARTITIONS)]
CLIENT = "client"
