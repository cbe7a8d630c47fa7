"""Asks a schema registry (Confluent's interface, which Karapace and Apicurio speak too) for schemas by id.

The standard library is enough for one GET a schema; confluent-kafka's own client would bring five packages along. TLS
follows OpenSSL's variables (`SSL_CERT_FILE`). Called by the loader of the subscriptions.
"""

from __future__ import annotations

import asyncio
import base64
import json
from http.client import HTTPException
from typing import Final
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

_LONGEST_ANSWER: Final = 4 << 20  # bytes
_ACCEPT: Final = "application/vnd.schemaregistry.v1+json, application/json"


class SchemaNotUsable(Exception):
    """There is no schema with this id, or it is none of Avro; asking again does not help."""


class RegistryUnavailable(Exception):
    """The registry gave no answer, or none that can be used: try again later."""


class SchemaRegistry:
    """The registry at an http or https URL, which may hold user and password. Raises ValueError for another one."""

    def __init__(self, url: str, timeout_seconds: float = 5.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("BARNABAS_REGISTRY must be a URL, http://host:port or https://user:password@host")
        place = parts.netloc.rpartition("@")[2]
        self._url = urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))
        self._timeout = timeout_seconds
        self._headers = {"Accept": _ACCEPT}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"

    def __repr__(self) -> str:
        return f"SchemaRegistry({self._url!r})"

    async def schema(self, id_: int) -> str:
        """The text of an Avro schema, with what it refers to. Raises SchemaNotUsable or RegistryUnavailable."""
        return await asyncio.to_thread(self._schema, id_)

    def _schema(self, id_: int) -> str:
        answer = self._get(id_)
        kind = answer.get("schemaType", "AVRO")
        if kind != "AVRO":
            raise SchemaNotUsable(f"the schema {id_} is of type {kind!a}, and this subscription reads Avro")
        schema = answer.get("schema")
        if not isinstance(schema, str):
            raise RegistryUnavailable(f"{self._url} gave no schema in its answer for the id {id_}")
        return schema

    def _get(self, id_: int) -> dict[str, object]:
        # "resolved": with the schemas that it refers to inside, where the registry can do that.
        request = Request(f"{self._url}/schemas/ids/{id_}?format=resolved", headers=self._headers)
        try:
            with urlopen(request, timeout=self._timeout) as response:
                found = json.loads(response.read(_LONGEST_ANSWER))
        except HTTPError as error:
            error.close()
            if error.code == 404:
                raise SchemaNotUsable(f"the registry has no schema with the id {id_}") from None
            raise RegistryUnavailable(f"{self._url} answered {error.code} for the schema {id_}") from None
        except (URLError, OSError, HTTPException, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise RegistryUnavailable(f"{self._url} cannot be asked for the schema {id_}: {reason}") from None
        if not isinstance(found, dict):
            raise RegistryUnavailable(f"{self._url} gave no object for the schema {id_}")
        return found
