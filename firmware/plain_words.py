"""What is wrong with a message from elsewhere, in words for people who do not know the models."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

SIMPLE = re.compile(r"\^\[(?P<of>[^\]]+)\]\{(?P<least>\d+)(?:,(?P<most>\d+))?\}(?P<end>\W*)\$")
RANGE = re.compile(r"[A-Za-z0-9]-[A-Za-z0-9]|.")

KINDS: Mapping[str, str] = {
    "missing": "missing",
    "extra_forbidden": "no such field",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "string_type": "must be a text",
    "string_unicode": "must be a text",
    "model_type": "must be an object",
    "dict_type": "must be an object",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
}
LIMITS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda limit: f"must be at least {limit['ge']:.16g}",
    "greater_than": lambda limit: f"must be above {limit['gt']:.16g}",
    "less_than_equal": lambda limit: f"must be at most {limit['le']:.16g}",
    "less_than": lambda limit: f"must be below {limit['lt']:.16g}",
    "too_short": lambda limit: f"must have at least {_entries(limit['min_length'])}",
    "too_long": lambda limit: f"must have at most {_entries(limit['max_length'])}",
    "string_too_short": lambda limit: f"must have at least {_characters(limit['min_length'])}",
    "string_too_long": lambda limit: f"must have at most {_characters(limit['max_length'])}",
    "string_pattern_mismatch": lambda limit: f"must be {_pattern(limit['pattern'])}",
    "literal_error": lambda limit: f"must be {limit['expected']}",
    "enum": lambda limit: f"must be {limit['expected']}",
}


def in_plain_words(error: ErrorDetails) -> str:
    """What is wrong with one field and what is allowed; the error needs its context."""
    kind = error["type"]
    if kind in LIMITS:
        return LIMITS[kind](error["ctx"])
    return KINDS.get(kind, error["msg"].removeprefix("Value error, "))


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _characters(count: int) -> str:
    return "1 character" if count == 1 else f"{count} characters"


def _pattern(pattern: str) -> str:
    """The patterns of fields are mostly a count of characters: "8 to 64 of a-z and 0-9"."""
    found = SIMPLE.fullmatch(pattern)
    if found is None:
        return f"a text like {pattern}"
    of = RANGE.findall(found["of"])
    which = " and ".join([", ".join(of[:-1]), of[-1]] if len(of) > 1 else of)
    most = f" to {found['most']}" if found["most"] else ""
    end = f", then {found['end']}" if found["end"] else ""
    return f"{found['least']}{most} characters of {which}{end}"
