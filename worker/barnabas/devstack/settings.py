"""The one table of broker and store settings, for the dev stack's servers and for those of `docker-compose.yml`.

The dev stack writes it into its files; tests/unit/test_compose.py compares the compose file with it. No I/O here.
"""

from __future__ import annotations

from collections.abc import Mapping

KAFKA_VERSION = "4.4.0"
SCALA_VERSION = "2.13"
KAFKA_IMAGE = f"apache/kafka:{KAFKA_VERSION}"

VALKEY_VERSION = "9.1"
VALKEY_IMAGE = f"valkey/valkey:{VALKEY_VERSION}"

#: How a broker for one machine behaves, wherever it runs. One node, so every replication factor is 1.
BROKER_SETTINGS: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,HOST:PLAINTEXT,CONTROLLER:PLAINTEXT",
    # Topics come from `barnabas topics apply`, with their partition counts; a typing error must not make one.
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "false",
    "num.partitions": "8",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "8",
    # A killed broker may register again only when its former session is over, and tries once a heartbeat:
    # with the default 9 s and 2 s a restart after SIGKILL takes 13 s, with these 4-5 s.
    "broker.session.timeout.ms": "1500",
    "broker.heartbeat.interval.ms": "250",
    # A group of one machine need not wait for more members, and tests need short sessions.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    # KIP-848 members are given up as fast as classic ones (PITFALLS 20b).
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "log.message.timestamp.type": "LogAppendTime",
    "log.retention.hours": "168",
    # Fewer threads than a server's defaults: two cores are shared by everything.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "num.recovery.threads.per.data.dir": "2",
    "log.cleaner.dedupe.buffer.size": "16777216",
}

#: Where `docker-compose.yml` publishes the two servers, on the loopback interface.
COMPOSE_KAFKA = "127.0.0.1:9092"
COMPOSE_REDIS = "redis://127.0.0.1:6379/0"
#: What to do where a server cannot be had as a local process; ends a message.
COMPOSE_WAY = (
    f"docker compose up -d kafka valkey, then export BARNABAS_KAFKA={COMPOSE_KAFKA} BARNABAS_REDIS={COMPOSE_REDIS}"
)

#: Heap, collector and start-up of the broker's Java.
JAVA_OPTIONS: tuple[str, ...] = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC")

#: What a store must do to lose nothing: every commit is on disk before it is answered, nothing is ever evicted.
STORE_SETTINGS: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
    "maxmemory-policy": "noeviction",
    "save": "",
}


def broker_environment() -> dict[str, str]:
    """`BROKER_SETTINGS` as the variables that the broker's container image reads."""
    return {f"KAFKA_{name.replace('.', '_').upper()}": value for name, value in BROKER_SETTINGS.items()}


def store_arguments() -> list[str]:
    """`STORE_SETTINGS` as the arguments of a store's command line."""
    return [part for name, value in STORE_SETTINGS.items() for part in (f"--{name}", value)]
