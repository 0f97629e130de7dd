"""A SunSpec battery inverter: set through 124 or 704, state of charge from 713, 802 or 124."""

from control.records import BatteryMeasurement, Quantity, Setpoint
from drivers.device import DeviceError, Identity, Registers
from drivers.modbus_device import ModbusDevice, kilo, within
from drivers.registers import FlashGuard, Kind, Register, Wear, unsigned
from drivers.sunspec import INVERTERS, Snapshot, SunspecUnit, require_armed, timer_s

_STATES_10X = {
    1: "off",
    2: "standby",
    3: "standby",
    4: "running",
    5: "running",
    6: "off",
    7: "fault",
    8: "standby",
}
_STATES_701 = {raw - 1: state for raw, state in _STATES_10X.items()}  # the same, counted from 0
_BATTERY_FAULT = 99  # 802 State
_LOCAL = 1  # 802 LocRemCtl
_PINNED = 3  # 124 StorCtl_Mod: both the charging and the discharging limit are in force
_CONTROL_EVERY = 5  # readings between two looks at 704


class SunspecStorage(ModbusDevice[BatteryMeasurement]):
    """`charge_max_kw` and `discharge_max_kw`: ratings, used where the device tells none.

    An AC-coupled battery: its power is the AC power of the inverter. A lease that runs out at the
    device leaves it in its own automatic mode (124) or at 0 kW (704).
    """

    quantities = frozenset({Quantity.POWER_KW})

    def __init__(
        self, *, name: str, unit: int, charge_max_kw: float, discharge_max_kw: float
    ) -> None:
        super().__init__(name=name, unit=unit)
        self._charge_max_kw = charge_max_kw
        self._discharge_max_kw = discharge_max_kw
        self._most_kw = 3 * max(charge_max_kw, discharge_max_kw)
        self._sunspec = SunspecUnit()
        self._meter = INVERTERS[0]
        self._control = 124
        self._nameplate: Snapshot | None = None
        self._controls: Snapshot | None = None
        self._controls_s = -1.0
        self._until_controls = 0
        self._commanding = False  # the mode it is in is our doing
        self._heartbeat_s = -1.0
        self._flash = FlashGuard()
        self._grid_charge: Register | None = None  # set while we have allowed it

    def connect(self, registers: Registers, now_s: float) -> Identity:
        """Find the models; the storage stays autonomous until the first setpoint."""
        identity = self._sunspec.connect(registers)
        meter = self._sunspec.first(*INVERTERS)
        if meter is None:
            raise DeviceError("no SunSpec inverter model (101-103, 111-113 or 701)")
        self._meter = meter
        control = 704 if self._sunspec.first(713) else self._sunspec.first(124)
        if control is None or self._sunspec.first(control) is None:
            raise DeviceError("no SunSpec storage model (124, or 713 with 704)")
        self._control = control
        self._nameplate = self._sunspec.read_if_present(registers, 120)
        controls = self._read_controls(registers, now_s)
        if control == 704 and _is_our_fallback(controls):
            self._commanding = True  # left behind by a former run
        return identity

    def read(self, registers: Registers, now_s: float) -> BatteryMeasurement:
        """Power, charge and the BMS's limits; two to four requests."""
        controls = self._controls
        if controls is None or not self._fresh(now_s):
            controls = self._read_controls(registers, now_s)
        self._until_controls -= 1
        ac = self._sunspec.read(registers, self._meter)
        battery = self._sunspec.read_if_present(registers, 802)
        storage = self._sunspec.read_if_present(registers, 713)
        if battery is not None and self._commanding:
            self._beat(registers, battery, now_s)
        charge_kw, discharge_kw = self._limits_kw(battery, controls)
        return BatteryMeasurement(
            power_kw=within(kilo(ac.value("W")), -self._most_kw, self._most_kw),
            soc_frac=self._soc_frac(storage, battery, controls),
            charge_limit_kw=charge_kw,
            discharge_limit_kw=discharge_kw,
            setpoint_kw=self._setpoint_kw(controls),
            voltage_v=self._voltage_v(battery, controls),
            state=self._state(ac, storage, battery),
        )

    def write(self, registers: Registers, setpoint: Setpoint, now_s: float) -> float:
        """Set the power; the device's revert timer is armed before the power takes effect."""
        der = self._control == 704
        write, sf = (self._write_704, "WSet_SF") if der else (self._write_124, "InOutWRte_SF")
        before = self._controls or self._read_controls(registers, now_s)
        self._commanding = True
        obeyed, after = write(registers, before, setpoint, now_s)
        if not after.same_scale(before, sf):
            obeyed, after = write(registers, after, setpoint, now_s)
        if obeyed:
            return setpoint.value
        held_kw = self._setpoint_kw(after)
        if held_kw is None:
            raise DeviceError("the storage stays in its own mode and takes no setpoint")
        return held_kw

    def release(self, registers: Registers, now_s: float) -> None:
        """Back to the storage's own mode, rates unlimited, charging from AC as it was."""
        if not self._commanding:
            return
        self._commanding = False
        if self._control == 704:
            self._sunspec.write(registers, 704, "WSetEna", [0])
            # and disarm: a timer that ran on would bring the fallback
            self._sunspec.write(registers, 704, "WSetEnaRvrt", [0, 0, 0])
            return
        self._sunspec.write(registers, 124, "StorCtl_Mod", [0])
        if self._controls is not None:
            full = self._controls.encode("OutWRte", 100.0)
            self._sunspec.write(registers, 124, "OutWRte", [*full, *full])
        if self._grid_charge is not None:
            registers.write(self._grid_charge.address, [0])
            self._grid_charge = None
            self._flash = FlashGuard()  # allowing it again is no quarrel

    def _write_124(
        self, registers: Registers, controls: Snapshot, setpoint: Setpoint, now_s: float
    ) -> tuple[bool, Snapshot]:
        """Pin the window: discharge at most p and charge at most -p leave only p."""
        charge_kw, discharge_kw = self._rates_kw(controls)
        out_percent = 100 * setpoint.value / discharge_kw
        in_percent = -100 * setpoint.value / charge_kw
        out_words = controls.encode("OutWRte", min(100.0, max(-100.0, out_percent)))
        in_words = controls.encode("InWRte", min(100.0, max(-100.0, in_percent)))
        armed_s = timer_s(setpoint.lease_s, 0xFFFE)
        if setpoint.value < 0 and controls.raw("ChaGriSet") == 0:
            self._allow_grid_charge(registers, now_s)
        write = self._sunspec.write
        if controls.raw("StorCtl_Mod") == _PINNED and controls.raw("InOutWRte_WinTms") is not None:
            write(registers, 124, "OutWRte", [*out_words, *in_words, 0, armed_s])
        else:
            write(registers, 124, "InOutWRte_RvrtTms", [armed_s])
            write(registers, 124, "OutWRte", [*out_words, *in_words])
            write(registers, 124, "StorCtl_Mod", [_PINNED])
        after = self._read_controls(registers, now_s)
        require_armed(after.raw("InOutWRte_RvrtTms"), armed_s, "InOutWRte_RvrtTms")
        held = [after.raw(name) for name in ("StorCtl_Mod", "OutWRte", "InWRte")]
        possible = -charge_kw <= setpoint.value <= discharge_kw
        return possible and held == [_PINNED, *out_words, *in_words], after

    def _write_704(
        self, registers: Registers, controls: Snapshot, setpoint: Setpoint, now_s: float
    ) -> tuple[bool, Snapshot]:
        words = controls.encode("WSet", 1000 * setpoint.value)
        armed_s = timer_s(setpoint.lease_s, 0xFFFF_FFFE)
        write = self._sunspec.write
        if controls.raw("WSetRvrt") != 0:
            write(registers, 704, "WSetRvrt", [0, 0])
        # what the timer does and when, before the setpoint: watts, enabled, in one request
        write(registers, 704, "WSetEnaRvrt", [1, armed_s >> 16, armed_s & 0xFFFF])
        write(registers, 704, "WSetEna", [1, 1, *words])
        after = self._read_controls(registers, now_s)
        require_armed(after.raw("WSetRvrtRem"), armed_s, "WSetRvrtRem")
        return after.raw("WSetEna") == 1 and after.raw("WSet") == unsigned(words), after

    def _fresh(self, now_s: float) -> bool:
        """Whether the controls need not be read: 124 also holds the charge, 704 only settings."""
        return self._controls_s == now_s or (self._control == 704 and self._until_controls > 0)

    def _read_controls(self, registers: Registers, now_s: float) -> Snapshot:
        self._controls = self._sunspec.read(registers, self._control)
        self._controls_s = now_s
        self._until_controls = _CONTROL_EVERY
        return self._controls

    def _rates_kw(self, controls: Snapshot) -> tuple[float, float]:
        """What 100 % of InWRte and OutWRte mean."""
        plate = self._nameplate
        set_kw = kilo(controls.value("WChaMax")) if self._control == 124 else None
        charge_kw = set_kw or kilo(plate.value("MaxChaRte") if plate else None)
        discharge_kw = kilo(plate.value("MaxDisChaRte") if plate else None) or set_kw
        return charge_kw or self._charge_max_kw, discharge_kw or self._discharge_max_kw

    def _limits_kw(self, battery: Snapshot | None, controls: Snapshot) -> tuple[float, float]:
        """The BMS's live current limits times its voltage; without them the ratings."""
        charge_kw, discharge_kw = self._rates_kw(controls)
        if battery is not None:
            volts = within(battery.value("V"), 1, 1500)
            charge_kw = _live_kw(battery, volts, "AChaMax", "WChaRteMax", charge_kw)
            discharge_kw = _live_kw(battery, volts, "ADisChaMax", "WDisChaRteMax", discharge_kw)
        return charge_kw, discharge_kw

    def _setpoint_kw(self, controls: Snapshot) -> float | None:
        if self._control == 704:
            watts = controls.value("WSet")
            return kilo(watts) if controls.raw("WSetEna") == 1 and watts is not None else None
        out_percent, in_percent = controls.value("OutWRte"), controls.value("InWRte")
        pinned = controls.raw("StorCtl_Mod") == _PINNED
        if not pinned or out_percent is None or in_percent is None:
            return None
        charge_kw, discharge_kw = self._rates_kw(controls)
        return -charge_kw * in_percent / 100 if in_percent > 0 else discharge_kw * out_percent / 100

    def _soc_frac(
        self, storage: Snapshot | None, battery: Snapshot | None, controls: Snapshot
    ) -> float | None:
        candidates = [storage.value("SoC") if storage else None]
        candidates.append(battery.value("SoC") if battery else None)
        candidates.append(controls.value("ChaState") if self._control == 124 else None)
        percent = next((within(each, 0, 105) for each in candidates if each is not None), None)
        return None if percent is None else min(1.0, percent / 100)

    def _voltage_v(self, battery: Snapshot | None, controls: Snapshot) -> float | None:
        volts = battery.value("V") if battery else None
        if volts is None and self._control == 124:
            volts = controls.value("InBatV")
        return within(volts, 1, 1500)

    def _state(self, ac: Snapshot, storage: Snapshot | None, battery: Snapshot | None) -> str:
        if battery is not None and battery.raw("State") == _BATTERY_FAULT:
            return "fault"
        if storage is not None and storage.raw("Sta") == 2:
            return "fault"
        name, states = ("InvSt", _STATES_701) if self._meter == 701 else ("St", _STATES_10X)
        raw = ac.raw(name)
        return "unknown" if raw is None else states.get(raw, "unknown")

    def _beat(self, registers: Registers, battery: Snapshot, now_s: float) -> None:
        """Count up the controller's heartbeat, once a second, where the battery has one."""
        beat = battery.raw("CtrlHb")
        if beat is None or battery.raw("LocRemCtl") == _LOCAL or now_s - self._heartbeat_s < 1.0:
            return
        self._heartbeat_s = now_s
        self._sunspec.write(registers, 802, "CtrlHb", [(beat + 1) % 0xFFFF])

    def _allow_grid_charge(self, registers: Registers, now_s: float) -> None:
        address = self._sunspec.address(124, "ChaGriSet")
        register = Register("ChaGriSet", address, Kind.U16, wear=Wear.FLASH)
        if self._flash.write(registers, register, 1, now_s):
            self._grid_charge = register


def _is_our_fallback(controls: Snapshot) -> bool:
    return [controls.raw(f"WSet{name}") for name in ("Ena", "Rvrt", "EnaRvrt")] == [1, 0, 1]


def _live_kw(
    battery: Snapshot, volts: float | None, amps_name: str, watts_name: str, rated_kw: float
) -> float:
    amps = within(battery.value(amps_name), 0, 10_000)
    if amps is not None and volts is not None:
        return amps * volts / 1000
    watts_kw = kilo(battery.value(watts_name))
    return rated_kw if watts_kw is None else watts_kw
