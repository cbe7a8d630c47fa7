"""The settings of the Kafka adapters: what they refuse and what they never show."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from barnabas.log.settings import REFUSED_OPTIONS, KafkaSettings


def test_options_pass_through_to_every_client() -> None:
    settings = KafkaSettings(bootstrap="broker:9092", options={"security.protocol": "ssl", "compression.type": "lz4"})
    assert dict(settings.options) == {"security.protocol": "ssl", "compression.type": "lz4"}


@pytest.mark.parametrize("option", sorted(REFUSED_OPTIONS))
def test_an_option_that_breaks_a_promise_is_refused_with_its_reason(option: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        KafkaSettings(bootstrap="broker:9092", options={option: "x"})
    assert f"{option}: {REFUSED_OPTIONS[option]}" in str(refusal.value)


def test_secrets_are_never_shown() -> None:
    settings = KafkaSettings(bootstrap="broker:9092", options={"sasl.password": "hunter2"})
    assert "hunter2" not in repr(settings) + str(settings)
    with pytest.raises(ValidationError) as refusal:
        KafkaSettings(bootstrap="broker:9092", options={"sasl.password": "hunter2", "acks": 1})
    assert "hunter2" not in str(refusal.value) + repr(refusal.value)


def test_settings_cannot_be_changed() -> None:
    settings = KafkaSettings(bootstrap="broker:9092", options={"sasl.password": "hunter2"})
    with pytest.raises(ValidationError):
        settings.bootstrap = "other:9092"  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.options["acks"] = 1  # type: ignore[index]


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="bootstrap_servers"):
        KafkaSettings(bootstrap="broker:9092", bootstrap_servers="broker:9092")  # type: ignore[call-arg]
