"""Logging in handlers: what an earlier attempt has logged is not logged again by a replay."""

from __future__ import annotations

import logging

from barnabas.sdk.current import current


class RestateLoggingFilter(logging.Filter):
    """Lets a record pass unless the handler that logs it is repeating an earlier attempt."""

    def filter(self, record: logging.LogRecord) -> bool:
        attempted = current.get()
        return bool(super().filter(record)) and (attempted is None or not attempted.replaying)


def getLogger(name: str | None = None) -> logging.Logger:  # noqa: N802  # as in `logging`
    """`logging.getLogger(name)` with a `RestateLoggingFilter`, which it gets once."""
    logger = logging.getLogger(name)
    if not any(isinstance(one, RestateLoggingFilter) for one in logger.filters):
        logger.addFilter(RestateLoggingFilter())
    return logger
