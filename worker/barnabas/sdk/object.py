"""`VirtualObject`: handlers of a key, with the state of that key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, TypeVar

from barnabas.sdk.definition import ServiceDefinition, state_preload_of
from barnabas.sdk.handler import JSON_TYPE, ContextManagers, HandlerSettings, OnDeadlock, ServiceTag
from barnabas.sdk.retry_policy import InvocationRetryPolicy
from barnabas.sdk.serde import DEFAULT_SERDE, Serde

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


class VirtualObject(ServiceDefinition):
    """A virtual object: each key has state, and its exclusive handlers run one at a time, in order of arrival.

    Parameters as those of `Service`. `state_preload` says which state is read before a handler starts (True: all,
    False: none, or names); `enable_lazy_state` is its older form. A call to an exclusive handler that would wait for
    itself, over any number of keys, waits until somebody cancels it; with `on_deadlock="fail"` it fails at once.
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
        on_deadlock: OnDeadlock | None = None,
    ) -> None:
        settings = HandlerSettings(
            inactivity_timeout=inactivity_timeout,
            abort_timeout=abort_timeout,
            journal_retention=journal_retention,
            idempotency_retention=idempotency_retention,
            state_preload=state_preload_of(state_preload, enable_lazy_state),
            ingress_private=ingress_private,
            on_deadlock=on_deadlock,
        )
        tag = ServiceTag("object", name, description, metadata)
        super().__init__(tag, settings, invocation_retry_policy, invocation_context_managers)

    def handler(
        self,
        name: str | None = None,
        kind: Literal["exclusive", "shared"] | None = "exclusive",
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

        `kind` "exclusive" writes state and waits for its turn; "shared" reads state and runs beside the others.

        The name defaults to the function's. `accept` and `content_type` are media types for HTTP; serdes default to
        those of the annotations. Settings that are None are the service's. `invocation_context_managers` are
        entered around each attempt, after the service's. Raises TypeError or ValueError for a definition that
        cannot work.
        """
        if kind not in ("exclusive", "shared", None):
            raise ValueError(f"the kind of a handler is 'exclusive' or 'shared', not {kind!r}")
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
            kind or "exclusive",
            accept,
            content_type,
            input_serde,
            output_serde,
            settings,
            invocation_retry_policy,
            invocation_context_managers,
        )
