"""For libraries beside handlers: the context of the running invocation. Names and module are those of Restate's SDK."""

from barnabas.sdk.current import contextvar, current_context

__all__ = ["contextvar", "current_context"]
