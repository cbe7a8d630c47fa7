"""From flags, the app and `BARNABAS_...` variables to settings, and from an error to a sentence and an exit code.

What the app itself says about its namespace and group holds; a flag that says otherwise is refused. A flag wins over a
variable, a variable over the default.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final, NoReturn, TypeVar

import typer
from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from barnabas.cli.loading import AppNotFound, load_app
from barnabas.cli.printing import plain_text
from barnabas.log.settings import KafkaOptions, KafkaSettings
from barnabas.sdk.app import App
from barnabas.worker.settings import Settings

S = TypeVar("S", bound=BaseSettings)

FAILED: Final = 1
CANNOT_START: Final = 2
DEFAULT_NAMESPACE: Final = "barnabas"

AppArgument = Annotated[str, typer.Argument(metavar="APP", help="The app, as module:attribute.")]
KafkaOption = Annotated[
    str | None, typer.Option("--kafka", envvar="BARNABAS_KAFKA", help="Bootstrap servers, host:port,...")
]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", help="Prefix of topics and store keys. Else BARNABAS_NAMESPACE.")
]
RedisOption = Annotated[
    str | None, typer.Option("--redis", envvar="BARNABAS_REDIS", help="URL of the store.", show_envvar=True)
]
ProcessesOption = Annotated[int, typer.Option("--processes", min=1, help="How many members to run.")]
InstanceOption = Annotated[str | None, typer.Option("--instance-id", help="Static member id.")]
DrainOption = Annotated[
    float | None, typer.Option("--drain-seconds", min=0, help="How long SIGTERM waits for running attempts.")
]
LogLevelOption = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
HealthPortOption = Annotated[
    int | None,
    typer.Option(
        "--health-port", min=0, max=65_535, help="Answer GET /live and /ready there. Else BARNABAS_HEALTH_PORT."
    ),
]
SupervisedOption = Annotated[bool, typer.Option("--supervised", hidden=True)]


def app_named(target: str) -> App:
    """The app, or the end of the process with code 2."""
    try:
        return load_app(target)
    except AppNotFound as error:
        refuse(str(error))
    except Exception:  # the app's own code: whatever it is, its author wants to see where
        traceback.print_exc()
        refuse(f"'{target}' cannot be imported, see above")


def refuse(message: str, code: int = CANNOT_START) -> NoReturn:
    """End the command with a sentence on stderr."""
    typer.echo(plain_text(f"barnabas: {message}"), err=True)
    raise typer.Exit(code)


def namespace_of(flag: str | None, app: App | None = None) -> str:
    """Which installation is meant. Ends the process where the flag contradicts the app."""
    if app is not None and app.namespace is not None:
        _same("namespace", flag, app.namespace)
        return app.namespace
    return flag or os.environ.get("BARNABAS_NAMESPACE") or DEFAULT_NAMESPACE


def bootstrap_of(flag: str | None) -> str:
    """Where Kafka is, or the end of the process."""
    if not flag:
        refuse("where is Kafka? Set BARNABAS_KAFKA=host:port, or start a broker with: barnabas stack up")
    return flag


def settings_of(app: App | None, namespace: str | None, **flags: Any) -> Settings:
    """A member's settings; flags that are None were not given. Ends the process where something is missing."""
    if app is not None and app.group is not None:
        _same("group", flags.get("group"), app.group)
    return settings_as(Settings, namespace_of(namespace, app), **flags)


def settings_as(kind: type[S], namespace: str, **flags: Any) -> S:
    """Settings of any process; flags that are None were not given. Ends the process where something is missing."""
    try:
        return kind(namespace=namespace, **{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        refuse("; ".join(_complaint(item["loc"], item["msg"]) for item in error.errors()))
    except SettingsError as error:  # a variable that should be JSON; the message has the field's name and no value
        refuse(f"{error}: what is there must be JSON")


class _KafkaOptions(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="BARNABAS_", frozen=True, extra="ignore", hide_input_in_errors=True)

    namespace: str
    kafka_options: KafkaOptions


def kafka_of(bootstrap: str, **fields: Any) -> KafkaSettings:
    """How a command reaches Kafka, with BARNABAS_KAFKA_OPTIONS. Ends the process where those are wrong."""
    options = settings_as(_KafkaOptions, DEFAULT_NAMESPACE).kafka_options
    return KafkaSettings(bootstrap=bootstrap, options=options, **fields)


def _same(what: str, flag: str | None, of_app: str) -> None:
    if flag is not None and flag != of_app:
        refuse(f"the app has the {what} '{of_app}' in its code: --{what} {flag} cannot change it")


def _complaint(place: tuple[int | str, ...], message: str) -> str:
    name = f"BARNABAS_{'_'.join(map(str, place)).upper()}"
    if message == "Field required":
        return f"{name} is not set (barnabas stack up starts servers and prints both)"
    return f"{name}: {message.removeprefix('Value error, ')}"


def log_to_stderr(level: str) -> None:
    """One line a record. Raises typer.Exit for a level that there is not."""
    names = logging.getLevelNamesMapping()
    if level.upper() not in names:
        refuse(f"there is no log level '{level}': use one of {', '.join(sorted(names, key=names.__getitem__))}")
    logging.basicConfig(
        stream=sys.stderr,
        level=names[level.upper()],
        format="%(asctime)s %(levelname)-8s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )


@contextmanager
def explained(*outages: type[Exception]) -> Iterator[None]:
    """Turn these errors into a sentence and code 2."""
    try:
        yield
    except UnicodeEncodeError as error:  # of an argument whose bytes are no text
        refuse(f"{error.object!a} is no text in UTF-8")
    except outages as error:
        refuse(str(error))
