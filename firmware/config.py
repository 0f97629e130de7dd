"""Reads site.toml: the whole file is checked, and everything that is wrong is said at once."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from firmware.config_errors import draft, line, where_of
from firmware.config_rules import broken_rules
from firmware.config_tables import Site

__all__ = ["Site", "SiteError", "load_site", "site_from_dict"]

_PATHS = (
    ("forecast", "history"),
    ("forecast", "pv_model"),
    ("forecast", "load_model"),
    ("recording", "path"),
    ("local", "socket"),
    ("store", "path"),
    ("mqtt", "tls_ca"),
    ("mqtt", "tls_certificate"),
    ("mqtt", "tls_key"),
    ("mqtt", "password_file"),
    ("trading", "folder"),
    ("trading", "broker", "tls_ca"),
    ("trading", "broker", "tls_certificate"),
    ("trading", "broker", "tls_key"),
    ("trading", "broker", "password_file"),
)


class SiteError(Exception):
    """A site file that cannot be used: one line for everything that is wrong with it."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


def load_site(path: str | Path) -> Site:
    """Read a site file; relative paths in it count from its folder."""
    content = _parse(Path(path), str(path))
    for *tables, key in _PATHS:
        section: Any = content
        for table in tables:
            section = section.get(table) if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(value := section.get(key), str) and value:
            section[key] = str(Path(path).absolute().parent / value)
    return site_from_dict(content, str(path))


def site_from_dict(content: Mapping[str, Any], origin: str = "site.toml") -> Site:
    """Build a site from parsed TOML; SiteError names `origin` in each line."""
    raw = _with_inverter_ratings(_frozen(content))
    try:
        site, errors = Site.model_validate(raw), []
    except ValidationError as error:
        site, errors = None, error.errors(include_url=False, include_context=False)
    usable = draft(Site, raw, {where_of(error) for error in errors})
    lines = [line(error, raw) for error in errors] + broken_rules(usable, raw)
    if site is None or lines:
        raise SiteError([f"{origin}: {text}" for text in lines])
    return site


def _parse(path: Path, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_bytes().decode())
    except OSError as error:
        raise SiteError([f"{origin}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise SiteError([f"{origin}: not UTF-8 text (byte {error.start})"]) from None
    except tomllib.TOMLDecodeError as error:
        raise SiteError([f"{origin}: {_syntax(str(error))}"]) from None
    except (RecursionError, ValueError):  # nested too deeply, a number with thousands of digits
        raise SiteError([f"{origin}: not a site file: nested too deeply or too long"]) from None


def _syntax(message: str) -> str:
    """tomllib's message with the place first."""
    text, _, place = message.rpartition(" (at ")
    text = text[:1].lower() + text[1:]
    return f"{place.rstrip(')')}: {text}" if text else message


def _frozen(value: Any) -> Any:
    """Lists as tuples, so that strict validation into immutable models takes them."""
    if isinstance(value, Mapping):
        return {key: _frozen(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    return value


def _with_inverter_ratings(raw: dict[str, Any]) -> dict[str, Any]:
    """The one default that depends on other keys: the larger of a battery's power limits.

    Where neither is usable any rating will do, for the file is refused anyway.
    """
    batteries = raw.get("battery")
    if not isinstance(batteries, tuple):
        return raw
    return raw | {"battery": tuple(_with_inverter_rating(battery) for battery in batteries)}


def _with_inverter_rating(battery: Any) -> Any:
    if not isinstance(battery, dict) or "inverter_rated_kw" in battery:
        return battery
    limits = [battery.get("charge_max_kw"), battery.get("discharge_max_kw")]
    usable = [kw for kw in limits if isinstance(kw, int | float) and 0.05 <= kw <= 250]
    return battery | {"inverter_rated_kw": float(max(usable, default=250))}
