"""The errors of the public API, under the module name that handlers written for Restate import them by."""

from barnabas.sdk.errors import (
    NonDeterminismError,
    NotYetSupported,
    RetryableError,
    SdkInternalBaseException,
    SdkInternalException,
    SuspendedException,
    TerminalError,
    is_internal_exception,
)

__all__ = [
    "NonDeterminismError",
    "NotYetSupported",
    "RetryableError",
    "SdkInternalBaseException",
    "SdkInternalException",
    "SuspendedException",
    "TerminalError",
    "is_internal_exception",
]
