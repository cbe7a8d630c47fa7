"""`Workflow`: a main handler that runs once a key, and others beside it, which share its state and its promises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from barnabas.sdk.definition import ServiceDefinition, state_preload_of
from barnabas.sdk.handler import JSON_TYPE, ContextManagers, HandlerSettings, OnDeadlock, ServiceTag
from barnabas.sdk.retry_policy import InvocationRetryPolicy
from barnabas.sdk.serde import DEFAULT_SERDE, Serde

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class Workflow(ServiceDefinition):
    """A workflow: `main` runs once a key, its other handlers are shared. Parameters as those of `VirtualObject`.

    `workflow_retention` is how long result, state and promises are kept after `main` has ended (a day by default).
    """

    def __init__(
        self,
        name: str,
        description: str | None = None,
        metadata: dict[str, str] | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        idempotency_retention: timedelta | None = None,
        enable_lazy_state: bool | None = None,
        state_preload: bool | list[str] | None = None,
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
        *,
        workflow_retention: timedelta | None = None,
        on_deadlock: OnDeadlock | None = None,
    ) -> None:
        settings = HandlerSettings(
            inactivity_timeout=inactivity_timeout,
            abort_timeout=abort_timeout,
            journal_retention=journal_retention,
            idempotency_retention=idempotency_retention,
            state_preload=state_preload_of(state_preload, enable_lazy_state),
            ingress_private=ingress_private,
            workflow_retention=workflow_retention,
            on_deadlock=on_deadlock,
        )
        tag = ServiceTag("workflow", name, description, metadata)
        super().__init__(tag, settings, invocation_retry_policy, invocation_context_managers)

    def main(
        self,
        name: str | None = None,
        accept: str = JSON_TYPE,
        content_type: str = JSON_TYPE,
        input_serde: Serde[I] = DEFAULT_SERDE,
        output_serde: Serde[O] = DEFAULT_SERDE,
        metadata: dict[str, str] | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        workflow_retention: timedelta | None = None,
        enable_lazy_state: bool | None = None,
        state_preload: bool | list[str] | None = None,
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
    ) -> Callable[[T], T]:
        """Decorate a handler `async def f(ctx)` or `async def f(ctx, value)`. This one is the workflow itself.

        The name defaults to the function's. `accept` and `content_type` are media types for HTTP; serdes default to
        those of the annotations. Settings that are None are the service's. `invocation_context_managers` are
        entered around each attempt, after the service's. Raises TypeError or ValueError for a definition that
        cannot work.
        """
        if any(handler.kind == "workflow" for handler in self.handlers.values()):
            raise ValueError(f"workflow {self.name} has a main handler already")
        settings = HandlerSettings(
            metadata=metadata,
            inactivity_timeout=inactivity_timeout,
            abort_timeout=abort_timeout,
            journal_retention=journal_retention,
            workflow_retention=workflow_retention,
            state_preload=state_preload_of(state_preload, enable_lazy_state),
            ingress_private=ingress_private,
        )
        return lambda fn: self._define(
            fn,
            name,
            "workflow",
            accept,
            content_type,
            input_serde,
            output_serde,
            settings,
            invocation_retry_policy,
            invocation_context_managers,
        )

    def handler(
        self,
        name: str | None = None,
        accept: str = JSON_TYPE,
        content_type: str = JSON_TYPE,
        input_serde: Serde[I] = DEFAULT_SERDE,
        output_serde: Serde[O] = DEFAULT_SERDE,
        metadata: dict[str, str] | None = None,
        inactivity_timeout: timedelta | None = None,
        abort_timeout: timedelta | None = None,
        journal_retention: timedelta | None = None,
        idempotency_retention: timedelta | None = None,
        enable_lazy_state: bool | None = None,
        state_preload: bool | list[str] | None = None,
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
    ) -> Callable[[T], T]:
        """Decorate a handler `async def f(ctx)` or `async def f(ctx, value)`.

        The name defaults to the function's. `accept` and `content_type` are media types for HTTP; serdes default to
        those of the annotations. Settings that are None are the service's. `invocation_context_managers` are
        entered around each attempt, after the service's. Raises TypeError or ValueError for a definition that
        cannot work.
        """
        settings = HandlerSettings(
            metadata=metadata,
            inactivity_timeout=inactivity_timeout,
            abort_timeout=abort_timeout,
            journal_retention=journal_retention,
            idempotency_retention=idempotency_retention,
            state_preload=state_preload_of(state_preload, enable_lazy_state),
            ingress_private=ingress_private,
        )
        return lambda fn: self._define(
            fn,
            name,
            "shared",
            accept,
            content_type,
            input_serde,
            output_serde,
            settings,
            invocation_retry_policy,
            invocation_context_managers,
        )
