"""The combinators of the public API, under the module name that handlers written for Restate import them by."""

from barnabas.sdk.combinators import as_completed, gather, select, wait_completed

__all__ = ["as_completed", "gather", "select", "wait_completed"]
