"""`InvocationRetryPolicy`, under the module name that handlers written for Restate import it by."""

from barnabas.sdk.retry_policy import InvocationRetryPolicy

__all__ = ["InvocationRetryPolicy"]
