"""What may be passed where a context or a client wants a handler. Imported by `context`, `handler` and the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741

#: A decorated handler, or a method of a caller's own definition (`protocols`), whose `self` takes the context's place
#: or stands before it.
HandlerType = Callable[[Any, I], Awaitable[O]] | Callable[[Any], Awaitable[O]] | Callable[[Any, Any, I], Awaitable[O]]
