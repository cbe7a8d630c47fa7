"""The app's classes as source text: models, dataclasses, typed dicts, named tuples, enums; msgspec structs as models.

They have the fields and the JSON of the originals, and none of their code: validators, methods and constraints stay
with the app, which checks what it gets. Called by `package`.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import pydantic
import typing_extensions
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from barnabas.sdk.strict_json import msgspec
from barnabas.stubs.expressions import Expressions, is_name, is_recreated

#: What changes a model's JSON, or how its fields are called. `extra` is copied where more fields are welcome: a caller
#: that knew no more than its copy would refuse the next version's results.
_CONFIG: Final = (
    "frozen",
    "populate_by_name",
    "validate_by_name",
    "validate_by_alias",
    "serialize_by_alias",
    "use_enum_values",
    "coerce_numbers_to_str",
    "ser_json_timedelta",
    "ser_json_temporal",
    "ser_json_bytes",
    "ser_json_inf_nan",
    "val_json_bytes",
)


class _Field(NamedTuple):
    name: str
    annotation: Any
    default: Any = PydanticUndefined  # undefined: it has to be given
    computed: bool = False  # has a default that cannot be written down
    options: tuple[str, ...] = ()  # of pydantic.Field


def source_of(cls: type, name: str, expressions: Expressions) -> str:
    """The class under that name."""
    expressions.shadowed = _members(cls)
    if issubclass(cls, enum.Enum):
        return _enum(cls, name, expressions)
    if msgspec is not None and issubclass(cls, msgspec.Struct):
        return _struct(cls, name, expressions)
    if issubclass(cls, pydantic.BaseModel):
        return _model(cls, name, expressions)
    if dataclasses.is_dataclass(cls):
        return _dataclass(cls, name, expressions)
    if typing_extensions.is_typeddict(cls):
        return _typed_dict(cls, name, expressions)
    return _named_tuple(cls, name, expressions)


def _members(cls: type) -> frozenset[str]:
    """What the class's body defines."""
    if issubclass(cls, enum.Enum):
        return frozenset(cls.__members__)
    if issubclass(cls, pydantic.BaseModel):
        return frozenset(cls.model_fields)
    return frozenset(_hints(cls))


def needed_by(cls: type) -> Iterable[Any]:
    """The annotations of the class's fields."""
    if issubclass(cls, enum.Enum):
        return ()
    if issubclass(cls, pydantic.BaseModel):
        return [field.annotation for field in cls.model_fields.values()]
    if msgspec is not None and issubclass(cls, msgspec.Struct):
        return [field.type for field in msgspec.structs.fields(cls)]
    return _hints(cls).values()


def _hints(cls: type) -> dict[str, Any]:
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except NameError:  # names that only a type checker sees
        return dict.fromkeys(getattr(cls, "__annotations__", {}), Any)


def _enum(cls: type[enum.Enum], name: str, expressions: Expressions) -> str:
    expressions.imports.add("import enum")
    members = {member: value.value for member, value in cls.__members__.items()}
    if not all(map(is_name, members)):  # made by a call, as it has to be again
        mixin = next((f", type={base.__name__}" for base in (str, int) if issubclass(cls, base)), "")
        kind = "enum.IntFlag" if issubclass(cls, enum.Flag) else "enum.Enum"
        return f"{name} = {kind}({name!r}, {members!r}{'' if issubclass(cls, enum.Flag) else mixin})"
    bases = [base.__name__ for base in (str, int) if issubclass(cls, base)]
    base = "enum.IntFlag" if issubclass(cls, enum.Flag) else ", ".join([*bases, "enum.Enum"])
    return _class(name, base, cls, [f"{member} = {value!r}" for member, value in members.items()])


def _model(cls: type[pydantic.BaseModel], name: str, expressions: Expressions) -> str:
    expressions.imports.add("import pydantic")
    if issubclass(cls, pydantic.RootModel):
        root = expressions.of(cls.model_fields["root"].annotation)
        return _class(name, f"pydantic.RootModel[{root}]", cls, _comments(expressions))
    config = {key: value for key, value in cls.model_config.items() if key in _CONFIG}
    if cls.model_config.get("extra") == "allow":
        config["extra"] = "allow"
    lines = _config(config)
    serializers = cls.__pydantic_decorators__
    if serializers.field_serializers or serializers.model_serializers or serializers.computed_fields:
        lines.append("# The app writes some fields by code of its own, which is not here.")
    for field_name, field in cls.model_fields.items():
        lines += _model_field(_of_info(field_name, field, _by_name(cls)), expressions)
    return _class(name, "pydantic.BaseModel", cls, lines)


def _config(config: dict[str, Any]) -> list[str]:
    plain = {key: value for key, value in config.items() if isinstance(value, (str, bool, int))}
    if not plain:
        return []
    return [f"model_config = pydantic.ConfigDict({', '.join(f'{key}={value!r}' for key, value in plain.items())})"]


def _by_name(cls: type[pydantic.BaseModel]) -> bool:
    """Whether instances are made with the fields' own names where there are aliases."""
    return bool(cls.model_config.get("populate_by_name") or cls.model_config.get("validate_by_name"))


def _aliases(by_name: bool, reading: object, writing: object) -> tuple[str, ...]:
    """The options for a field's aliases. Type checkers take `alias` for the parameter's name, and no other option."""
    if not by_name and isinstance(reading, str) and reading == writing:
        return (f"alias={reading!r}",)
    both = {"validation_alias": reading, "serialization_alias": writing}
    return tuple(f"{option}={alias!r}" for option, alias in both.items() if isinstance(alias, str))


def _of_info(name: str, field: FieldInfo, by_name: bool) -> _Field:
    options = _aliases(by_name, field.validation_alias, field.serialization_alias)
    default = field.default
    if field.default_factory in (list, dict):
        default = field.default_factory()
    elif field.default_factory is not None:
        return _Field(name, field.annotation, computed=True, options=options)
    return _Field(name, field.annotation, default, options=options)


def _struct(cls: Any, name: str, expressions: Expressions) -> str:
    """A struct's JSON is that of a model with the same fields."""
    expressions.imports.add("import pydantic")
    fields = []
    config = cls.__struct_config__
    if config.tag is not None:
        tag_type = typing.Literal.__getitem__(config.tag)
        fields.append(
            _Field("struct_tag", tag_type, config.tag, options=_aliases(True, config.tag_field, config.tag_field))
        )
    for field in msgspec.structs.fields(cls):
        alias = field.encode_name if field.encode_name != field.name else None
        options = _aliases(True, alias, alias)
        default = PydanticUndefined if field.default is msgspec.NODEFAULT else field.default
        factory = None if field.default_factory is msgspec.NODEFAULT else field.default_factory
        if factory in (list, dict):
            default, factory = factory(), None
        fields.append(_Field(field.name, field.type, default, factory is not None, options))
    aliased = any(field.options for field in fields)
    lines = _config(
        {"validate_by_name": True, "validate_by_alias": True, "serialize_by_alias": True} if aliased else {}
    )
    for field in fields:
        lines += _model_field(field, expressions)
    return _class(name, "pydantic.BaseModel", cls, lines)


def _model_field(field: _Field, expressions: Expressions) -> list[str]:
    kind = expressions.of(field.annotation)
    default = _default(field, expressions)
    options = ([f"default={default}"] if default is not None and field.options else []) + list(field.options)
    if options:
        default = f"pydantic.Field({', '.join(options)})"
    return [*_comments(expressions), f"{field.name}: {kind}" + ("" if default is None else f" = {default}")]


def _default(field: _Field, expressions: Expressions) -> str | None:
    default = None if field.default is PydanticUndefined else expressions.value(field.default)
    if field.computed or (default is None and field.default is not PydanticUndefined):
        expressions.note("the app has a default for it that is not known here")
    return default


def _dataclass(cls: Any, name: str, expressions: Expressions) -> str:
    expressions.imports.add("import dataclasses")
    hints = _hints(cls)
    lines: list[str] = []
    kw_only = given = False
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        missing = field.default is dataclasses.MISSING
        factory = None if field.default_factory is dataclasses.MISSING else field.default_factory
        one = _Field(
            field.name, hints[field.name], PydanticUndefined if missing else field.default, factory is not None
        )
        kind = expressions.of(one.annotation)
        if factory in (list, dict, set):
            default: str | None = f"dataclasses.field(default_factory=lambda: {factory()!r})"
        else:
            default = _default(one, expressions)
        kw_only = kw_only or field.kw_only is True or (given and default is None)
        given = given or default is not None
        lines += [*_comments(expressions), f"{field.name}: {kind}" + ("" if default is None else f" = {default}")]
    options = [
        f"{key}=True" for key, wanted in (("frozen", cls.__dataclass_params__.frozen), ("kw_only", kw_only)) if wanted
    ]
    arguments = f"({', '.join(options)})" if options else ""
    return f"@dataclasses.dataclass{arguments}\n{_class(name, '', cls, lines)}"


def _typed_dict(cls: Any, name: str, expressions: Expressions) -> str:
    expressions.imports.add("from typing_extensions import TypedDict")
    fields: dict[str, str] = {}
    comments: dict[str, list[str]] = {}
    for field, hint in _hints(cls).items():
        origin = typing.get_origin(hint)
        required = field in cls.__required_keys__
        if origin in (typing.Required, typing_extensions.Required, typing.NotRequired, typing_extensions.NotRequired):
            required = origin in (typing.Required, typing_extensions.Required)
            hint = typing.get_args(hint)[0]
        kind = expressions.of(hint)
        if not required:
            expressions.imports.add("from typing_extensions import NotRequired")
            kind = f"NotRequired[{kind}]"
        comments[field], fields[field] = _comments(expressions), kind
    if not all(map(is_name, fields)):  # made by a call, as it has to be again
        return f"{name} = TypedDict({name!r}, {fields!r})"
    lines = [line for field, kind in fields.items() for line in (*comments[field], f"{field}: {kind}")]
    return _class(name, "TypedDict", cls, lines)


def _named_tuple(cls: Any, name: str, expressions: Expressions) -> str:
    expressions.imports.add("from typing import NamedTuple")
    hints = _hints(cls)
    lines: list[str] = []
    for field in cls._fields:
        kind = expressions.of(hints.get(field, Any))
        default = expressions.value(cls._field_defaults[field]) if field in cls._field_defaults else None
        lines += [*_comments(expressions), f"{field}: {kind}" + ("" if default is None else f" = {default}")]
    return _class(name, "NamedTuple", cls, lines)


def _comments(expressions: Expressions) -> list[str]:
    return [f"# {note}" for note in expressions.take_notes()]


def _class(name: str, base: str, cls: type, lines: list[str]) -> str:
    doc = docstring(_own_doc(cls))
    body = [*doc, *([""] if doc and lines else []), *lines]
    if not [line for line in body if not line.startswith("#")]:
        body.append("pass")
    return f"class {name}{f'({base})' if base else ''}:\n" + "\n".join(f"    {line}" if line else "" for line in body)


def _own_doc(cls: type) -> str | None:
    doc = cls.__dict__.get("__doc__")
    if not isinstance(doc, str) or doc.startswith(f"{cls.__name__}("):
        return None  # what dataclasses and named tuples write by themselves
    return inspect.cleandoc(doc)


def docstring(text: str | None) -> list[str]:
    """The lines of a docstring, or none."""
    if not text:
        return []
    safe = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    lines = safe.splitlines()
    if len(lines) == 1 and not safe.endswith('"'):
        return [f'"""{safe}"""']
    return [f'"""{lines[0]}', *lines[1:], '"""']


def ordered(roots: Iterable[type]) -> list[type]:
    """These classes and what they are made of, each after what it needs, as far as that is possible."""
    found: dict[type, None] = {}
    open_: set[type] = set()

    def visit(annotation: Any) -> None:
        for cls in _classes_in(annotation, ()):
            if cls in found or cls in open_:
                continue
            open_.add(cls)
            for inner in needed_by(cls):
                visit(inner)
            open_.discard(cls)
            found[cls] = None

    for root in roots:
        visit(root)
    return list(found)


def _classes_in(annotation: Any, outer: tuple[Any, ...]) -> Iterable[type]:
    if is_recreated(annotation) and typing.get_origin(annotation) is None:
        yield annotation
        return
    if any(annotation is one for one in outer):
        return
    for name in ("__value__", "__supertype__", "__bound__"):
        inner = getattr(annotation, name, None)
        if inner is not None and not isinstance(annotation, type):
            yield from _classes_in(inner, (*outer, annotation))
    for arg in typing.get_args(annotation):
        yield from _classes_in(type(arg) if isinstance(arg, enum.Enum) else arg, (*outer, annotation))
