"""`VirtualObject`, under the module name that handlers written for Restate import it by."""

from barnabas.sdk.object import VirtualObject

__all__ = ["VirtualObject"]
