"""What this process knows of all services of the namespace: where they live and which handlers they have.

Read from the store's registry at start and now and then (`worker` refreshes it). The engine asks it where a message
goes.
"""

from __future__ import annotations

from collections.abc import Mapping

from barnabas.contract.ids import InvocationId
from barnabas.contract.partitioning import partition_hash, partition_of
from barnabas.contract.topics import TopicNames
from barnabas.store.port import Service


class UnknownTarget(LookupError):
    """No worker has registered this service or handler (yet)."""


class Directory:
    """Services by name, and the partition counts of the shared topics."""

    def __init__(
        self,
        names: TopicNames,
        services: Mapping[str, Service],
        reply_partitions: int,
        dead_letter_partitions: int,
        delay_partitions: int = 1,
    ) -> None:
        self.names = names
        self.services = dict(services)
        self._reply_partitions = reply_partitions
        self._dead_letter_partitions = dead_letter_partitions
        self._delay_partitions = delay_partitions

    def check(self, service: str, handler: str, keyed: bool) -> str:
        """The kind of this handler: "exclusive", "shared", "workflow" or "service".

        Raises UnknownTarget unless somebody serves it, with a key exactly if it wants one.
        """
        known = self.services.get(service)
        if known is None:
            raise UnknownTarget(f"no service '{service}' is registered; start a worker that serves it")
        if handler not in known.handlers:
            have = ", ".join(sorted(known.handlers))
            raise UnknownTarget(f"'{service}' has no handler '{handler}' (it has: {have}); deploy one that does")
        if keyed != (known.kind != "service"):
            what = "is a service and takes no key" if keyed else f"is a {known.kind} and needs a key"
            raise UnknownTarget(f"'{service}' {what}")
        return known.handlers[handler]

    def service_of(self, id_: bytes) -> str | None:
        """Whose invocation this is; None where no registered service's name fits the id."""
        invocation = InvocationId(id_)
        return next((name for name in self.services if invocation.of_service(name)), None)

    def delay_place(self, id_: bytes) -> tuple[str, int]:
        """Topic and partition of an invocation that waits for its due time, and of signals about it (R8)."""
        return self.names.delays, InvocationId(id_).partition(self._delay_partitions)

    def invocation_place(self, service: str, id_: bytes) -> tuple[str, int]:
        """Topic and partition of an invocation's record."""
        return self.names.invocations(service), InvocationId(id_).partition(self.services[service].partitions)

    def signal_place(self, service: str, id_: bytes) -> tuple[str, int] | None:
        """Topic and partition of a signal about an invocation; None where nobody knows its service."""
        known = self.services.get(service)
        if known is None:
            return None
        return self.names.signals(service), InvocationId(id_).partition(known.partitions)

    def reply_place(self, client: str) -> tuple[str, int]:
        """Topic and partition of a client's replies."""
        return self.names.replies, partition_of(partition_hash(client.encode()), self._reply_partitions)

    def dead_letter_place(self, key: bytes | None) -> tuple[str, int]:
        """Topic and partition of a dead letter."""
        hashed = partition_hash(key) if key else 0
        return self.names.dead_letters, partition_of(hashed, self._dead_letter_partitions)
