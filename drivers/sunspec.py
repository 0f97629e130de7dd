"""SunSpec: finding a device's models by walking their chain, and reading points from them.

Holding registers, big-endian. The chain starts with "SunS" and is a list of [ID][length][data];
nothing is read from a fixed address, because the chain differs from device to device.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drivers.device import DeviceError, Identity, Registers
from drivers.registers import float32, signed, split, text, unsigned
from drivers.sunspec_models import COMMON, MODELS, Model, Point

BASES = (40000, 0, 50000)
INVERTERS = (701, 103, 102, 101, 113, 112, 111)  # models with an inverter's power, best first
_MARKER = [0x5375, 0x6E53]  # "SunS"
_END = 0xFFFF
_MOST_MODELS = 100  # a longer chain is a broken one
_MAX_COUNT = 125
_NOT_IMPLEMENTED = {
    "int16": 0x8000,
    "sunssf": 0x8000,
    "uint16": 0xFFFF,
    "enum16": 0xFFFF,
    "bitfield16": 0xFFFF,
    "int32": 0x8000_0000,
    "uint32": 0xFFFF_FFFF,
    "bitfield32": 0xFFFF_FFFF,
    "acc32": 0,
    "uint64": 0xFFFF_FFFF_FFFF_FFFF,
}
_SIGNED = frozenset({"int16", "int32", "sunssf"})


@dataclass(frozen=True, slots=True)
class Found:
    """A model that a device has."""

    id: int
    address: int  # of the ID register
    length: int  # registers after ID and length


@dataclass(frozen=True, slots=True)
class Chain:
    """All models of a device, in their order."""

    base: int
    models: tuple[Found, ...]
    complete: bool  # False: it broke off before its end mark

    def find(self, *ids: int) -> Found | None:
        """The first model with one of these numbers."""
        return next((model for model in self.models if model.id in ids), None)


def discover(registers: Registers) -> Chain:
    """Walk the model chain; DeviceError when the device has none."""
    for base in BASES:
        try:
            marker = registers.read(base, 2)
        except DeviceError:
            continue
        if marker == _MARKER:
            return _walk(registers, base)
    raise DeviceError("no SunSpec device: no 'SunS' at 40000, 0 or 50000")


def _walk(registers: Registers, base: int) -> Chain:
    models: list[Found] = []
    address = base + 2
    while len(models) < _MOST_MODELS and address + 2 <= 0x10000:
        try:
            model, length = registers.read(address, 2)
        except DeviceError:
            break
        if model == _END:
            return Chain(base, tuple(models), complete=True)
        if length == 0 or address + 2 + length > 0x10000:
            break
        models.append(Found(model, address, length))
        address += 2 + length
    if not models:
        raise DeviceError(f"SunSpec chain at {base} is empty")
    return Chain(base, tuple(models), complete=False)


class Snapshot:
    """One model's registers as read in one go; scale factors are those of the same reading."""

    def __init__(self, model: Model, words: Sequence[int]) -> None:
        self._model = model
        self._words = words

    def value(self, name: str) -> float | None:
        """A point in its unit; None when it or its scale factor is missing or not implemented."""
        point = self._model.by_name[name]
        bits = self._bits(point)
        if point.type == "float32":
            number = math.nan if bits is None else float32(bits)
            return number if math.isfinite(number) else None
        if bits is None or bits == _NOT_IMPLEMENTED[point.type]:
            return None
        raw = signed(bits, point.size) if point.type in _SIGNED else bits
        if not point.sf:
            return raw
        exponent = self.exponent(point.sf)
        if exponent is None:
            return None
        return raw * 10.0**exponent if exponent >= 0 else raw / 10.0**-exponent

    def raw(self, name: str) -> int | None:
        """The unscaled bits of a point, None when not implemented: enumerations and timers."""
        point = self._model.by_name[name]
        bits = self._bits(point)
        return None if bits is None or bits == _NOT_IMPLEMENTED[point.type] else bits

    def text(self, name: str) -> str:
        """A string point."""
        point = self._model.by_name[name]
        return text(self._words[point.offset : point.offset + point.size])

    def exponent(self, sf: str) -> int | None:
        """A scale factor; None unless it is one of -10 to 10."""
        bits = self._bits(self._model.by_name[sf])
        if bits is None:
            return None
        exponent = signed(bits, 1)
        return exponent if -10 <= exponent <= 10 else None

    def same_scale(self, other: "Snapshot", sf: str) -> bool:
        """Whether a scale factor was the same in another reading."""
        return self.exponent(sf) == other.exponent(sf)

    def encode(
        self, name: str, value: float, rounding: Callable[[float], int] = round
    ) -> list[int]:
        """`value` as the registers of a point; DeviceError when the device cannot express it."""
        point = self._model.by_name[name]
        exponent = self.exponent(point.sf) if point.sf else 0
        if exponent is None:
            raise DeviceError(f"model {self._model.id}: {name} has no valid scale factor")
        # 1e-9: what binary fractions lose must not cost a whole step when rounding down
        raw = rounding(value / 10.0**exponent + 1e-9)
        width = 16 * point.size
        low, high = (
            (-(1 << width - 1), 1 << width - 1) if point.type in _SIGNED else (0, 1 << width)
        )
        bits = raw & ((1 << width) - 1)
        if not low <= raw < high or bits == _NOT_IMPLEMENTED[point.type]:
            raise DeviceError(f"model {self._model.id}: {name} cannot be {value:g}")
        return split(bits, point.size)

    def _bits(self, point: Point) -> int | None:
        end = point.offset + point.size
        return unsigned(self._words[point.offset : end]) if end <= len(self._words) else None


class SunspecUnit:
    """The models of one device. Remembers the chain while the device says it is the same one."""

    def __init__(self) -> None:
        self._chain: Chain | None = None
        self._identity: Identity | None = None

    def connect(self, registers: Registers) -> Identity:
        """Find the models, or make sure that they are still where they were."""
        if self._chain is not None:
            try:
                if self._read_identity(registers, self._chain) == self._identity:
                    assert self._identity is not None
                    return self._identity
            except DeviceError:
                pass  # not where it was: walk again
        self._chain = None
        chain = discover(registers)
        self._identity = self._read_identity(registers, chain)
        self._chain = chain
        return self._identity

    def first(self, *ids: int) -> int | None:
        """The first of these model numbers, in the order given, that the device has."""
        return next((id_ for id_ in ids if self._chain and self._chain.find(id_)), None)

    def read(self, registers: Registers, model_id: int) -> Snapshot:
        """Read the known points of a model, and make sure that it is that model."""
        found = self._found(model_id)
        model = MODELS[model_id]
        words = _read_model(registers, found, min(found.length + 2, model.reach))
        return Snapshot(model, words)

    def read_if_present(self, registers: Registers, model_id: int) -> Snapshot | None:
        """Read a model if the device has it."""
        return self.read(registers, model_id) if self.first(model_id) else None

    def write(self, registers: Registers, model_id: int, name: str, words: Sequence[int]) -> None:
        """Write registers in one request, from a point of a model on."""
        found = self._found(model_id)
        offset = MODELS[model_id].by_name[name].offset
        if offset + len(words) > found.length + 2:
            raise DeviceError(f"model {model_id} is too short to hold {name}")
        registers.write(found.address + offset, words)

    def address(self, model_id: int, name: str) -> int:
        """Where a point is on this device."""
        return self._found(model_id).address + MODELS[model_id].by_name[name].offset

    def _found(self, model_id: int) -> Found:
        found = self._chain.find(model_id) if self._chain else None
        if found is None:
            raise DeviceError(f"the device has no SunSpec model {model_id}")
        return found

    def _read_identity(self, registers: Registers, chain: Chain) -> Identity:
        found = chain.find(COMMON.id)
        if found is None:
            raise DeviceError("the SunSpec chain lacks the common model")
        words = _read_model(registers, found, min(found.length + 2, COMMON.reach))
        common = Snapshot(COMMON, words)
        return Identity(*(common.text(name) for name in ("Mn", "Md", "SN", "Vr")))


def _read_model(registers: Registers, found: Found, count: int) -> list[int]:
    words: list[int] = []
    while len(words) < count:
        part = min(count - len(words), _MAX_COUNT)
        words += registers.read(found.address + len(words), part)
    if words[:2] != [found.id, found.length]:
        raise DeviceError(f"SunSpec model {found.id} is no longer at {found.address}")
    return words


def timer_s(lease_s: float, longest_s: int) -> int:
    """The revert time to arm for a lease: whole seconds, at least 10 s, at most `longest_s`."""
    return min(longest_s, max(10, math.ceil(lease_s)))


def require_armed(remaining_s: int | None, armed_s: int, name: str) -> None:
    """DeviceError unless the device's count-down shows that its revert timer took what we wrote.

    A device without a count-down (None) has to be believed.
    """
    if remaining_s is not None and not 0 < remaining_s <= armed_s + 1:
        raise DeviceError(f"revert timer not armed: {name} says {remaining_s} s, not {armed_s} s")
