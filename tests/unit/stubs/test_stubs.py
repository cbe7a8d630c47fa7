"""What `barnabas stubs` makes of types that are not as plain as most, and of names that are none in Python."""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import enum
import functools
import inspect
import subprocess
import sys
import typing
import uuid
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, TypeVar, Union

import pydantic
import pytest
import typing_extensions

import barnabas
from barnabas.cli.stubs import package_name
from barnabas.sdk.protocols import service_of
from barnabas.serde import AvroSerde, BytesSerde
from barnabas.stubs.classes import ordered, source_of
from barnabas.stubs.expressions import ClassNames, Expressions, identifier
from barnabas.stubs.package import files_of, write
from tests.typing import checkers

T = TypeVar("T")
Bound = TypeVar("Bound", bound=int)
UserId = NewType("UserId", str)


class Colour(enum.Enum):
    RED = 1


class Flags(enum.Enum):
    OBJECT = object()


class Item(pydantic.BaseModel):
    name: str


class Opaque:
    pass


@pytest.mark.parametrize(
    ("annotation", "text", "imports"),
    [
        (int, "int", set()),
        (None, "None", set()),
        (Any, "Any", {"from typing import Any"}),
        (inspect.Parameter.empty, "Any", {"from typing import Any"}),
        (list, "list[Any]", {"from typing import Any"}),
        (typing.List, "list[Any]", {"from typing import Any"}),  # noqa: UP006 - as older code has it
        (tuple, "tuple[Any, ...]", {"from typing import Any"}),
        (typing.NoReturn, "NoReturn", {"from typing import NoReturn"}),
        (dict, "dict[str, Any]", {"from typing import Any"}),
        (list[dict[str, int]], "list[dict[str, int]]", set()),
        (Optional[int], "int | None", set()),  # noqa: UP045
        (Union[int, str, None], "int | str | None", set()),  # noqa: UP007
        (tuple[int, ...], "tuple[int, ...]", set()),
        (tuple[()], "tuple[()]", set()),
        (Literal["a", 1, True], "Literal['a', 1, True]", {"from typing import Literal"}),
        (Literal[Colour.RED], "Literal[Colour.RED]", {"from typing import Literal"}),
        (datetime, "_datetime.datetime", {"import datetime as _datetime"}),
        (uuid.UUID, "_uuid.UUID", {"import uuid as _uuid"}),
        (Path, "_pathlib.Path", {"import pathlib as _pathlib"}),
        (
            collections.abc.Sequence[date],
            "_collections_abc.Sequence[_datetime.date]",
            {"import collections.abc as _collections_abc", "import datetime as _datetime"},
        ),
        (collections.deque[int], "_collections.deque[int]", {"import collections as _collections"}),
        (Annotated[int, pydantic.Field(gt=0)], "int", set()),
        (pydantic.EmailStr, "pydantic.EmailStr", {"import pydantic"}),
        (UserId, "str", set()),
        (Bound, "int", set()),
        (Item, "Item", set()),
        (dict[str, list[Item]], "dict[str, list[Item]]", set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_annotations_as_text(annotation: Any, text: str, imports: set[str]) -> None:
    expressions = Expressions(ClassNames())
    assert expressions.of(annotation) == text
    assert expressions.imports == imports
    assert expressions.take_notes() == []


@pytest.mark.parametrize("annotation", [Opaque, list[Opaque], Callable[[int], str], Flags, T | Opaque], ids=str)
def test_what_cannot_be_expressed_is_any_with_a_note(annotation: Any) -> None:
    expressions = Expressions(ClassNames())
    assert "Any" in expressions.of(annotation)
    assert len(expressions.take_notes()) == 1
    assert expressions.take_notes() == []


def test_classes_of_one_name_get_two() -> None:
    other = type("Item", (pydantic.BaseModel,), {"__annotations__": {"number": int}})
    names = ClassNames()
    assert [names.name_of(Item), names.name_of(other), names.name_of(Item)] == ["Item", "Item2", "Item"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("my-service", "my_service"),
        ("_x", "x"),
        ("class", "class_"),
        ("1st", "n1st"),
        ("a.b", "a_b"),
        ("list_", "list_"),
        ("P[int]", "P_int"),
    ],
)
def test_names_become_names_of_python(text: str, name: str) -> None:
    assert identifier(text) == name


class Tree(pydantic.BaseModel):
    kids: list[Tree] = []
    owner: Owner | None = None


class Owner(pydantic.BaseModel):
    tree: Tree


@dataclasses.dataclass
class Plain:
    """A plain one."""

    first: int
    later: datetime = dataclasses.field(default_factory=datetime.now)
    names: set[str] = dataclasses.field(default_factory=set)
    hidden: int = dataclasses.field(default=1, init=False)


def module_of(*classes: type) -> dict[str, Any]:
    """The classes as they are written, imported."""
    names = ClassNames()
    needed = ordered(classes)
    for cls in needed:
        names.name_of(cls)
    expressions = Expressions(names)
    body = [source_of(cls, names.name_of(cls), expressions) for cls in needed]
    text = "\n".join(["from __future__ import annotations", *sorted(expressions.imports), *body])
    found: dict[str, Any] = {"__name__": __name__}
    exec(compile(text, "stub", "exec"), found)
    return found


def test_models_that_contain_each_other_are_written_and_work() -> None:
    found = module_of(Owner)
    namespace = {name: found[name] for name in ("Tree", "Owner")}
    for cls in namespace.values():
        cls.model_rebuild(_types_namespace=namespace)
    raw = '{"tree":{"kids":[{"kids":[],"owner":null}],"owner":null}}'
    assert found["Owner"].model_validate_json(raw).model_dump_json() == raw


def test_a_default_that_is_computed_has_to_be_given() -> None:
    plain = module_of(Plain)["Plain"]
    now = datetime(2026, 1, 2)
    assert plain.__doc__ == "A plain one."
    assert dataclasses.asdict(plain(first=1, later=now)) == {"first": 1, "later": now, "names": set()}
    with pytest.raises(TypeError, match="later"):
        plain(first=1)


def test_what_python_cannot_call_so_is_mapped_to_its_handler(tmp_path: Path) -> None:
    service = barnabas.Service("my-service")

    for name in ("class", "a.b", "_c"):
        service.handler(name, input_serde=BytesSerde(), output_serde=BytesSerde())(functools.partial(_raw))
    text = files_of(barnabas.app([service]), "api", "1.2.3")["api/services.py"]
    found: dict[str, Any] = {}
    exec(compile(text, "stub", "exec"), found)
    assert service_of(found["my_service"]) == ("my-service", "service")
    assert "handlers={'class_': 'class', 'a_b': 'a.b', 'c': '_c'}" in text
    assert "async def class_(self, body: bytes) -> bytes" in text
    assert typing.get_type_hints(found["my_service"].class_)["return"] is bytes


Words = enum.Enum("Words", {"in": "i", "out": "o"})  # type: ignore[misc]  # the values are what matters
Way = typing_extensions.TypedDict("Way", {"from": int, "to": typing_extensions.NotRequired[str]})


class Shelf(pydantic.BaseModel):
    list: typing.List[int] = []  # noqa: UP006 - the field has the name
    more: typing.List[dict] = []  # type: ignore[type-arg]  # noqa: UP006


Anything = pydantic.create_model("Any", x=(int, 0))


def awkward_app() -> barnabas.App:
    """Services and handlers whose names mean something else in Python, in the package, or for each other."""
    todo = barnabas.Service("Todo")
    point = AvroSerde[Any]({"type": "map", "values": "int"})

    def handler(name: str, takes: Any, gives: Any) -> None:
        async def fn(ctx: barnabas.Context, value: Any) -> Any: ...

        fn.__annotations__ |= {"value": takes, "return": gives}
        todo.handler(name)(fn)

    handler("list", Words, typing.List[Shelf])  # noqa: UP006
    handler("str", dict, dict[str, Any])
    handler("Any", Any, Any)
    handler("models", Annotated[dict, point], Annotated[dict, point])  # type: ignore[type-arg]
    handler("barnabas", pydantic.HttpUrl, Anything)
    handler("pydantic", pydantic.HttpUrl, Way)
    handler("a.b", int, str)
    handler("a_b", str, int)
    handler("a-b", bytes, bytes)
    services = [todo]
    for name in ("models", "barnabas", "Protocol", "TodoSend"):
        services.append(barnabas.Service(name))
        services[-1].handler("raw")(_raw)
    return barnabas.app(services)


def test_no_name_hides_another(tmp_path: Path) -> None:
    write(files_of(awkward_app(), "awkward_api", "1.0"), tmp_path)
    for run in (
        checkers.mypy(tmp_path / "awkward_api", path=[tmp_path, checkers.ROOT / "worker"], cwd=tmp_path),
        checkers.pyright(tmp_path / "awkward_api", scratch=tmp_path, path=[tmp_path]),
    ):
        assert run.returncode == 0, run.stdout + run.stderr
    program = """
import barnabas, awkward_api, pydantic
from awkward_api import models
from barnabas.sdk.clients import HandlerClient

def seen(definition, *methods):
    client = HandlerClient(definition, None, "service", lambda handler, value: handler.target)
    return [getattr(client, method)(None) for method in methods]

print(*seen(awkward_api.Todo, "list", "str", "Any", "models", "barnabas", "pydantic", "a_b", "a_b2", "a_b3"))
print(*seen(awkward_api.models2, "raw"), *seen(awkward_api.barnabas2, "raw"), *seen(awkward_api.Protocol2, "raw"))
print(*seen(awkward_api.TodoSend, "raw"), *seen(awkward_api.TodoSend2, "list"))
print(models.Shelf(list=[1], more=[{}]), models.Words("i").name, models.Any2())
print(pydantic.TypeAdapter(models.Way).validate_python({"from": "3"}))
"""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.stdout.splitlines() == [
        "Todo/list Todo/str Todo/Any Todo/models Todo/barnabas Todo/pydantic Todo/a_b Todo/a.b Todo/a-b",
        "models/raw barnabas/raw Protocol/raw",
        "TodoSend/raw Todo/list",
        "list=[1] more=[{}] in x=0",
        "{'from': 3}",
    ], run.stderr


async def _raw(ctx: barnabas.Context, body: bytes) -> bytes:
    return body


@pytest.mark.parametrize(
    ("target", "name"),
    [("shop.app:app", "shop_api"), ("shop:app", "shop_api"), ("app:app", "app_api"), ("a.shop.main:x", "shop_api")],
)
def test_the_package_is_called_after_the_app(target: str, name: str) -> None:
    assert package_name(target) == name
