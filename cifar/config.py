"""Frozen dataclasses to and from JSON-like dictionaries, with errors that name the key, the value and what is allowed.

pydantic checks types and keys; each dataclass checks its ranges in `__post_init__`, by `require`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cifar.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

SINCE = "since"  # key in a field's metadata: the release that added it
SINCE_0_2 = {SINCE: "0.2"}
UNKNOWN_KEY = "unexpected_keyword_argument"  # pydantic's name of the error


def require(holds: bool, rule: str, got: object, remedy: str) -> None:
    """Raises `ConfigError` unless `holds`."""
    if not holds:
        raise ConfigError(rule, got=repr(got), remedy=remedy)


def to_dict(config: Any) -> dict[str, Any]:
    """A JSON-ready dictionary of a (nested) dataclass; tuples become lists.

    A field whose metadata names the release that added it, `field(default=0, metadata={"since": "0.2"})`, is left out
    while it has its default. What was stored before that release keeps its JSON form, and with it its fingerprint.
    """
    assert is_dataclass(config)
    assert not isinstance(config, type)
    result: dict[str, Any] = json.loads(json.dumps(_plain(config)))
    return result


def _plain(value: Any) -> Any:
    """Dataclasses as dictionaries, at any depth."""
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if not _left_out(f, value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _left_out(field: Field[Any], config: Any) -> bool:
    if SINCE not in field.metadata:
        return False
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return bool(getattr(config, field.name) == default)


def from_dict(cls: type[T], data: Mapping[str, Any], *, where: str) -> T:
    """The dataclass `cls` that `data` describes; missing keys take their defaults.

    Args:
        cls: a frozen dataclass, possibly of other dataclasses.
        data: JSON-like values. Types are strict: `"3"` is no integer, `true` is no number.
        where: names the source in errors, such as a file name.

    Raises:
        ConfigError: unknown key, wrong type or value outside its range.
    """
    from pydantic import ValidationError

    adapter = _adapter(cast(Any, cls))  # mypy holds a class of unknown instances for unhashable
    try:
        config: T = adapter.validate_json(json.dumps(data), strict=True)
        return config
    except ValidationError as error:
        unknown_first = sorted(error.errors(), key=lambda found: found["type"] != UNKNOWN_KEY)
        first = unknown_first[0]  # a key's slip also shows as another key that is missing
        keys = _keys_of(data, first["loc"])
        # a value of several allowed types has one error a type
        alike = [other["msg"] for other in error.errors() if _keys_of(data, other["loc"]) == keys]
        message = ", or ".join(dict.fromkeys(text[0].lower() + text[1:] for text in alike))
        raise _explain(cls, where, keys, first["type"], message, first["input"]) from None
    except ConfigError as error:
        raise error.within(where) from None


@cache
def _adapter(cls: Any) -> TypeAdapter[Any]:
    """What checks values for a dataclass; making it takes ten milliseconds."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _keys_of(data: Any, location: Sequence[int | str]) -> list[str]:
    """The keys that lead to a value: pydantic's location without the allowed types that it appends."""
    keys = []
    for part in location:
        if not isinstance(data, Mapping | list | tuple):
            break
        keys.append(str(part))
        items = data if isinstance(data, Mapping) else dict(enumerate(data))
        data = items.get(part)
    return keys


def _explain(cls: type, where: str, keys: list[str], kind: str, message: str, value: Any) -> ConfigError:
    key = ".".join(keys) or "(top level)"
    if kind == UNKNOWN_KEY:
        allowed = ", ".join(_keys_at(cls, keys[:-1]))
        return ConfigError(f"{where}: unknown key {key!r}", got=repr(value), remedy=f"Allowed keys here: {allowed}")
    return ConfigError(f"{where}: {key}: {message}", got=repr(value), remedy="Change it")


def _keys_at(cls: type, path: list[str]) -> list[str]:
    from typing import get_type_hints

    for part in path:
        cls = get_type_hints(cls)[part]
    return [field.name for field in fields(cls)]
