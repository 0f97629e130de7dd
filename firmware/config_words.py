"""How keys, values and what is allowed read in error lines and in the reference."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from itertools import chain
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic.fields import FieldInfo

from firmware.config_models import Says, Table

Where = tuple[str | int, ...]  # ("battery", 0, "soc_min_frac")

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_LONGEST_VALUE = 60
_LONGEST_LIST = 8


def dotted(where: Where) -> str:
    """A key as people write it: battery[0].soc_min_frac."""
    text = ""
    for part in where:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            key = part if _BARE_KEY.fullmatch(part) else shown(part)
            text += f".{key}" if text else key
    return text


def shown(value: object) -> str:
    """A value as in TOML, on one line, cut where it is long."""
    text = _toml(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value[:_LONGEST_VALUE], ensure_ascii=not value.isprintable())
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        more = ["..."] if len(value) > _LONGEST_LIST else []
        return f"[{', '.join([*map(_toml, value[:_LONGEST_LIST]), *more])}]"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int) and abs(value) > 10**18:
        return f"{'-' if value < 0 else ''}a very large number"
    return repr(value)


def near(word: str, known: Iterable[str]) -> str | None:
    """The known word most like `word`, if any is."""
    names = list(known)
    longer = [name for name in names if len(word) > 2 and name.startswith(word)]
    return next(iter(difflib.get_close_matches(word, names, 1, 0.7) or longer), None)


def listed(words: Iterable[object]) -> str:
    """A choice in words: "a", "b" or "c"."""
    texts = [shown(word) for word in words]
    return " or ".join(filter(None, [", ".join(texts[:-1]), texts[-1]]))


def number(value: Any) -> str:
    """A number without needless digits."""
    return str(value) if isinstance(value, int) else f"{value:.10g}"


def allowed(field: FieldInfo, item: bool = False) -> str:
    """What a key's value must be: "between 0 and 1 (a fraction, not percent)".

    With `item`, what each value in the key's list must be.
    """
    kind = get_args(field.annotation)[0] if item else field.annotation
    return _allowed(kind, field.metadata)


def _allowed(kind: Any, metadata: Sequence[object]) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        held = [item.metadata if isinstance(item, FieldInfo) else [item] for item in parts[1:]]
        return _allowed(parts[0], [*chain(*held), *metadata])
    if origin in (Union, UnionType):
        return _allowed(next(part for part in parts if part is not NoneType), metadata)
    if origin is Literal:
        return listed(parts)
    if origin is tuple:
        return f"a list, not empty, of {_allowed(parts[0], [])}"
    says = next((item for item in metadata if isinstance(item, Says)), None)
    if kind in (int, float):
        note = f" ({says.text})" if says else ""
        return f"{'a whole number ' if kind is int else ''}{_interval(metadata)}{note}"
    if kind is bool:
        return "true or false"
    if says is None:
        raise TypeError(f"no words for {kind}")
    return says.text


def _interval(metadata: Sequence[object]) -> str:
    limits: dict[type, Any] = {type(item): item for item in metadata}
    high = number(limits[Le].le)
    if Gt in limits:
        return f"above {number(limits[Gt].gt)} and at most {high}"
    return f"between {number(limits[Ge].ge)} and {high}"


def tables(kind: Any) -> list[type[Table]]:
    """The tables that a type may hold; none for a plain value."""
    if isinstance(kind, type):
        return [kind] if issubclass(kind, Table) else []
    return [table for part in get_args(kind) for table in tables(part)]


def is_array(field: FieldInfo) -> bool:
    """Whether a key is an array in the file: [[...]] if of tables."""
    return get_origin(field.annotation) is tuple
