"""A battery behind a Victron GX device: Multi or Quattro in external control (ESS mode 3).

Unit 100 tells the system's values, the VE.Bus unit takes the setpoint, the BMS's unit its limits.
The setpoint falls dead 60 s after the last write, whatever the lease. The measured power is that
of the Multi's AC side, which the setpoint is about, not the battery's own.
"""

import math

from control.records import BatteryMeasurement, Quantity, Setpoint
from drivers.device import DeviceError, Identity, Registers
from drivers.modbus_device import Gateway, ModbusDevice, within
from drivers.registers import (
    FlashGuard,
    Kind,
    Register,
    RegisterMap,
    Wear,
    decode,
    encode,
    text,
)

SYSTEM_UNIT = 100
DEAD_MAN_S = 60.0
_REFRESH_S = 20.0
_LIMITS_HOLD_S = 10.0  # how long the BMS may be silent before its last limits no longer count

# The GX answers 0 for a value that no service publishes: a battery of 0 V is an unknown one.
_BATTERY = RegisterMap(
    Register("volts", 840, Kind.U16, 0.1, low=1, high=1500),
    Register("soc_percent", 843, Kind.U16, low=0, high=100),
    gap=2,
)
_NO_POWER = frozenset({0x7FFF})
_INVERTER = RegisterMap(
    *(Register(f"in L{n}", 11 + n, Kind.I16, 10, _NO_POWER) for n in (1, 2, 3)),
    *(Register(f"out L{n}", 22 + n, Kind.I16, 10, _NO_POWER) for n in (1, 2, 3)),
    Register("phases", 28, Kind.U16, low=1, high=3),
    Register("state", 31, Kind.U16),
    gap=8,
)
_LIMITS = RegisterMap(
    Register("charge_volts", 305, Kind.U16, 0.1, low=1, high=1500),
    Register("charge_amps", 307, Kind.U16, 0.1),
    Register("discharge_amps", 308, Kind.U16, 0.1),
    gap=1,
)
_SERIAL = (800, 6)
_HUB4_MODE = Register("Hub4Mode", 2902, Kind.U16, wear=Wear.FLASH)
_EXTERNAL, _ESS = 3, 1
_STATES = {0: "off", 1: "standby", 2: "fault", 8: "standby"}  # all others are ways of running
_WIDE = tuple(Register(f"setpoint L{n}", 94 + 2 * n, Kind.I32) for n in (1, 2, 3))
_NARROW = tuple(Register(f"setpoint L{n}", at, Kind.I16) for n, at in ((1, 37), (2, 40), (3, 41)))


class VictronGx(ModbusDevice[BatteryMeasurement]):
    """`unit`: the VE.Bus unit. `battery_unit`: the BMS, None when the battery has none.

    `charge_max_kw` and `discharge_max_kw`: ratings, against which readings are judged. The
    setpoint acts at the Multi's AC input, so loads on its AC output come on top.
    """

    quantities = frozenset({Quantity.POWER_KW})

    def __init__(
        self,
        *,
        name: str,
        unit: int,
        charge_max_kw: float,
        discharge_max_kw: float,
        battery_unit: int | None = None,
    ) -> None:
        super().__init__(name=name, unit=unit)
        self._battery_unit = battery_unit
        self._most_kw = 3 * max(charge_max_kw, discharge_max_kw)
        self._flash = FlashGuard()
        self._own_mode: int | None = None  # the GX's own, while we have control
        self._controlled_s = -_REFRESH_S  # when we last saw that we have it
        self._setpoints = _NARROW[:1]
        self._wanted_kw = 0.0
        self._held_kw = 0.0  # what the Multi said after the last write, ...
        self._written_s = -DEAD_MAN_S  # ... which was then
        self._lease_end_s = 0.0
        self._limits_amps: tuple[float | None, float | None] = (None, None)
        self._limits_s = -math.inf

    def connect(self, registers: Registers, now_s: float) -> Identity:
        """Find the setpoint registers; the GX keeps control until the first setpoint."""
        system = _at(registers, SYSTEM_UNIT)
        phases = int(_INVERTER.read(registers)["phases"] or 1)
        try:
            _number(registers, _WIDE[0])
            self._setpoints = _WIDE[:phases]
        except DeviceError:  # older firmware knows the 16-bit ones only
            self._setpoints = _NARROW[:phases]
        self._limits_s = -math.inf  # what was known before the connection broke is old
        self._read_limits(registers, now_s)
        try:
            serial = text(system.read(*_SERIAL))
        except DeviceError:
            serial = ""
        return Identity("Victron Energy", f"GX, VE.Bus unit {self.unit}", serial)

    def read(self, registers: Registers, now_s: float) -> BatteryMeasurement:
        """Power, charge and limits; refreshes a setpoint whose lease outlasts the dead-man."""
        system = _at(registers, SYSTEM_UNIT)
        if now_s < self._lease_end_s and now_s - self._written_s >= _REFRESH_S:
            self._refresh(registers, now_s)
        inverter = _INVERTER.read(registers)
        battery = _BATTERY.read(system)
        volts, soc_percent = battery["volts"], battery["soc_percent"]
        if volts is None or soc_percent is None:
            volts = soc_percent = None
        self._read_limits(registers, now_s)
        charge_kw, discharge_kw = (
            None if amps is None or volts is None else amps * volts / 1000
            for amps in self._limits_amps
        )
        state = inverter["state"]
        return BatteryMeasurement(
            power_kw=within(self._power_kw(inverter), -self._most_kw, self._most_kw),
            soc_frac=None if soc_percent is None else soc_percent / 100,
            charge_limit_kw=charge_kw,
            discharge_limit_kw=discharge_kw,
            setpoint_kw=self._held_kw if now_s - self._written_s < DEAD_MAN_S else None,
            voltage_v=volts,
            state="unknown" if state is None else _STATES.get(int(state), "running"),
        )

    def write(self, registers: Registers, setpoint: Setpoint, now_s: float) -> float:
        """Set the AC power of all phases together; refreshed by `read` until the lease ends."""
        if now_s - self._controlled_s >= _REFRESH_S:
            self._take_control(_at(registers, SYSTEM_UNIT), now_s)
        held_kw = self._write_kw(registers, setpoint.value, now_s)
        self._wanted_kw = setpoint.value
        self._lease_end_s = now_s + setpoint.lease_s
        return setpoint.value if abs(held_kw - setpoint.value) < 2e-3 else held_kw

    def release(self, registers: Registers, now_s: float) -> None:
        """Zero the setpoint and let the GX run its own energy management again."""
        self._lease_end_s = now_s
        if self._own_mode is None:
            return
        self._write_kw(registers, 0.0, now_s)
        _at(registers, SYSTEM_UNIT).write(_HUB4_MODE.address, [self._own_mode])
        self._own_mode, self._controlled_s = None, -_REFRESH_S
        self._written_s = -DEAD_MAN_S
        self._flash = FlashGuard()  # taking control again is no quarrel

    def _refresh(self, registers: Registers, now_s: float) -> None:
        """Write the setpoint again; who has lost control stops, and the next setpoint tells it."""
        try:
            self._take_control(_at(registers, SYSTEM_UNIT), now_s)
            self._write_kw(registers, self._wanted_kw, now_s)
        except DeviceError:
            self._lease_end_s, self._written_s = now_s, -DEAD_MAN_S

    def _take_control(self, system: Registers, now_s: float) -> None:
        """Make sure that the GX leaves the Multi to us; its own mode comes back on release."""
        if self._own_mode is None:
            mode = _number(system, _HUB4_MODE)
            self._own_mode = _ESS if mode is None or mode == _EXTERNAL else int(mode)
        if not self._flash.write(system, _HUB4_MODE, _EXTERNAL, now_s):
            raise DeviceError("another master keeps the GX out of external control (Hub4Mode)")
        self._controlled_s = now_s

    def _write_kw(self, registers: Registers, power_kw: float, now_s: float) -> float:
        watts = -1000 * power_kw / len(self._setpoints)  # positive takes power in
        try:
            words = [encode(register, watts) for register in self._setpoints]
        except ValueError as error:
            raise DeviceError(str(error)) from error
        if self._setpoints[0] is _WIDE[0]:
            registers.write(_WIDE[0].address, [word for each in words for word in each])
        else:
            registers.write(_NARROW[0].address, words[0])
            if len(words) > 1:
                registers.write(_NARROW[1].address, [word for each in words[1:] for word in each])
        held = [_number(registers, register) or 0.0 for register in self._setpoints]
        self._written_s, self._held_kw = now_s, -sum(held) / 1000
        return self._held_kw

    def _power_kw(self, inverter: dict[str, float | None]) -> float | None:
        """What the Multi adds on its AC side: out of its output less into its input."""
        if inverter["in L1"] is None or inverter["out L1"] is None:
            return None
        phases = range(1, len(self._setpoints) + 1)
        watts = ((inverter[f"out L{n}"] or 0) - (inverter[f"in L{n}"] or 0) for n in phases)
        return sum(watts) / 1000

    def _read_limits(self, registers: Registers, now_s: float) -> None:
        """Ask the BMS for its current limits; without them for too long, 0 kW and a DeviceError."""
        if self._battery_unit is None:
            return
        try:
            values = _LIMITS.read(_at(registers, self._battery_unit))
            alive = values["charge_volts"] is not None
        except DeviceError:
            alive = False
        if alive:
            self._limits_amps = (values["charge_amps"], values["discharge_amps"])
            self._limits_s = now_s
        elif now_s - self._limits_s > _LIMITS_HOLD_S:
            if self._held_kw and now_s - self._written_s < DEAD_MAN_S:
                self._write_kw(registers, 0.0, now_s)
            raise DeviceError(f"no limits from the BMS at unit {self._battery_unit}")


def _at(registers: Registers, unit: int) -> Registers:
    if not isinstance(registers, Gateway):
        raise DeviceError("a GX device is reached through a bus, not through one unit alone")
    return registers.at(unit)


def _number(registers: Registers, register: Register) -> float | None:
    return decode(register, registers.read(register.address, register.size))
