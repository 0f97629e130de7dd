"""A SunSpec device's registers: the marker, a chain of models, the end model."""

from collections.abc import Mapping

from hil.devices.registers import Point, Unit
from hil.devices.sunspec_models import ModelPoint, length, points

MARKER = (0x5375, 0x6E53)  # "SunS"
END = (0xFFFF, 0)
_INVALID_FACTOR = 0x8000


def sunspec_unit(base: int, models: Mapping[int, Mapping[str, int]]) -> Unit:
    """A unit with these models from address `base` on, each with the scale factors it uses.

    Points are named "model.point" ("103.W"). A scale factor that is not given is not implemented,
    and so are all points until they get a value.
    """
    table: dict[str, Point] = {}
    writable: list[str] = []
    words: dict[int, int] = dict(zip((base, base + 1), MARKER, strict=True))
    factors: set[int] = set()
    address = base + 2
    for model, scale in models.items():
        size = length(model)
        words.update({address: model, address + 1: size})
        for point in points(model):
            _lay_out(point, address + point.offset, f"{model}.{point.name}", scale, table, words)
            if point.type == "sf":
                factors.add(address + point.offset)
            elif point.writable:
                writable.append(f"{model}.{point.name}")
        address += 2 + size
    words.update(zip((address, address + 1), END, strict=True))
    unit = Unit(points=table, words=words, scale_factors=frozenset(factors))
    unit.allow_writes(writable)
    return unit


def _lay_out(
    point: ModelPoint,
    address: int,
    name: str,
    scale: Mapping[str, int],
    table: dict[str, Point],
    words: dict[int, int],
) -> None:
    """Put one point into the table of numbers, or its words if it is no number."""
    if point.type == "sf":
        factor = scale.get(point.name)
        words[address] = _INVALID_FACTOR if factor is None else factor & 0xFFFF
    elif point.type == "pad" or point.type.startswith("s"):
        filler = 0x8000 if point.type == "pad" else 0
        words.update(dict.fromkeys(range(address, address + point.words), filler))
    else:
        exponent = scale.get(point.scale_factor, 0)
        measured = not point.writable and bool(point.scale_factor)
        table[name] = Point(address, point.type, 10.0**-exponent, measured=measured)


def put_common(unit: Unit, base: int, maker: str, model: str, version: str, serial: str) -> None:
    """Fill the strings of the common model, which comes first."""
    at = base + 2
    for offset, size, text in (
        (2, 16, maker),
        (18, 16, model),
        (42, 8, version),
        (50, 16, serial),
    ):
        unit.put_text(at + offset, text, size)
