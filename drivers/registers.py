"""Register maps as data: where a value sits, how it is coded, and when it is no value at all."""

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from drivers.device import Registers, Table

MAX_COUNT = 125  # registers in one read, by the Modbus specification


class Kind(StrEnum):
    """How a register's bits are to be read."""

    U16 = "u16"
    I16 = "i16"
    U32 = "u32"
    I32 = "i32"
    U64 = "u64"
    F32 = "f32"
    STRING = "string"


class Words(StrEnum):
    """Which 16-bit word of a longer value comes first."""

    BIG = "big"
    LITTLE = "little"


class Wear(StrEnum):
    """Whether writing wears the device out."""

    VOLATILE = "volatile"
    FLASH = "flash"


_SIZE = {Kind.U16: 1, Kind.I16: 1, Kind.U32: 2, Kind.I32: 2, Kind.U64: 4, Kind.F32: 2}
_SIGNED = frozenset({Kind.I16, Kind.I32})


@dataclass(frozen=True, slots=True)
class Register:
    """One value of a device: value = raw * scale."""

    name: str
    address: int
    kind: Kind
    scale: float = 1.0
    sentinels: frozenset[int] = frozenset()  # raw bit patterns that mean "no value"
    low: float = -math.inf  # what is physically possible; a value outside is no value
    high: float = math.inf
    words: Words = Words.BIG
    length: int = 0  # in registers; only strings need it
    table: Table = Table.HOLDING
    wear: Wear = Wear.VOLATILE

    @property
    def size(self) -> int:
        """How many 16-bit registers it takes."""
        return self.length if self.kind is Kind.STRING else _SIZE[self.kind]


def unsigned(words: Sequence[int]) -> int:
    """The bits of registers, most significant first, as a number >= 0."""
    bits = 0
    for word in words:
        bits = bits << 16 | word
    return bits


def signed(bits: int, size: int) -> int:
    """The two's complement number of `size` registers."""
    width = 16 * size
    return bits - (1 << width) if bits >> (width - 1) else bits


def split(bits: int, size: int) -> list[int]:
    """A number, negative or not, as `size` registers, most significant first."""
    return [bits >> 16 * shift & 0xFFFF for shift in range(size - 1, -1, -1)]


def float32(bits: int) -> float:
    """The IEEE 754 single of 32 bits."""
    return float(struct.unpack(">f", bits.to_bytes(4, "big"))[0])


def text(words: Iterable[int]) -> str:
    """The text of registers: two characters each, ends at the first NUL, other bytes dropped."""
    raw = b"".join(word.to_bytes(2, "big") for word in words).split(b"\0", 1)[0]
    return "".join(chr(byte) for byte in raw if 0x20 <= byte < 0x7F).strip()


def decode(register: Register, words: Sequence[int]) -> float | None:
    """The number in `words`; None for a sentinel, a non-finite or an impossible value."""
    ordered = words if register.words is Words.BIG else words[::-1]
    bits = unsigned(ordered)
    if bits in register.sentinels:
        return None
    if register.kind is Kind.F32:
        raw: float = float32(bits)
    elif register.kind in _SIGNED:
        raw = signed(bits, register.size)
    else:
        raw = bits
    value = raw * register.scale
    return value if register.low <= value <= register.high and math.isfinite(value) else None


def encode(register: Register, value: float) -> list[int]:
    """`value` as registers, rounded to the register's resolution; ValueError if it does not fit."""
    if not math.isfinite(value):
        raise ValueError(f"{register.name}: {value} is not a number")
    raw = value / register.scale
    if register.kind is Kind.F32:
        bits = _float_bits(register, raw)
    else:
        bits = _integer_bits(register, round(raw))
    if bits in register.sentinels:
        raise ValueError(f"{register.name}: {value} means 'no value' to the device")
    words = split(bits, register.size)
    return words if register.words is Words.BIG else words[::-1]


def _float_bits(register: Register, raw: float) -> int:
    try:
        return int.from_bytes(struct.pack(">f", raw), "big")
    except OverflowError as error:
        raise ValueError(f"{register.name}: {raw} does not fit {register.kind}") from error


def _integer_bits(register: Register, raw: int) -> int:
    width = 16 * register.size
    low, high = (-(1 << width - 1), (1 << width - 1) - 1)
    if register.kind not in _SIGNED:
        low, high = 0, (1 << width) - 1
    if not low <= raw <= high:
        raise ValueError(f"{register.name}: {raw} does not fit {register.kind}")
    return raw & ((1 << width) - 1)


@dataclass(frozen=True, slots=True)
class _Span:
    """One request and the registers it answers."""

    table: Table
    address: int
    count: int
    registers: tuple[Register, ...]


class RegisterMap:
    """Registers that are read together, in as few requests as the holes between them allow.

    `gap` is how many registers of no interest a request may run over; 0 for devices that refuse
    to read unknown addresses. Numbers only, no strings.
    """

    def __init__(self, *registers: Register, gap: int = 0) -> None:
        self._spans = _plan(registers, gap)

    def read(self, registers: Registers) -> dict[str, float | None]:
        """Every value by name; None where the device has none."""
        values: dict[str, float | None] = {}
        for span in self._spans:
            words = registers.read(span.address, span.count, span.table)
            for register in span.registers:
                start = register.address - span.address
                values[register.name] = decode(register, words[start : start + register.size])
        return values


def _plan(registers: Iterable[Register], gap: int) -> tuple[_Span, ...]:
    spans: list[_Span] = []
    for register in sorted(registers, key=lambda each: (each.table, each.address)):
        last = spans[-1] if spans else None
        end = register.address + register.size
        if (
            last is not None
            and last.table is register.table
            and register.address - (last.address + last.count) <= gap
            and end - last.address <= MAX_COUNT
        ):
            count = max(last.count, end - last.address)
            spans[-1] = _Span(last.table, last.address, count, (*last.registers, register))
        else:
            spans.append(_Span(register.table, register.address, register.size, (register,)))
    return tuple(spans)


class FlashGuard:
    """Writes flash registers sparingly: on change beyond a dead band, at most once per interval.

    A flash cell stands some 1e5 writes: every 300 s that is a year of permanent quarrel with
    another master, every second a day.
    """

    def __init__(self, min_interval_s: float = 300.0) -> None:
        self._min_interval_s = min_interval_s
        self._written_s: dict[str, float] = {}

    def write(
        self,
        registers: Registers,
        register: Register,
        value: float,
        now_s: float,
        dead_band: float = 0.0,
    ) -> bool:
        """Bring the register to `value`; False when it differs but it is too early to write again.

        Asks the device first, so it costs one read. A volatile register is written at once.
        """
        words = registers.read(register.address, register.size, register.table)
        held = decode(register, words)
        if held is not None and abs(held - value) <= dead_band:
            return True
        last_s = self._written_s.get(register.name, -math.inf)
        if register.wear is Wear.FLASH and now_s - last_s < self._min_interval_s:
            return False
        self._written_s[register.name] = now_s
        registers.write(register.address, encode(register, value))
        return True
