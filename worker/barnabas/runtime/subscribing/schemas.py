"""The schemas that values name by the ids of a registry: those that are known, and those that there are not.

Filled by the loader of the subscriptions, read by `formats`. One for all shards of a subscription.
"""

from __future__ import annotations

from typing import Any, Final

from barnabas.contract.errors import UNKNOWN_SCHEMA, PoisonRecord
from barnabas.sdk.avro import AvroSerde

#: Refused ids that are remembered: anyone who may write the topic can make up new ones.
MOST_REFUSED: Final = 10_000


class Schemas:
    """Schemas by id."""

    def __init__(self) -> None:
        self._known: dict[int, AvroSerde[Any]] = {}
        self._refused: dict[int, str] = {}

    def __contains__(self, id_: int) -> bool:
        return id_ in self._known or id_ in self._refused

    def get(self, id_: int) -> AvroSerde[Any]:
        """Raises PoisonRecord for one that can read nothing."""
        serde = self._known.get(id_)
        if serde is None:
            raise PoisonRecord(UNKNOWN_SCHEMA, self._refused.get(id_, f"the schema {id_} is not known"))
        return serde

    def add(self, id_: int, schema: str) -> None:
        """Take the schema's text, as the registry has it. Raises ValueError for what `AvroSerde` refuses."""
        self._known[id_] = AvroSerde(schema)

    def refuse(self, id_: int, why: str) -> None:
        """Nothing can be read with this id."""
        if len(self._refused) >= MOST_REFUSED:
            del self._refused[next(iter(self._refused))]
        self._refused[id_] = why

    def ask_again(self, id_: int) -> None:
        """Forget that the id was refused: somebody may have registered it since."""
        self._refused.pop(id_, None)
