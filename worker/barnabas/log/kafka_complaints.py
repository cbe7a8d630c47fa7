"""What Kafka's clients complain about, said once and not with every attempt. Used by consumers and producers."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from confluent_kafka import KafkaError, KafkaException

logger = logging.getLogger("barnabas.log")
library_logger = logger.getChild("librdkafka")

# What librdkafka says with every attempt to connect comes as an error too; the experimental mark has a contract test.
_REPEATED = ("FAIL ", "ERROR ")
_KNOWN = "enable.gapless.guarantee is experimental"


def _is_news(line: logging.LogRecord) -> bool:
    text = line.getMessage()
    return not text.startswith(_REPEATED) and _KNOWN not in text


library_logger.addFilter(_is_news)


class Complaints:
    """Errors that librdkafka gets over by itself. Each is told once, until work goes on."""

    def __init__(self, who: str) -> None:
        self._who = who
        self._told: set[tuple[int, str | None]] = set()

    def __bool__(self) -> bool:
        return bool(self._told)

    def tell(self, error: KafkaError, topic: str | None = None) -> None:
        complaint = (error.code(), topic)
        if complaint not in self._told:
            self._told.add(complaint)
            about = f", topic {topic}" if topic else ""
            logger.error("Kafka %s%s: %s: %s", self._who, about, error.name(), error.str())

    def going_on(self, topics: Iterable[str] = ()) -> None:
        """Records get through again: complaints about `topics`, and about no topic in particular, are over."""
        through = set(topics)
        self._told = {(code, topic) for code, topic in self._told if topic is not None and topic not in through}
        logger.info("Kafka %s: going on", self._who)


def is_fatal(error: KafkaError) -> bool:
    """The instance of librdkafka is of no use any more. Some errors tell so by their code, others by the flag."""
    return error.fatal() or error.code() == KafkaError._FATAL


def without_value(error: KafkaException) -> str:
    """What librdkafka says of an option, without the option's value, which may be a secret in the wrong place."""
    return re.sub(r'Invalid value ".*" for', "Invalid value for", str(error.args[0].str()), flags=re.DOTALL)
