"""Faults that a simulated device or bus can show: on the wire, in its values, in its obedience.

A scenario's `[[fault]]` names them. Delays are in real seconds: they are longer than any sensible
request timeout, whatever the pace of the plant.
"""

from collections.abc import Set
from enum import StrEnum

LATE_S = 0.4
DRIP_S = 0.15

BUSY_CODE, ILLEGAL_ADDRESS_CODE, DEVICE_FAILURE_CODE = 6, 2, 4


class Fault(StrEnum):
    """One fault; `description` says what a client sees."""

    description: str

    def __new__(cls, name: str, description: str) -> "Fault":
        """A string that carries its description."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.description = description
        return member

    HANG = "hang", "requests get no answer"
    GARBAGE = "garbage", "the answer is random bytes of the right length"
    BAD_CRC = "bad_crc", "RTU: the check sum of the answer is wrong"
    TRUNCATED = "truncated", "the second half of the answer is missing"
    DRIP = "drip", f"the answer arrives byte by byte, {DRIP_S} s apart"
    LATE = "late", f"the answer arrives {LATE_S} s late, after the client gave up"
    WRONG_TRANSACTION = "wrong_transaction", "TCP: the answer carries another transaction's id"
    WRONG_UNIT = "wrong_unit", "the answer comes from another unit"
    BUSY = "busy", "every request is answered with exception 6"
    ILLEGAL_ADDRESS = "illegal_address", "every request is answered with exception 2"
    DEVICE_FAILURE = "device_failure", "every request is answered with exception 4"
    REFUSED = "refused", "TCP: connections are refused and open ones cut; RTU: no answer"
    RESET = "reset", "TCP: the connection is reset on every request; RTU: no answer"
    FROZEN = "frozen", "the registers keep the values they had, everything else works"
    SCALE_FLIP = "scale_flip", "SunSpec: the scale factors change their sign"
    NOT_IMPLEMENTED = "not_implemented", "measured values read as the device's invalid value"
    WRITES_IGNORED = "writes_ignored", "writes are acknowledged and have no effect at all"
    NOT_OBEYED = "not_obeyed", "writes are stored and read back, but the power does not follow"


_EXCEPTIONS = {
    Fault.BUSY: BUSY_CODE,
    Fault.ILLEGAL_ADDRESS: ILLEGAL_ADDRESS_CODE,
    Fault.DEVICE_FAILURE: DEVICE_FAILURE_CODE,
}


def exception_code(faults: Set[Fault]) -> int | None:
    """The Modbus exception that these faults put in place of every answer."""
    return next((code for fault, code in _EXCEPTIONS.items() if fault in faults), None)


def pieces(frame: bytes, faults: Set[Fault]) -> list[tuple[float, bytes]]:
    """What goes over the wire instead of `frame`: (seconds to wait before, bytes)."""
    if Fault.HANG in faults:
        return []
    if Fault.GARBAGE in faults:
        frame = bytes((37 * i + 11) & 0xFF for i in range(len(frame)))
    if Fault.BAD_CRC in faults:
        frame = frame[:-1] + bytes([frame[-1] ^ 0xFF])
    if Fault.TRUNCATED in faults:
        frame = frame[: len(frame) // 2]
    delay_s = LATE_S if Fault.LATE in faults else 0.0
    if Fault.DRIP in faults:
        return [(DRIP_S, frame[i : i + 1]) for i in range(len(frame))]
    return [(delay_s, frame)]
