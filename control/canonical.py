"""Canonical JSON: one sequence of bytes for one value, so that it can be hashed and signed."""

import json
from hashlib import sha256
from typing import Any


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


def parse(raw: bytes) -> Any:
    """The value of a JSON text that leaves no doubt: no key twice, no fractions, no NaN.

    Raises ValueError that says what is wrong; too deep a nesting is one too.
    """
    try:
        return json.loads(
            raw.decode(), object_pairs_hook=_unique, parse_float=_refuse, parse_constant=_refuse
        )
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {json.dumps(twice)} twice in one object")
    return result


def _refuse(text: str) -> Any:
    raise ValueError(f"{text[:40]}: only integers are allowed")
