"""Logging in handlers: a replay repeats no log lines. Names and module are those of Restate's SDK."""

from barnabas.sdk.logs import RestateLoggingFilter, getLogger

__all__ = ["RestateLoggingFilter", "getLogger"]
