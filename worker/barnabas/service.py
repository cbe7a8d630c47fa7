"""`Service`, under the module name that handlers written for Restate import it by."""

from barnabas.sdk.service import Service

__all__ = ["Service"]
