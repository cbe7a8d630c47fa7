"""`Service`: handlers without a key. Every invocation runs at once, beside all others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from barnabas.sdk.definition import ServiceDefinition
from barnabas.sdk.handler import JSON_TYPE, ContextManagers, HandlerSettings, ServiceTag
from barnabas.sdk.retry_policy import InvocationRetryPolicy
from barnabas.sdk.serde import DEFAULT_SERDE, Serde

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class Service(ServiceDefinition):
    """A service: handlers that any number of invocations run at the same time.

    `ingress_private` keeps it from callers outside; retentions say how long results and journals are kept; the
    timeouts guard against handlers that hang; `invocation_retry_policy` and `invocation_context_managers` hold for
    all its handlers.
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
        ingress_private: bool | None = None,
        invocation_retry_policy: InvocationRetryPolicy | None = None,
        invocation_context_managers: ContextManagers | None = None,
    ) -> None:
        settings = HandlerSettings(
            inactivity_timeout=inactivity_timeout,
            abort_timeout=abort_timeout,
            journal_retention=journal_retention,
            idempotency_retention=idempotency_retention,
            ingress_private=ingress_private,
        )
        tag = ServiceTag("service", name, description, metadata)
        super().__init__(tag, settings, invocation_retry_policy, invocation_context_managers)

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
            ingress_private=ingress_private,
        )
        return lambda fn: self._define(
            fn,
            name,
            None,
            accept,
            content_type,
            input_serde,
            output_serde,
            settings,
            invocation_retry_policy,
            invocation_context_managers,
        )
