"""confluent-kafka's mock registry behind HTTP, so that a process of ours can ask it as it would ask a real one."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

with warnings.catch_warnings(record=True):  # authlib warns of its own next version, whatever filters say
    from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.schema_registry.error import SchemaRegistryError
    from confluent_kafka.serialization import MessageField, SerializationContext


class MockRegistry:
    """`client` is what serializers take; `url` what `BARNABAS_REGISTRY` takes."""

    def __init__(self) -> None:
        self.client: Any = SchemaRegistryClient.new_client({"url": "mock://"})
        self.status: int | None = None  # what to answer instead
        self.answer: bytes | None = None
        self.asked: list[str] = []
        self.authorization: str | None = None
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def serializer(self, schema: dict[str, Any]) -> Any:
        """A function from a value of the topic to the bytes that a producer of Confluent's would write."""
        serialize = AvroSerializer(self.client, json.dumps(schema))
        return lambda value, topic="orders": serialize(value, SerializationContext(topic, MessageField.VALUE))

    def register(self, subject: str, schema: str, kind: str = "AVRO") -> int:
        id_: int = self.client.register_schema(subject, Schema(schema, kind))
        return id_

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(registry) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append(self.path)
                registry.authorization = self.headers.get("Authorization")
                status, body = registry._answer(urlsplit(self.path).path)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def _answer(self, path: str) -> tuple[int, bytes]:
        if self.status is not None or self.answer is not None:
            return self.status or 200, self.answer or b"{}"
        assert path.startswith("/schemas/ids/"), path
        try:
            schema = self.client.get_schema(int(path.removeprefix("/schemas/ids/")))
        except SchemaRegistryError as error:
            return error.http_status_code, json.dumps({"error_code": error.error_code}).encode()
        found = {"schema": schema.schema_str}
        if schema.schema_type != "AVRO":
            found["schemaType"] = schema.schema_type
        return 200, json.dumps(found).encode()


@contextmanager
def mock_registry() -> Iterator[MockRegistry]:
    registry = MockRegistry()
    try:
        yield registry
    finally:
        registry.close()
