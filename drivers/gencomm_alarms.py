"""The named alarms of GenComm page 154, by their place: four to a register, highest nibble first.

The places up to "high temperature switch" are the same on all models; later ones may carry other
names on some.
"""

_NAMES = (
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
ALARM_NAMES = dict(enumerate(_NAMES))
