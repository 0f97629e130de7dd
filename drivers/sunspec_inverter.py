"""A SunSpec PV inverter: power from 101-103, 111-113 or 701, curtailed through 704 or 123."""

import math

from control.records import InverterMeasurement, Quantity, Setpoint
from drivers.device import DeviceError, Identity, Registers
from drivers.modbus_device import ModbusDevice, kilo, within
from drivers.sunspec import INVERTERS, Snapshot, SunspecUnit, require_armed, timer_s

_STATES_10X = {
    1: "off",
    2: "off",
    3: "starting",
    4: "running",
    5: "throttled",
    6: "off",
    7: "fault",
}
_STATES_701 = {raw - 1: state for raw, state in _STATES_10X.items()}  # the same, counted from 0
_CONTROL_EVERY = 5  # readings: how often the limit in force is read when nothing is written


class SunspecInverter(ModbusDevice[InverterMeasurement]):
    """`rated_kw`: the inverter's AC rating; the base of percentages if the device tells none.

    When a lease runs out at the device, 704 falls back to 0 % and stays there; 123 can only drop
    its limit, so there the renewals of the lease are what keeps the limit.
    """

    quantities = frozenset({Quantity.LIMIT_KW})

    def __init__(self, *, name: str, unit: int, rated_kw: float) -> None:
        super().__init__(name=name, unit=unit)
        self._rated_kw = rated_kw
        self._sunspec = SunspecUnit()
        self._meter = INVERTERS[0]
        self._control: int | None = None
        self._base_kw = rated_kw
        self._limit_kw: float | None = None
        self._limiting = False  # the limit in force is ours
        self._controls: Snapshot | None = None
        self._until_controls = 0

    def connect(self, registers: Registers, now_s: float) -> Identity:
        """Find the models; the limit in force stays as it is until the first setpoint."""
        identity = self._sunspec.connect(registers)
        meter = self._sunspec.first(*INVERTERS)
        if meter is None:
            raise DeviceError("no SunSpec inverter model (101-103, 111-113 or 701)")
        self._meter = meter
        self._control = self._sunspec.first(704, 123)
        self._base_kw = self._read_base_kw(registers)
        if self._control is not None:
            controls = self._read_controls(registers)
            if self._control == 704 and _is_our_fallback(controls):
                self._limiting = True  # left behind by a former run
        return identity

    def read(self, registers: Registers, now_s: float) -> InverterMeasurement:
        """Power and state every time, the limit in force every fifth time and after each write."""
        if self._control is not None and self._until_controls <= 0:
            self._read_controls(registers)
        self._until_controls -= 1
        ac = self._sunspec.read(registers, self._meter)
        watts = ac.value("W")
        energy_wh = ac.value("TotWhInj" if self._meter == 701 else "WH")
        return InverterMeasurement(
            power_kw=within(kilo(watts), -0.2 * self._rated_kw, 2 * self._rated_kw),
            limit_kw=self._limit_kw,
            energy_kwh=kilo(energy_wh),
            state=_state(ac, self._meter),
            temperature_degc=within(ac.value("TmpCab"), -60, 150),
        )

    def write(self, registers: Registers, setpoint: Setpoint, now_s: float) -> float:
        """Limit the active power, rounded down to the device's resolution."""
        before = self._controls or self._read_controls(registers)
        self._limiting = True
        obeyed, after = self._write(registers, before, setpoint)
        if not after.same_scale(before, "WMaxLimPct_SF"):
            obeyed, after = self._write(registers, after, setpoint)
        if not obeyed:
            return self._base_kw if self._limit_kw is None else self._limit_kw
        return setpoint.value

    def release(self, registers: Registers, now_s: float) -> None:
        """Take our limit off, if there is one."""
        if not self._limiting:
            return
        if self._control == 704:
            self._sunspec.write(registers, 704, "WMaxLimPctEna", [0])
            # and disarm: a timer that ran on would bring the fallback
            self._sunspec.write(registers, 704, "WMaxLimPctEnaRvrt", [0, 0, 0])
        else:
            self._sunspec.write(registers, 123, "WMaxLim_Ena", [0])
        self._limiting = False

    def _write(
        self, registers: Registers, controls: Snapshot, setpoint: Setpoint
    ) -> tuple[bool, Snapshot]:
        """Whether the device holds the limit, and the controls as read back."""
        percent = min(100.0, max(0.0, 100 * setpoint.value / self._base_kw))
        write = self._write_704 if self._control == 704 else self._write_123
        return write(registers, controls, percent, setpoint.lease_s)

    def _write_123(
        self, registers: Registers, controls: Snapshot, percent: float, lease_s: float
    ) -> tuple[bool, Snapshot]:
        words = controls.encode("WMaxLimPct", percent, math.floor)
        armed_s = timer_s(lease_s, 0xFFFE)
        # limit, window, revert time, ramp and enable in one request: never a limit without a timer
        self._sunspec.write(registers, 123, "WMaxLimPct", [*words, 0, armed_s, 0, 1])
        after = self._read_controls(registers)
        require_armed(after.raw("WMaxLimPct_RvrtTms"), armed_s, "WMaxLimPct_RvrtTms")
        return _holds(after, words) and after.raw("WMaxLim_Ena") == 1, after

    def _write_704(
        self, registers: Registers, controls: Snapshot, percent: float, lease_s: float
    ) -> tuple[bool, Snapshot]:
        words = controls.encode("WMaxLimPct", percent, math.floor)
        armed_s = timer_s(lease_s, 0xFFFF_FFFE)
        # where to fall back to (0 %, limit kept on) and when, before the limit itself
        fallback = [0, 1, armed_s >> 16, armed_s & 0xFFFF]
        self._sunspec.write(registers, 704, "WMaxLimPctRvrt", fallback)
        self._sunspec.write(registers, 704, "WMaxLimPctEna", [1, *words])
        after = self._read_controls(registers)
        require_armed(after.raw("WMaxLimPctRvrtRem"), armed_s, "WMaxLimPctRvrtRem")
        return _holds(after, words) and after.raw("WMaxLimPctEna") == 1, after

    def _read_controls(self, registers: Registers) -> Snapshot:
        if self._control is None:
            raise DeviceError("the inverter has no SunSpec model to limit its power (123 or 704)")
        controls = self._sunspec.read(registers, self._control)
        enabled = controls.raw("WMaxLimPctEna" if self._control == 704 else "WMaxLim_Ena")
        percent = within(controls.value("WMaxLimPct"), 0, 100)
        limited = enabled == 1 and percent is not None
        self._limit_kw = self._base_kw * percent / 100 if limited and percent is not None else None
        self._controls = controls
        self._until_controls = _CONTROL_EVERY
        return controls

    def _read_base_kw(self, registers: Registers) -> float:
        """What 100 % means: the maximum set, else the nameplate, else the site's figure."""
        for model, name in ((702, "WMax"), (702, "WMaxRtg"), (121, "WMax"), (120, "WRtg")):
            snapshot = self._sunspec.read_if_present(registers, model)
            base_kw = kilo(snapshot.value(name)) if snapshot else None
            if within(base_kw, 0.1 * self._rated_kw, 10 * self._rated_kw) is not None:
                assert base_kw is not None
                return base_kw
        return self._rated_kw


def _state(ac: Snapshot, model: int) -> str:
    name, states = ("InvSt", _STATES_701) if model == 701 else ("St", _STATES_10X)
    raw = ac.raw(name)
    return "unknown" if raw is None else states.get(raw, "unknown")


def _is_our_fallback(controls: Snapshot) -> bool:
    held = [controls.raw(f"WMaxLimPct{name}") for name in ("Ena", "Rvrt", "EnaRvrt")]
    return held == [1, 0, 1]


def _holds(controls: Snapshot, words: list[int]) -> bool:
    return controls.raw("WMaxLimPct") == words[0]
