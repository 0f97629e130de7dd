"""The named alarms of GenComm by their place: four to a register, highest nibble first.

Two orders exist. Controllers of the first generation keep it on page 154 (7xxx) or on page 8 (4xxx,
6xxx); those called MkII and later have another one, on page 154, whose first 36 places all families
share. Of what comes after, and differs from family to family, only the power side has names here.
"""

from collections.abc import Sequence

FIRST_MK2 = 0x8000  # model numbers from here on: MkII and later
PAGES = (39424, 2048)  # pages 154 and 8; the number of named alarms, then the alarms
_LEVELS = {2: "warning", 3: "shutdown", 4: "trip", 5: "shutdown"}  # 5: after cooling down
_FIRST_GENERATION = (
    "emergency stop",
    "low oil pressure",
    "high coolant temperature",
    "high oil temperature",
    "underspeed",
    "overspeed",
    "fail to start",
    "fail to stop",
    "loss of speed sensing",
    "generator undervoltage",
    "generator overvoltage",
    "generator underfrequency",
    "generator overfrequency",
    "generator overcurrent",
    "earth fault",
    "reverse power",
    "air flap",
    "oil pressure sender fault",
    "coolant temperature sender fault",
    "oil temperature sender fault",
    "fuel level sender fault",
    "magnetic pick-up fault",
    "loss of AC speed signal",
    "charge alternator failure",
    "battery undervoltage",
    "battery overvoltage",
    "low fuel level",
    "high fuel level",
    "generator fails to close",
    "mains fails to close",
    "generator fails to open",
    "mains fails to open",
)
_MK2 = (
    "emergency stop",
    "low oil pressure",
    "high coolant temperature",
    "low coolant temperature",
    "underspeed",
    "overspeed",
    "generator underfrequency",
    "generator overfrequency",
    "generator undervoltage",
    "generator overvoltage",
    "battery undervoltage",
    "battery overvoltage",
    "charge alternator failure",
    "fail to start",
    "fail to stop",
    "generator fails to close",
    "mains fails to close",
    "oil pressure sender fault",
    "magnetic pick-up lost",
    "magnetic pick-up open circuit",
    "generator overcurrent",
    "calibration lost",
    "low fuel level",
    "engine ECU warning",
    "engine ECU shutdown",
    "engine ECU data lost",
    "low oil level",
    "high temperature switch",
    "low fuel level switch",
    "expansion unit lost",
    "overload",
    "negative phase sequence",
    "earth fault",
    "phase rotation",
    "voltage sensing failed",
    "maintenance due",
)
_POWER_7XXX = {42: "short circuit", 54: "reverse power"}
_POWER_8XXX = {46: "reverse power", 47: "short circuit"}
_OF_MODEL = {
    **dict.fromkeys((32840, 32845, 32846), _POWER_7XXX),  # 7310, 7410, 7420 MkII
    **dict.fromkeys((32832, 32833, 32834), _POWER_8XXX),  # 8610, 8620, 8660 MkII
}


def alarm_texts(model: int, words: Sequence[int]) -> tuple[str, ...]:
    """The active alarms as "level: name", in the controller's order."""
    names = dict(enumerate(_MK2 if model >= FIRST_MK2 else _FIRST_GENERATION))
    names |= _OF_MODEL.get(model, {})
    nibbles = [word >> shift & 0xF for word in words for shift in (12, 8, 4, 0)]
    return tuple(
        f"{_LEVELS[nibble]}: {names.get(place, f'alarm {place + 1}')}"
        for place, nibble in enumerate(nibbles)
        if nibble in _LEVELS
    )
