"""Canonical JSON: one sequence of bytes for one value, so that it can be hashed and signed."""

import json
from hashlib import sha256
from typing import Any

MOST_DEPTH = 64  # of what is read: lists and objects inside of each other


def canonical(value: Any) -> bytes:
    """Keys sorted, no spaces, UTF-8; integers of any size, no floats that were not given.

    Raises ValueError for NaN, infinities and text that is not Unicode (lone surrogates).
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON, in hex."""
    return sha256(canonical(value)).hexdigest()


def parse(raw: bytes, most_depth: int = MOST_DEPTH) -> Any:
    """The value of a JSON text that leaves no doubt: no key twice, no fractions, no NaN.

    Raises ValueError that says what is wrong; too deep a nesting is one too.
    """
    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if _is_deep(value, most_depth):
        raise ValueError("nested too deeply")
    return value


def _is_deep(value: Any, most_depth: int) -> bool:
    """Whether it could be read, and perhaps not be walked through or written any more."""
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(most_depth):
        inside = [each.values() if isinstance(each, dict) else each for each in level]
        level = [item for each in inside for item in each if isinstance(item, dict | list)]
        if not level:
            return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {json.dumps(twice)} twice in one object")
    return result


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:40]}: only integers are allowed")
