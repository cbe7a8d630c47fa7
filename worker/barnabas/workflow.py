"""`Workflow`, under the module name that handlers written for Restate import it by."""

from barnabas.sdk.workflow import Workflow

__all__ = ["Workflow"]
