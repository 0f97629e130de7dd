"""A Victron GX device with one single-phase inverter/charger and its battery.

Written from Victron's register list for Modbus TCP. Three units: 100 (system and settings), the
VE.Bus inverter, the battery if it has a BMS. The site's loads and PV are on the inverter's AC
input, in parallel with the grid; its AC output feeds nothing else, so its AC-in power is minus the
battery's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hil.devices.device import W_PER_KW, DeadMan, SimulatedDevice
from hil.devices.plant_view import own_battery, self_consumption_kw
from hil.devices.registers import ILLEGAL_VALUE, IllegalRequestError, Point, Unit
from hil.plant import BatteryState, Controls, PlantState

SYSTEM_UNIT = 100
SETPOINT_HOLDS_S = 60.0  # in external control, then the inverter passes through
SELF_CONSUMPTION, SELF_CONSUMPTION_NO_PHASES, EXTERNAL = 1, 2, 3
CHARGER_ONLY, INVERTER_ONLY, ON, OFF = 1, 2, 3, 4
STATE_OFF, STATE_BULK, STATE_PASSTHRU, STATE_INVERTING, STATE_EXTERNAL = 0, 3, 8, 9, 252
NO_VALUE_I16, NO_VALUE_I32 = bytes.fromhex("7fff"), bytes.fromhex("7fffffff")
NO_LIMIT = -1


def _i16(address: int, scale: float = 1.0, measured: bool = True) -> Point:
    return Point(address, "i16", scale, NO_VALUE_I16, measured)


def _u16(address: int, scale: float = 1.0, measured: bool = True) -> Point:
    return Point(address, "u16", scale, None, measured)


def _i32(address: int, measured: bool = True) -> Point:
    return Point(address, "i32", 1.0, NO_VALUE_I32, measured)


SYSTEM = {
    "pv_on_output_l1_w": _u16(808),
    "pv_on_output_l2_w": _u16(809),
    "pv_on_output_l3_w": _u16(810),
    "pv_on_input_l1_w": _u16(811),
    "pv_on_input_l2_w": _u16(812),
    "pv_on_input_l3_w": _u16(813),
    "consumption_l1_w": _u16(817),
    "consumption_l2_w": _u16(818),
    "consumption_l3_w": _u16(819),
    "grid_l1_w": _i16(820),
    "grid_l2_w": _i16(821),
    "grid_l3_w": _i16(822),
    "genset_l1_w": _i16(823),
    "genset_l2_w": _i16(824),
    "genset_l3_w": _i16(825),
    "active_source": _i16(826, measured=False),
    "battery_v": _u16(840, 10),
    "battery_a": _i16(841, 10),
    "battery_w": _i16(842),
    "soc_pct": _u16(843),
    "battery_state": _u16(844),
    "pv_dc_w": _u16(850),
    "grid_setpoint_w": _i16(2700, measured=False),
    "grid_setpoint_coarse_w": _i16(2703, 0.01, measured=False),
    "max_discharge_w": _u16(2704, 0.1, measured=False),
    "max_charge_a": _i16(2705, measured=False),
    "grid_setpoint_volatile_w": _i32(2716, measured=False),
    "battery_life_state": _u16(2900, measured=False),
    "min_soc_pct": _u16(2901, 10, measured=False),
    "hub4_mode": _u16(2902, measured=False),
}
SYSTEM_WRITABLE = tuple(name for name, point in SYSTEM.items() if point.address >= 2700)

VEBUS = {
    "in_l1_v": _u16(3, 10),
    "in_l2_v": _u16(4, 10),
    "in_l3_v": _u16(5, 10),
    "in_l1_a": _i16(6, 10),
    "in_l2_a": _i16(7, 10),
    "in_l3_a": _i16(8, 10),
    "in_l1_hz": _i16(9, 100),
    "in_l2_hz": _i16(10, 100),
    "in_l3_hz": _i16(11, 100),
    "in_l1_w": _i16(12, 0.1),
    "in_l2_w": _i16(13, 0.1),
    "in_l3_w": _i16(14, 0.1),
    "out_l1_v": _u16(15, 10),
    "out_l2_v": _u16(16, 10),
    "out_l3_v": _u16(17, 10),
    "out_l1_a": _i16(18, 10),
    "out_l2_a": _i16(19, 10),
    "out_l3_a": _i16(20, 10),
    "out_l1_hz": _i16(21, 100),
    "in_limit_a": _i16(22, 10, measured=False),
    "out_l1_w": _i16(23, 0.1),
    "out_l2_w": _i16(24, 0.1),
    "out_l3_w": _i16(25, 0.1),
    "dc_v": _u16(26, 100),
    "dc_a": _i16(27, 10),
    "phases": _u16(28, measured=False),
    "active_input": _u16(29, measured=False),
    "soc_pct": _u16(30, 10),
    "state": _u16(31, measured=False),
    "error": _u16(32, measured=False),
    "mode": _u16(33, measured=False),
    "alarm_high_temperature": _u16(34, measured=False),
    "alarm_low_battery": _u16(35, measured=False),
    "alarm_overload": _u16(36, measured=False),
    "setpoint_l1_w": _i16(37, measured=False),
    "disable_charge": _u16(38, measured=False),
    "disable_feed_in": _u16(39, measured=False),
    "setpoint_l2_w": _i16(40, measured=False),
    "setpoint_l3_w": _i16(41, measured=False),
    "allow_charge": _u16(57, measured=False),
    "allow_discharge": _u16(58, measured=False),
    "setpoint32_l1_w": _i32(96, measured=False),
    "setpoint32_l2_w": _i32(98, measured=False),
    "setpoint32_l3_w": _i32(100, measured=False),
}
# Phases 2 and 3 do not exist here: their setpoints have no value and cannot be written.
VEBUS_WRITABLE = (
    "in_limit_a",
    "mode",
    "setpoint_l1_w",
    "disable_charge",
    "disable_feed_in",
    "setpoint32_l1_w",
)

BATTERY = {
    "power_w": _i16(258),
    "voltage_v": _u16(259, 100),
    "current_a": _i16(261, 10),
    "temperature_degc": _i16(262, 10),
    "soc_pct": _u16(266, 10),
    "alarm": _u16(267, measured=False),
    "alarm_low_voltage": _u16(268, measured=False),
    "alarm_high_voltage": _u16(269, measured=False),
    "soh_pct": _u16(304, 10),
    "charge_voltage_v": _u16(305, 10),
    "low_voltage_v": _u16(306, 10),
    "charge_limit_a": _u16(307, 10),
    "discharge_limit_a": _u16(308, 10),
    "capacity_ah": _u16(309, 10),
    "state": _u16(1282, measured=False),
    "error": _u16(1283, measured=False),
}


class VictronGx(SimulatedDevice):
    """ESS modes 1 and 2 keep the grid at its setpoint; mode 3 follows a lease of 60 s."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        super().__init__(entry)
        self.charge_max_kw = float(entry["charge_max_kw"])
        self.discharge_max_kw = float(entry["discharge_max_kw"])
        self.capacity_kwh = float(entry["capacity_kwh"])
        self._timer = DeadMan()
        self._leased = False
        self._system = self._serve(SYSTEM_UNIT, _system_unit())
        self._vebus = self._serve(int(entry["unit"]), _vebus_unit())
        self._vebus.validate = self._validate
        self._vebus.written = self._written
        bms = entry.get("battery_unit")
        self._battery = None if bms is None else self._serve(int(bms), _battery_unit())

    def _validate(self, address: int, words: Sequence[int]) -> None:
        mode = self._vebus.proposed("mode", address, words)
        if mode is not None and not CHARGER_ONLY <= mode <= OFF:
            raise IllegalRequestError(ILLEGAL_VALUE)

    def _written(self, address: int, count: int) -> None:
        vebus = self._vebus
        narrow = vebus.touches(address, count, "setpoint_l1_w")
        if narrow or vebus.touches(address, count, "setpoint32_l1_w"):
            source = "setpoint_l1_w" if narrow else "setpoint32_l1_w"
            self._show_setpoint(vebus.number(source))
            self._timer.arm(self.now_s, SETPOINT_HOLDS_S)
            self._leased = True

    def _show_setpoint(self, watts: float) -> None:
        self._vebus.put("setpoint_l1_w", watts)
        self._vebus.put("setpoint32_l1_w", watts)

    def _tick(self) -> None:
        if self._timer.lapsed(self.now_s):
            self._leased = False  # the register keeps its value: only the power tells

    @property
    def _external(self) -> bool:
        return self._system.number("hub4_mode") == EXTERNAL

    def _publish(self, state: PlantState) -> None:
        battery = own_battery(state, self.name)
        self._publish_system(state, battery)
        self._publish_vebus(state, battery)
        if self._battery is not None:
            self._publish_battery(self._battery, battery)

    def _publish_system(self, state: PlantState, battery: BatteryState) -> None:
        put = self._system.put
        put("pv_on_output_l1_w", 0)
        put("pv_on_input_l1_w", sum(i.power_kw for i in state.pv) * W_PER_KW)
        put("consumption_l1_w", state.served_kw * W_PER_KW)
        put("grid_l1_w", state.grid_kw * W_PER_KW if state.grid_connected else None)
        put("genset_l1_w", state.generator.power_kw * W_PER_KW if state.generator else None)
        sources = {"grid": 1, "generator": 2}
        put("active_source", sources.get(state.mode, 240))
        put("battery_v", battery.voltage_v)
        put("battery_a", -battery.current_a)
        put("battery_w", -battery.dc_kw * W_PER_KW)
        put("soc_pct", 100 * battery.soc_frac)
        direction = 0 if abs(battery.dc_kw) < 0.01 else 1 if battery.dc_kw < 0 else 2
        put("battery_state", direction)
        put("pv_dc_w", 0)

    def _publish_vebus(self, state: PlantState, battery: BatteryState) -> None:
        put = self._vebus.put
        volts = state.bus_voltage_v[0]
        alone = battery.grid_forming
        into_w = 0.0 if alone else -battery.power_kw * W_PER_KW
        out_w = battery.power_kw * W_PER_KW if alone else 0.0
        put("in_l1_v", 0 if alone else volts)
        put("in_l1_a", into_w / volts if volts > 1 else 0)
        put("in_l1_hz", 0 if alone else state.bus_frequency_hz)
        put("in_l1_w", into_w)
        put("out_l1_v", volts)
        put("out_l1_a", out_w / volts if volts > 1 else 0)
        put("out_l1_hz", state.bus_frequency_hz)
        put("out_l1_w", out_w)
        put("dc_v", battery.voltage_v)
        put("dc_a", -battery.current_a)
        put("active_input", 240 if alone else 0)
        put("soc_pct", 100 * battery.soc_frac)
        put("state", self._vebus_state(battery))
        put("allow_charge", battery.charge_limit_kw > 0)
        put("allow_discharge", battery.discharge_limit_kw > 0)
        if not self._external:
            self._show_setpoint(into_w)  # the GX's own control loop writes here all the time

    def _vebus_state(self, battery: BatteryState) -> int:
        if battery.state == "off":
            return STATE_OFF
        if battery.grid_forming:
            return STATE_INVERTING
        if self._external:
            return STATE_EXTERNAL if self._leased else STATE_PASSTHRU
        return STATE_BULK if battery.power_kw < 0 else STATE_EXTERNAL

    def _publish_battery(self, unit: Unit, battery: BatteryState) -> None:
        put = unit.put
        volts = battery.voltage_v
        put("power_w", -battery.dc_kw * W_PER_KW)
        put("voltage_v", volts)
        put("current_a", -battery.current_a)
        put("temperature_degc", battery.temperature_degc)
        put("soc_pct", 100 * battery.soc_frac)
        put("charge_voltage_v", 1.1 * volts if volts > 1 else None)
        put("low_voltage_v", 0.85 * volts if volts > 1 else None)
        put("charge_limit_a", battery.charge_limit_kw * W_PER_KW / volts if volts > 1 else 0)
        put("discharge_limit_a", battery.discharge_limit_kw * W_PER_KW / volts if volts > 1 else 0)
        put("capacity_ah", self.capacity_kwh * W_PER_KW / volts if volts > 1 else None)

    def _commands(self) -> Controls:
        if self._vebus.number("mode") == OFF:
            return Controls(battery_off=True)
        low_kw, high_kw = self._bounds_kw()
        if self._external:
            wanted_kw = -self._vebus.number("setpoint32_l1_w") / W_PER_KW if self._leased else 0.0
        elif self.state is None:
            return Controls()
        else:
            target_kw = self._grid_target_kw()
            wanted_kw = self_consumption_kw(self.state, self.name, target_kw)
            if target_kw == 0 and low_kw <= wanted_kw <= high_kw:
                return Controls()  # plain self-consumption is what the inverter does by itself
        return Controls(battery_kw=min(max(wanted_kw, low_kw), high_kw))

    def _grid_target_kw(self) -> float:
        system = self._system
        volatile_w = system.get("grid_setpoint_volatile_w")
        return (system.number("grid_setpoint_w") if volatile_w is None else volatile_w) / W_PER_KW

    def _bounds_kw(self) -> tuple[float, float]:
        """The least and the most that switches, limits and the minimum SOC allow."""
        system, vebus = self._system, self._vebus
        low_kw, high_kw = -self.charge_max_kw, self.discharge_max_kw
        battery = None if self.state is None else own_battery(self.state, self.name)
        amps = system.number("max_charge_a")
        if amps != NO_LIMIT and battery is not None:
            low_kw = max(low_kw, -amps * battery.voltage_v / W_PER_KW)
        watts = system.get("max_discharge_w")
        if watts is not None:
            high_kw = min(high_kw, watts / W_PER_KW)
        mode = vebus.number("mode")
        if mode == INVERTER_ONLY or vebus.number("disable_charge"):
            low_kw = 0.0
        short = battery is not None and 100 * battery.soc_frac <= system.number("min_soc_pct")
        if (
            mode == CHARGER_ONLY
            or vebus.number("disable_feed_in")
            or (short and not self._external)
        ):
            high_kw = 0.0
        return low_kw, high_kw


def _system_unit() -> Unit:
    unit = Unit(points=SYSTEM)
    unit.allow_writes(SYSTEM_WRITABLE)
    unit.put_text(800, "c0ffee000001", 6)
    for name, value in (
        ("grid_setpoint_w", 0),
        ("grid_setpoint_coarse_w", 0),
        ("max_charge_a", NO_LIMIT),
        ("battery_life_state", 10),
        ("min_soc_pct", 10),
        ("hub4_mode", SELF_CONSUMPTION),
    ):
        unit.put(name, value)
    return unit


def _vebus_unit() -> Unit:
    unit = Unit(points=VEBUS)
    unit.allow_writes(VEBUS_WRITABLE)
    for name, value in (
        ("in_limit_a", 50),
        ("phases", 1),
        ("error", 0),
        ("mode", ON),
        ("alarm_high_temperature", 0),
        ("alarm_low_battery", 0),
        ("alarm_overload", 0),
        ("setpoint_l1_w", 0),
        ("setpoint32_l1_w", 0),
        ("disable_charge", 0),
        ("disable_feed_in", 0),
    ):
        unit.put(name, value)
    return unit


def _battery_unit() -> Unit:
    unit = Unit(points=BATTERY)
    for name in ("alarm", "alarm_low_voltage", "alarm_high_voltage", "error"):
        unit.put(name, 0)
    unit.put("state", 9)
    unit.put("soh_pct", 100)
    return unit
