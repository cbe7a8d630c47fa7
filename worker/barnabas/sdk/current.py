"""Which invocation the running code belongs to, by a context variable that the runtime sets for each attempt.

For log filters and libraries; handlers are given their context.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar, cast

from barnabas.sdk.context import Context

P = ParamSpec("P")
T = TypeVar("T")


class Attempted(Protocol):
    """What is known of an attempt under way; in truth it is the handler's context."""

    @property
    def replaying(self) -> bool:
        """Whether it repeats what an earlier attempt did."""


current: Final[ContextVar[Attempted | None]] = ContextVar("barnabas_current", default=None)


def current_context() -> Context | None:
    """The context of the handler that the running code belongs to; None outside of handlers."""
    return cast("Context | None", current.get())


class contextvar(Generic[P, T]):  # noqa: N801  # the name in Restate's SDK
    """Decorates an asynccontextmanager function so that what it yields is found as its `value` while it is entered.

    For `invocation_context_managers`, whose yielded values go nowhere.
    """

    def __init__(self, func: Callable[P, AbstractAsyncContextManager[T]]) -> None:
        self.func = func
        self._value: ContextVar[T] = ContextVar(getattr(func, "__name__", "value"))

    @property
    def value(self) -> T:
        """What was yielded. Raises LookupError outside of the context manager."""
        try:
            return self._value.get()
        except LookupError:
            raise LookupError("this context manager has not been entered, or was left already") from None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[None]:
        return self._entered(*args, **kwargs)

    @asynccontextmanager
    async def _entered(self, *args: Any, **kwargs: Any) -> AsyncIterator[None]:
        async with self.func(*args, **kwargs) as value:
            token = self._value.set(value)
            try:
                yield
            finally:
                self._value.reset(token)
