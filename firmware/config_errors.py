"""From pydantic's errors to lines, and what of a wrong file can be used nevertheless.

A file with a wrong value in one place is still checked everywhere else: `Draft` offers the values
that are right under the names of the models and raises `Unknown` for those that are not.
"""

from collections.abc import Collection
from typing import Any, get_args
from zoneinfo import available_timezones

from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from firmware.config_models import Table
from firmware.config_tables import Site
from firmware.config_words import Where, allowed, dotted, is_array, near, shown, tables


class Unknown(Exception):
    """A value that a rule looks at is missing or wrong by itself."""


class Draft:
    """Stands for a model of which some values are not usable."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        if name not in self._values:
            raise Unknown(name)
        return self._values[name]


def draft(table: type[Table], raw: Any, bad: Collection[Where], where: Where = ()) -> Draft:
    """What of the raw table `raw` at `where` is usable; `bad` are the keys that have errors."""
    values: dict[str, Any] = {}
    for key, (name, field) in table.entries().items():
        here = (*where, key)
        if key not in raw:
            if not field.is_required():
                values[name] = field.default
        elif tables(field.annotation):
            if is_array(field) and isinstance(raw[key], tuple):
                rows = enumerate(raw[key])
                values[name] = [_row(field, row, bad, (*here, i)) for i, row in rows]
            elif isinstance(raw[key], dict) and not is_array(field):
                values[name] = _row(field, raw[key], bad, here)
        elif not any(loc[: len(here)] == here for loc in bad):
            values[name] = raw[key]
    return Draft(values)


def _row(field: FieldInfo, raw: Any, bad: Collection[Where], where: Where) -> Draft:
    return draft(_table(field, raw), raw, bad, where) if isinstance(raw, dict) else Draft({})


def _table(field: FieldInfo, raw: Any) -> type[Table]:
    """The model of a raw table; among several, the one of its kind."""
    choice = tables(field.annotation)
    kind = raw.get("kind") if isinstance(raw, dict) else None
    return next((t for t in choice if kind in _literals(t.model_fields.get("kind"))), choice[0])


def _literals(field: FieldInfo | None) -> tuple[Any, ...]:
    return get_args(field.annotation) if field else ()


# --- lines ----------------------------------------------------------------------------------


def where_of(error: ErrorDetails) -> Where:
    """The key an error is about, without the tag that pydantic adds for the kind of a bus."""
    loc = error["loc"]
    if loc[:1] == ("bus",) and len(loc) > 2:
        loc = (*loc[:2], *loc[3:])
    return (*loc, "kind") if error["type"].startswith("union_tag") else loc


def line(error: ErrorDetails, raw: dict[str, Any]) -> str:
    """One line for one error: key, value and what is allowed."""
    where = where_of(error)
    at = max(i for i, part in enumerate(where) if isinstance(part, str))
    table, key = _owner(where[:at], raw), str(where[at])
    if error["type"] == "extra_forbidden":
        return f"{assigned(where, error['input'])}: {_unknown_key(table, key)}"
    field = table.entries()[key][1]
    if tables(field.annotation) and not error["type"].startswith(("missing", "union_tag")):
        brackets = f"[[{key}]]" if is_array(field) else f"[{key}]"
        return f"{assigned(where, error['input'])}: must be written as {brackets}"
    must = f"must be {_choice(table, key, item=at < len(where) - 1)}"
    if error["type"] in ("missing", "union_tag_not_found"):
        return f"{dotted(where)}: missing: {must}"
    value = error["input"]["kind"] if error["type"] == "union_tag_invalid" else error["input"]
    return f"{assigned(where, value)}: {_remark(error['type'], key, value)}{must}"


def assigned(where: Where, value: object) -> str:
    """A key and its value as in the file."""
    return f"{dotted(where)} = {shown(value)}"


def _owner(path: Where, raw: Any) -> type[Table]:
    """The model of the table at `path`."""
    table: type[Table] = Site
    field: FieldInfo | None = None
    for part in path:
        raw = raw[part]
        if isinstance(part, str):
            field = table.entries()[part][1]
        if field is not None and not isinstance(raw, tuple):
            table = _table(field, raw)
    return table


def _choice(table: type[Table], key: str, item: bool) -> str:
    if key == "kind":
        return '"tcp" or "rtu"'
    field = table.entries()[key][1]
    if tables(field.annotation):
        return f"a [{key}] table"
    return allowed(field, item)


def _remark(kind: str, key: str, value: object) -> str:
    """What there is to say about a value before what is allowed."""
    if kind == "value_error":  # only the time zone has a check of its own
        zone = near(str(value), available_timezones())
        return f"unknown time zone{f', did you mean {shown(zone)}?' if zone else ''}; "
    if key == "driver" and (roles := [role for role, d in drivers().items() if value in d]):
        return f"that drives {' or '.join(roles)}; "
    if kind in ("float_type", "finite_number"):
        return "not a number; "
    return ""


def drivers() -> dict[str, tuple[str, ...]]:
    """Driver names that fit each role."""
    return {
        role: _literals(table.model_fields["driver"])
        for role, (_, field) in Site.entries().items()
        for table in tables(field.annotation)
        if "driver" in table.model_fields
    }


def _unknown_key(table: type[Table], key: str) -> str:
    """Why a key is not allowed in a table, and what was perhaps meant."""
    known = table.entries()
    if meant := near(key, known):
        return f"unknown key, did you mean {meant}?"
    homes = [
        top
        for top, (_, field) in Site.entries().items()
        if any(key in home.entries() for home in tables(field.annotation))
    ]
    if homes and table is not Site:
        return f"unknown key here, it belongs to {' or '.join(f'[{home}]' for home in homes)}"
    return f"unknown key, allowed are {', '.join(known)}"
