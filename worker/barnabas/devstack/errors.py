"""What can go wrong with the dev stack, sorted by what the person in front of it does next."""

from __future__ import annotations


class DevstackError(Exception):
    """The broker or the store cannot be had here; the message says what is missing and how to get it."""


class JarMismatchError(DevstackError):
    """A downloaded jar is not the one that the committed lock names."""


class ServerDiedError(DevstackError):
    """A server was started and ended, or did not become ready in time; the message ends with its log's last lines."""


class ServerUnreachableError(DevstackError):
    """A broker or store that should be there does not answer at its address."""
