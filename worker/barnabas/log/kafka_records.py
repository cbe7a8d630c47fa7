"""librdkafka's messages as records of the port. Used by the consumers' thread and by the reader."""

from __future__ import annotations

import logging
from operator import methodcaller
from typing import Final

from confluent_kafka import Message

from barnabas.log.port import Record

logger = logging.getLogger("barnabas.log")

#: Calls `message.headers()` from C, which looks whether an error was left behind: `headers` gives a broken list then,
#: and leaves its error set. An interpreter that has run a call often does not look, and the next call has the error.
_headers: Final = methodcaller("headers")
#: Topics in which headers could not be read, of which it was said: anyone who may write one could fill the log.
_said: Final[set[str]] = set()


def record_of(message: Message) -> Record:
    """A message that is no error.

    confluent-kafka cannot give the headers of a message if the name of one of them is not UTF-8, and Kafka takes any
    bytes. Such a record counts as one without headers: it must not end the process that happens to read it.
    """
    try:
        headers = _headers(message)
    except (SystemError, UnicodeDecodeError):
        headers = None
        topic = str(message.topic())
        if topic not in _said:
            _said.add(topic)
            logger.warning(
                "%s[%s]: the record at %s has a header whose name is not UTF-8, so none of its headers are read; "
                "others of this topic will not be told of",
                topic,
                message.partition(),
                message.offset(),
            )
    return Record(message.offset(), message.timestamp()[1], message.key(), message.value(), headers)  # type: ignore[arg-type]
