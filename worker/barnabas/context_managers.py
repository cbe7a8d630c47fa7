"""`contextvar`, under the module name that handlers written for Restate import it by."""

from barnabas.sdk.current import contextvar

__all__ = ["contextvar"]
