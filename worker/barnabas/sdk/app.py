"""`app`: what a worker is given to run. Found by the CLI as `module:app`; opens nothing by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from barnabas.sdk.definition import ServiceDefinition
from barnabas.sdk.object import VirtualObject
from barnabas.sdk.service import Service
from barnabas.sdk.subscription import Subscription
from barnabas.sdk.workflow import Workflow

_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_-]{1,60}")
_GROUP: Final = re.compile(r"[A-Za-z0-9._-]{1,200}")


@dataclass(frozen=True, slots=True)
class App:
    """Services by name, and where they run. None: what the settings of the process say."""

    services: dict[str, ServiceDefinition]
    namespace: str | None = None  # prefix of every topic and store key
    group: str | None = None  # consumer group of the workers
    subscriptions: tuple[Subscription, ...] = ()  # their names differ

    def __post_init__(self) -> None:
        if self.namespace is not None and not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(f"namespace {self.namespace!r} must be up to 60 letters, digits, '_' and '-' (no dot)")
        if self.group is not None and not _GROUP.fullmatch(self.group):
            raise ValueError(f"group {self.group!r} must be up to 200 letters, digits, '_', '.' and '-'")


def app(
    services: Iterable[Service | VirtualObject | Workflow],
    protocol: Literal["bidi", "request_response"] | None = None,
    identity_keys: list[str] | None = None,
    journal_value_codec: None = None,
    *,
    namespace: str | None = None,
    group: str | None = None,
    subscriptions: Iterable[Subscription] = (),
) -> App:
    """The application of these services, with the topics whose records become invocations.

    `protocol`, `identity_keys` and `journal_value_codec` exist in Restate's SDK only and must stay None. Raises
    ValueError for a definition that cannot run.
    """
    for name, value in (
        ("protocol", protocol),
        ("identity_keys", identity_keys),
        ("journal_value_codec", journal_value_codec),
    ):
        if value:
            raise ValueError(f"{name} is about Restate's server, and Barnabas has none: leave it out")
    found: dict[str, ServiceDefinition] = {}
    for service in services:
        _check(service)
        if service.name in found:
            raise ValueError(f"two services are named {service.name!r}")
        found[service.name] = service
    if not found:
        raise ValueError("an app needs at least one service: barnabas.app([greeter])")
    return App(found, namespace, group, checked_subscriptions(subscriptions))


def checked_subscriptions(subscriptions: Iterable[Subscription]) -> tuple[Subscription, ...]:
    """All of them. Raises ValueError for what is none, and where two have one name."""
    found: dict[str, Subscription] = {}
    for one in subscriptions:
        if not isinstance(one, Subscription):
            raise ValueError(f"{one!r} is no Subscription")
        if one.name in found:
            raise ValueError(
                f"two subscriptions are named {one.name!r}, and each keeps its place under its name: give one name=..."
            )
        found[one.name] = one
    return tuple(found.values())


def _check(service: object) -> None:
    if not isinstance(service, ServiceDefinition):
        raise ValueError(f"{service!r} is no Service, VirtualObject or Workflow")
    if not service.handlers:
        raise ValueError(f"{service.name} has no handler: import the module that decorates them before making the app")
    if isinstance(service, Workflow) and not any(one.kind == "workflow" for one in service.handlers.values()):
        raise ValueError(f"workflow {service.name} has no main handler: decorate the one that runs once with `.main()`")
