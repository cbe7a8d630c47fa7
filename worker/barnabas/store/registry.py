"""How a registered service is written down, and when two registrations contradict each other. Used by the adapters."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from barnabas.store.port import RegistryConflict, Service


def encode(service: Service) -> bytes:
    """The service as JSON, without its name, which is the field it stands under."""
    fields = asdict(service)
    del fields["name"]
    return json.dumps(fields, sort_keys=True).encode()


def decode(name: str, text: bytes) -> Service:
    """The service that `encode` wrote. Fields that a newer version added are left out."""
    fields = json.loads(text)
    kind, partitions, group, handlers = (fields[part] for part in ("kind", "partitions", "group", "handlers"))
    return Service(name, kind, partitions, group, handlers, fields.get("about", {}))


def with_public(service: Service, public: bool | None) -> Service:
    """The service, all its handlers included, as somebody has set it since; None: as its workers registered it."""
    if public is None:
        return service
    handlers = {name: about | {"public": public} for name, about in service.about.get("handlers", {}).items()}
    return replace(service, about=service.about | {"public": public, "handlers": handlers})


def contradicts(standing: Service, wanted: Service) -> bool:
    """Whether `wanted` may not replace `standing`. `register.lua` decides the same."""
    return (standing.kind, standing.partitions, standing.group) != (wanted.kind, wanted.partitions, wanted.group)


def conflict(standing: Service, wanted: Service) -> RegistryConflict:
    """The error for people: what differs, and what to do."""
    differences = [
        f"{what} is {old!r} there and {new!r} here"
        for what, old, new in (
            ("kind", standing.kind, wanted.kind),
            ("partition count", standing.partitions, wanted.partitions),
            ("consumer group", standing.group, wanted.group),
        )
        if old != new
    ]
    return RegistryConflict(
        f"service {wanted.name} is registered otherwise in this namespace: {'; '.join(differences)}. "
        "Start this worker with the registered values, or give it a namespace or a service name of its own."
    )
