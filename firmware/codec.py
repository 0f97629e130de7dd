"""Frozen records to plain JSON values and back, exactly: a float comes back as the same float."""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar, Union, get_args, get_origin

T = TypeVar("T")
Decoder = Callable[[Any], Any]
MAX_INTEGER = 2**1023


def encode(value: Any) -> Any:
    """Return `value` as lists (dataclasses by field order, tuples), strings, numbers, None."""
    if value is None or isinstance(value, int | float | str):
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    kind: Any = type(value)
    return [encode(getattr(value, name)) for name in _field_names(kind)]


def decode(kind: type[T], plain: Any) -> T:
    """Return the record of type `kind` that `encode` made `plain` of; ValueError if it is not.

    Fields at the end that have defaults may be missing: an older version did not know them.
    """
    hashable: Any = kind
    try:
        record: T = _decoder(hashable)(plain)
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ValueError(f"not a {kind.__name__}: {error}") from error
    return record


@functools.cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@functools.cache
def _decoder(kind: Any) -> Decoder:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _optional(args)
    if origin is tuple:
        return _tuple(args)
    if origin is not None and dataclasses.is_dataclass(origin):
        parameters = getattr(origin, "__parameters__", ())
        return _dataclass(origin, dict(zip(parameters, args, strict=True)))
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, {})
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind
    if kind is float:
        return _number
    return _exact(kind)


def _number(plain: Any) -> float:
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise TypeError(f"{plain!r} is not a number")
    if isinstance(plain, int) and abs(plain) > MAX_INTEGER:
        raise ValueError("a whole number beyond the range of float")
    return plain


def _exact(kind: Any) -> Decoder:
    def exact(plain: Any) -> Any:
        if not isinstance(plain, kind):
            raise TypeError(f"{plain!r} is not a {kind.__name__}")
        return plain

    return exact


def _optional(args: tuple[Any, ...]) -> Decoder:
    inner = _decoder(next(arg for arg in args if arg is not type(None)))
    return lambda plain: None if plain is None else inner(plain)


def _tuple(args: tuple[Any, ...]) -> Decoder:
    if len(args) == 2 and args[1] is Ellipsis:
        item = _decoder(args[0])
        return lambda plain: tuple(item(part) for part in plain)
    items = [_decoder(arg) for arg in args]
    return lambda plain: tuple(item(part) for item, part in zip(items, plain, strict=True))


def _dataclass(kind: Any, bindings: dict[Any, Any]) -> Decoder:
    hints = typing.get_type_hints(kind)
    decoders = [_decoder(_bind(hints[name], bindings)) for name in _field_names(kind)]

    def build(plain: Any) -> Any:
        if not isinstance(plain, list):
            raise TypeError(f"{plain!r} is not a list of {kind.__name__}'s fields")
        if len(plain) > len(decoders):
            raise ValueError(f"{len(plain)} fields, {kind.__name__} has {len(decoders)}")
        return kind(*(decoder(part) for decoder, part in zip(decoders, plain, strict=False)))

    return build


def _bind(hint: Any, bindings: dict[Any, Any]) -> Any:
    """Replace the type variables of a generic record, as `T | None` in Observed[float]."""
    if hint in bindings:
        return bindings[hint]
    if get_origin(hint) in (Union, types.UnionType):
        return Union[tuple(_bind(arg, bindings) for arg in get_args(hint))]  # noqa: UP007
    return hint
