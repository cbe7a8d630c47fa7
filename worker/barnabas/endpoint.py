"""`app`, under the module name that handlers written for Restate import it by."""

from barnabas.sdk.app import app

__all__ = ["app"]
