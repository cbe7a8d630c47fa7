"""Finds the app that a command names: `module:attribute`, with the current folder importable. No servers involved."""

from __future__ import annotations

import importlib
import os
import sys

from barnabas.sdk.app import App


class AppNotFound(Exception):
    """There is no app under that name; the message says what is missing."""


def load_app(target: str) -> App:
    """The app at `module:attribute`. Raises AppNotFound; what the module's own code raises comes through."""
    module_name, colon, attribute = target.partition(":")
    if not colon or not module_name or not attribute:
        raise AppNotFound(f"'{target}' names no app: write module:attribute, as in examples.flights.app:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the app's module is there; what it imports is not
        raise AppNotFound(f"there is no module '{error.name}', looked for in {os.getcwd()} and sys.path") from error
    found: object = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise AppNotFound(f"'{module_name}' has no '{attribute}'{_hint(module_name, module)}")
        found = getattr(found, name)
    if not isinstance(found, App):
        raise AppNotFound(
            f"'{target}' is of type {type(found).__name__}, not an app: make one with barnabas.app([...])"
            f"{_hint(module_name, module)}"
        )
    return found


def _hint(module_name: str, module: object) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    return f"; did you mean {module_name}:{apps[0]}?" if apps else ""
