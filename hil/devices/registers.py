"""The registers of one Modbus unit: named points, each of one or more 16-bit words."""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from hil.wire_faults import Fault

READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_ONE, WRITE_MANY = 3, 4, 5, 6, 16
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class IllegalRequestError(Exception):
    """The unit refuses; `code` is the Modbus exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Kind:
    """How a number lies in registers: words, big-endian struct format, range, invalid value."""

    words: int
    format: str
    low: int
    high: int
    invalid: bytes


def _integer(letter: str, bits: int, signed: bool, invalid: int) -> Kind:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    return Kind(bits // 16, f">{letter}", low, high, invalid.to_bytes(bits // 8, "big"))


KINDS: Mapping[str, Kind] = {
    "u16": _integer("H", 16, False, 0xFFFF),
    "i16": _integer("h", 16, True, 0x8000),
    "u32": _integer("I", 32, False, 0xFFFFFFFF),
    "i32": _integer("i", 32, True, 0x80000000),
    "u64": _integer("Q", 64, False, 0xFFFFFFFFFFFFFFFF),
    "acc32": _integer("I", 32, False, 0),
    "f32": Kind(2, ">f", 0, 0, bytes.fromhex("7fc00000")),
}


@dataclass(frozen=True, slots=True)
class Point:
    """A number at an address: raw = value x scale, `invalid` (big-endian) stands for no value."""

    address: int
    kind: str
    scale: float = 1.0
    invalid: bytes | None = None  # None: the kind's own
    measured: bool = True  # False: settings and identity, which a sensor fault leaves alone

    def encode(self, value: float | None) -> tuple[int, ...]:
        """Words for a value, clipped to the range as a converter's firmware does."""
        kind = KINDS[self.kind]
        if value is None or math.isnan(value):
            return _words(self.invalid or kind.invalid)
        if self.kind == "f32":
            return _words(struct.pack(">f", value * self.scale))
        raw = round(value * self.scale)
        if self.kind != "acc32":  # which wraps
            raw = kind.low if raw < kind.low else kind.high if raw > kind.high else raw
        if kind.words == 1:
            return (raw & 0xFFFF,)
        return _words((raw % (1 << 16 * kind.words)).to_bytes(2 * kind.words, "big"))

    def decode(self, words: Sequence[int]) -> float | None:
        """The value of these words; None where they say that there is none."""
        kind = KINDS[self.kind]
        packed = struct.pack(f">{kind.words}H", *words)
        if packed == (self.invalid or kind.invalid):
            return None
        raw: float = struct.unpack(kind.format, packed)[0]
        return raw / self.scale


def _words(packed: bytes) -> tuple[int, ...]:
    return struct.unpack(f">{len(packed) // 2}H", packed)


@dataclass(slots=True)
class Unit:
    """One unit's registers. Only addresses with words exist; holding and input are one table.

    `refresh` runs before every access, `validate` before words are stored (it may raise),
    `written` after.
    """

    points: Mapping[str, Point]
    functions: frozenset[int] = frozenset({READ_HOLDING, WRITE_ONE, WRITE_MANY})
    max_read: int = 125
    writable: set[int] = field(default_factory=set)
    scale_factors: frozenset[int] = frozenset()  # addresses of SunSpec scale factors
    words: dict[int, int] = field(default_factory=dict)
    refresh: Callable[[], None] = lambda: None
    validate: Callable[[int, Sequence[int]], None] = lambda address, words: None
    written: Callable[[int, int], None] = lambda address, count: None
    _invalid: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Give every point its invalid value."""
        for name, point in self.points.items():
            self.put(name, None)
            if point.measured:
                words = point.encode(None)
                self._invalid.update(zip(range(point.address, 1 << 16), words, strict=False))

    def allow_writes(self, names: Iterable[str]) -> None:
        """Make points writable."""
        for name in names:
            point = self.points[name]
            self.writable.update(range(point.address, point.address + KINDS[point.kind].words))

    def put(self, name: str, value: float | None) -> None:
        """Set a point; None for no value."""
        point = self.points[name]
        address = point.address
        for word in point.encode(value):
            self.words[address] = word
            address += 1

    def put_text(self, address: int, text: str, words: int) -> None:
        """Set a string, padded with zeros."""
        packed = text.encode("ascii")[: 2 * words].ljust(2 * words, b"\0")
        self.words.update(zip(range(address, address + words), _words(packed), strict=True))

    def get(self, name: str) -> float | None:
        """A point's value; None where it has none."""
        point = self.points[name]
        last = point.address + KINDS[point.kind].words
        return point.decode([self.words[a] for a in range(point.address, last)])

    def number(self, name: str) -> float:
        """A point's value, 0 where it has none: for settings, which always have one."""
        return self.get(name) or 0.0

    def touches(self, address: int, count: int, *names: str) -> bool:
        """Whether a request covers a word of one of these points."""
        return any(
            address < self.points[name].address + KINDS[self.points[name].kind].words
            and address + count > self.points[name].address
            for name in names
        )

    def proposed(self, name: str, address: int, values: Sequence[int]) -> float | None:
        """What a write request would set a point of one word to; None if it does not cover it."""
        point = self.points[name]
        index = point.address - address
        return point.decode([values[index]]) if 0 <= index < len(values) else None

    def read(self, function: int, address: int, count: int, faults: set[Fault]) -> list[int]:
        """Answer a read request (function codes 3 and 4)."""
        self._check(function)
        if not 1 <= count <= self.max_read:
            raise IllegalRequestError(ILLEGAL_VALUE)
        self.refresh()
        words = self.words
        try:
            values = [words[a] for a in range(address, address + count)]
        except KeyError:
            raise IllegalRequestError(ILLEGAL_ADDRESS) from None
        return self._corrupted(address, values, faults) if faults else values

    def write(self, function: int, address: int, values: Sequence[int], faults: set[Fault]) -> None:
        """Carry out a write request (function codes 6 and 16)."""
        self._check(function)
        self.refresh()
        addresses = range(address, address + len(values))
        if not self.writable.issuperset(addresses):
            raise IllegalRequestError(ILLEGAL_ADDRESS)
        self.validate(address, values)
        if Fault.WRITES_IGNORED in faults:
            return
        self.words.update(zip(addresses, values, strict=True))
        self.written(address, len(values))

    def _check(self, function: int) -> None:
        if function not in self.functions:
            raise IllegalRequestError(ILLEGAL_FUNCTION)

    def _corrupted(self, address: int, values: list[int], faults: set[Fault]) -> list[int]:
        if Fault.NOT_IMPLEMENTED in faults:
            values = [self._invalid.get(address + i, value) for i, value in enumerate(values)]
        if Fault.SCALE_FLIP in faults:
            values = [
                _flipped(value) if address + i in self.scale_factors else value
                for i, value in enumerate(values)
            ]
        return values


def _flipped(word: int) -> int:
    """A scale factor with the other sign; 0 becomes 1, the invalid value stays."""
    factor = word - 0x10000 if word >= 0x8000 else word
    return word if word == 0x8000 else (-factor or 1) & 0xFFFF
