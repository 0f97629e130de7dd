"""Writes a site's table back as TOML, with the bench's addresses in it."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

BARE = re.compile(r"[A-Za-z0-9_-]+")  # a key that needs no quotes


def to_toml(table: Mapping[str, Any]) -> str:
    """TOML text that reads back as `table` (strings, numbers, booleans, lists, tables of them)."""
    return "\n".join(_lines(table, ())) + "\n"


def _lines(table: Mapping[str, Any], where: tuple[str, ...]) -> Iterator[str]:
    nested = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            nested.append((key, value, "[{}]"))
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            nested += [(key, item, "[[{}]]") for item in value]
        else:
            yield f"{_key(key)} = {_value(value)}"
    for key, value, brackets in nested:
        path = (*where, key)
        yield ""
        yield brackets.format(".".join(map(_key, path)))
        yield from _lines(value, path)


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return repr(value)
