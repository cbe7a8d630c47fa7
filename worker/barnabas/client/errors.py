"""What a client raises besides the results of handlers, sorted by what its caller can do.

TerminalError                 the request itself cannot work; asking again changes nothing
├── InvalidId                 (400) the text is no id; a ValueError too
├── UnknownNamespace          (404) the namespace is not set up on this cluster
├── UnknownService            (404) the service has no topics in this namespace: misspelt, or not deployed yet
├── UnknownInvocation         (404) no service of the namespace can have this invocation
└── RequestTooLarge           (413) Kafka will not take a record of this size
ConnectionError
└── KafkaUnreachable          nobody answers; nothing is known about what was on its way
RuntimeError
└── ClientClosed              the client was closed, or never opened; a call in flight goes on without it
"""

from __future__ import annotations

from barnabas.sdk.errors import TerminalError


class UnknownNamespace(TerminalError):
    """The topic for replies is not there, so no worker can be."""

    def __init__(self, topic: str, namespace: str) -> None:
        super().__init__(
            f"the namespace '{namespace}' is not set up on this Kafka cluster: the topic {topic} does not exist. "
            f"Check BARNABAS_KAFKA and BARNABAS_NAMESPACE, or create the topics: barnabas topics apply APP",
            status_code=404,
        )


class UnknownService(TerminalError):
    """The service has no topics in this namespace."""

    def __init__(self, topic: str, service: str) -> None:
        super().__init__(
            f"there is no service '{service}': the topic {topic} does not exist. "
            f"Check the name and the namespace, or create its topics: barnabas topics apply APP",
            status_code=404,
        )


class InvalidId(TerminalError, ValueError):
    """The text is no id of an invocation or an awakeable."""

    def __init__(self, message: str) -> None:
        super().__init__(message, status_code=400)


class UnknownInvocation(TerminalError):
    """No service of the namespace can have this invocation."""

    def __init__(self, invocation_id: str, namespace: str) -> None:
        super().__init__(
            f"there is no invocation {invocation_id}: no service of the namespace '{namespace}' has ids like this. "
            f"Check the id and the namespace",
            status_code=404,
        )


class RequestTooLarge(TerminalError):
    """Kafka will not take a record of this size."""

    def __init__(self, topic: str, size: int) -> None:
        super().__init__(
            f"the request is too large for Kafka: {size} bytes of payload for {topic}, whose records may have "
            f"about a megabyte. Put the content elsewhere and send a reference to it",
            status_code=413,
        )


class KafkaUnreachable(ConnectionError):
    """No broker answers, or none that will do what was asked."""


class ClientClosed(RuntimeError):
    """The client was closed, or never opened."""
