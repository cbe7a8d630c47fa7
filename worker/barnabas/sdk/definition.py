"""What services, virtual objects and workflows have in common: a name, settings, and handlers by name."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final, Literal, TypeVar, cast

from barnabas.sdk.handler import (
    ContextManagers,
    Handler,
    HandlerKind,
    HandlerSettings,
    ServiceTag,
    make_handler,
    marked,
)
from barnabas.sdk.retry_policy import InvocationRetryPolicy, resolve_invocation_policy
from barnabas.sdk.serde import Serde

T = TypeVar("T")

# Part of the names of two topics, `{namespace}.{name}.invocations`; Kafka allows 249 characters for the whole.
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,159}")


class ServiceDefinition:
    """A service and its handlers, filled by decorators while modules are imported."""

    def __init__(
        self,
        tag: ServiceTag,
        settings: HandlerSettings,
        invocation_retry_policy: InvocationRetryPolicy | None,
        invocation_context_managers: ContextManagers | None,
    ) -> None:
        if not isinstance(tag.name, str) or not _NAME.fullmatch(tag.name):
            raise ValueError(
                f"{tag.name!r} cannot be the name of a {tag.kind}: it becomes part of topic names, so use up to 160 "
                f"letters, digits, '_' and '-', starting with a letter or '_'"
            )
        resolve_invocation_policy(
            invocation_retry_policy
        )  # a policy that makes no sense is refused where it is written
        self.service_tag = tag
        self.handlers: dict[str, Handler[Any, Any]] = {}
        self.settings = settings
        self.invocation_retry_policy = invocation_retry_policy
        self.context_managers = invocation_context_managers

    @property
    def name(self) -> str:
        """The service's name, as callers and topics use it."""
        return self.service_tag.name

    @property
    def kind(self) -> Literal["object", "service", "workflow"]:
        """Which kind of service it is."""
        return self.service_tag.kind

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, handlers={sorted(self.handlers)})"

    def _define(
        self,
        fn: T,
        name: str | None,
        kind: HandlerKind | None,
        accept: str,
        content_type: str,
        input_serde: Serde[Any],
        output_serde: Serde[Any],
        settings: HandlerSettings,
        invocation_retry_policy: InvocationRetryPolicy | None,
        invocation_context_managers: ContextManagers | None,
    ) -> T:
        """Add a handler; returns what stands in its place in the user's module."""
        handler = make_handler(
            service_tag=self.service_tag,
            kind=kind,
            fn=cast(Any, fn),
            name=name,
            accept=accept,
            content_type=content_type,
            input_serde=input_serde,
            output_serde=output_serde,
            settings=_merged(settings, self.settings),
            retry_policy=resolve_invocation_policy(invocation_retry_policy, self.invocation_retry_policy),
            context_managers=[*(self.context_managers or ()), *(invocation_context_managers or ())],
        )
        if handler.name in self.handlers:
            raise ValueError(f"{self.name} has a handler {handler.name!r} already")
        self.handlers[handler.name] = handler
        return cast(T, marked(cast(Any, fn), handler))


def state_preload_of(state_preload: bool | list[str] | None, enable_lazy_state: bool | None) -> bool | list[str] | None:
    """The one setting that the two parameters stand for. Raises ValueError if both are given."""
    if enable_lazy_state is None:
        return state_preload
    if state_preload is not None:
        raise ValueError("enable_lazy_state is the older form of state_preload: give state_preload alone")
    return not enable_lazy_state


def _merged(handler: HandlerSettings, service: HandlerSettings) -> HandlerSettings:
    """The handler's settings, and the service's where the handler has none (a service's metadata stands in its tag)."""
    inherited = {
        f.name: getattr(service, f.name)
        for f in dataclasses.fields(HandlerSettings)
        if getattr(handler, f.name) is None
    }
    return dataclasses.replace(handler, **inherited)
