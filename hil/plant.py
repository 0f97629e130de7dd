"""The simulated plant: PV, wind, battery, generator, load and grid on one AC bus.

Deterministic: the same parameters and the same inputs give the same states. A step may be from
0.01 s to 60 s long; powers are constant over it, and every kWh is booked somewhere (`Energy`).
With the grid present the grid takes the difference; on an island the generator does while it is on
the bus, else the battery inverter, else the bus is black.
"""

from dataclasses import replace

from hil.plant_banks import BatteryBank, GeneratorBank
from hil.plant_battery import Battery
from hil.plant_bus import Bus, Flows
from hil.plant_electrics import DARK, at_meter, on_battery, on_generator
from hil.plant_generator import Generator
from hil.plant_inverters import Inverter, PvInverter, WindInverter
from hil.plant_parameters import PlantParameters
from hil.plant_records import (
    BatteryState,
    Controls,
    Electrics,
    Energy,
    GeneratorState,
    InverterState,
    PlantState,
    Weather,
)
from hil.plant_totals import Totals

__all__ = [
    "BatteryState",
    "Controls",
    "Energy",
    "GeneratorState",
    "InverterState",
    "Plant",
    "PlantParameters",
    "PlantState",
    "Weather",
]

FIRST_LOOK_S = 1e-6  # long enough for a first state, too short to matter
BLACK_START_STANDBYS = 5.0  # sun or wind it takes to start a black bus on an empty battery,
HOLD_STANDBYS = 1.5  # and to keep it up, in multiples of the battery inverter's standby power


def _battery(parameters: PlantParameters) -> Battery | BatteryBank | None:
    if parameters.batteries:
        return BatteryBank(parameters.batteries)
    return Battery(parameters.battery) if parameters.battery else None


def _generator(
    parameters: PlantParameters, ambient_degc: float
) -> Generator | GeneratorBank | None:
    if parameters.generators:
        return GeneratorBank(parameters.generators, ambient_degc)
    return Generator(parameters.generator, ambient_degc) if parameters.generator else None


class Plant:
    """The whole plant; `state` is that of the last step."""

    def __init__(self, parameters: PlantParameters, weather: Weather, load_kw: float) -> None:
        self.parameters = parameters
        self._pv = [PvInverter(truth) for truth in parameters.pv]
        self._wind = [WindInverter(truth) for truth in parameters.wind]
        self._inverters: list[Inverter] = [*self._pv, *self._wind]
        self._battery = _battery(parameters)
        self._generator = _generator(parameters, weather.ambient_degc)
        self._bus = Bus(self._pv, self._wind, self._battery, self._generator)
        self._t_s = 0.0
        self._present_s = float("inf")  # since the utility came back
        self._enough_s = 0.0  # since a black bus sees enough sun or wind to start on
        self._black = False
        self._totals = Totals()
        self.state = self.step(FIRST_LOOK_S, weather, load_kw, Controls())

    def step(self, dt_s: float, weather: Weather, load_kw: float, controls: Controls) -> PlantState:
        """Go on by `dt_s` with constant weather, load (>= 0) and controls."""
        available_kw = 0.0
        for inverter in self._inverters:
            available_kw += inverter.look(weather)
        if isinstance(self._battery, BatteryBank):
            self._battery.heed(controls)
            controls = self._as_one(controls)
        if self._battery is not None:
            self._battery.look(dt_s)
        if self._generator is not None:
            self._generator.look(controls, load_kw)
        mode = self._mode(dt_s, weather, controls, available_kw)
        for inverter in self._inverters:
            name = inverter.name
            connected = mode != "black" and name not in controls.inverters_off
            inverter.offer(dt_s, controls.pv_limit_kw.get(name), connected)
        flows = self._flows(mode, dt_s, load_kw, controls)
        self.state = self._settle(mode, dt_s, weather, load_kw, controls, flows)
        return self.state

    def _as_one(self, controls: Controls) -> Controls:
        """What is wanted of all batteries; their setpoints are with each of them."""
        if not controls.units:
            return controls
        off = [controls.of(each.name).battery_off for each in self.parameters.batteries]
        return replace(controls, battery_off=all(off), battery_kw=None)

    def _mode(self, dt_s: float, weather: Weather, controls: Controls, available_kw: float) -> str:
        """Who holds the bus in this step."""
        if self._grid_connected(dt_s, weather):
            mode = "grid"
        elif self._generator is not None and self._generator.on_bus:
            mode = "generator"
        elif self._battery_forms(dt_s, controls, available_kw):
            mode = "battery"
        else:
            mode = "black"
        self._black = mode == "black"
        return mode

    def _grid_connected(self, dt_s: float, weather: Weather) -> bool:
        grid = self.parameters.grid
        if grid is None:
            return False
        connected = weather.grid_present and self._present_s >= grid.reconnect_s
        self._present_s = self._present_s + dt_s if weather.grid_present else 0.0
        return connected

    def _battery_forms(self, dt_s: float, controls: Controls, available_kw: float) -> bool:
        """An empty battery can form the grid only for the sun or wind that then feeds it."""
        battery = self._battery
        if battery is None or controls.battery_off:
            return False
        if not battery.empty:
            return True
        if not battery.can_wait(dt_s):
            return False
        if not self._black:
            return available_kw > HOLD_STANDBYS * battery.standby_kw
        enough = available_kw > BLACK_START_STANDBYS * battery.standby_kw
        self._enough_s = self._enough_s + dt_s if enough else 0.0
        return self._enough_s > self.parameters.black_start_s

    def _flows(self, mode: str, dt_s: float, load_kw: float, controls: Controls) -> Flows:
        if mode == "grid":
            return self._bus.on_grid(dt_s, load_kw, controls)
        if mode == "generator" and self._generator is not None:
            return self._bus.on_generator(self._generator, dt_s, load_kw, controls)
        if mode == "battery" and self._battery is not None:
            return self._bus.on_battery(self._battery, load_kw)
        return Flows(unserved_kw=load_kw)

    def _settle(
        self,
        mode: str,
        dt_s: float,
        weather: Weather,
        load_kw: float,
        controls: Controls,
        flows: Flows,
    ) -> PlantState:
        curtailed_kw = self._book(mode, dt_s, load_kw, flows)
        battery = self._settle_battery(mode, dt_s, controls, flows)
        generator = self._settle_generator(mode, dt_s, weather, flows)
        meter = DARK
        if self.parameters.grid is not None and weather.grid_present:
            meter = at_meter(self.parameters.grid, self._t_s, flows.grid_kw)
        bus = self._bus_electrics(mode, meter, load_kw, flows)
        self._t_s += dt_s
        return PlantState(
            self._t_s,
            weather,
            tuple([inverter.settle(dt_s) for inverter in self._pv]),
            tuple([turbine.settle(dt_s) for turbine in self._wind]),
            battery,
            generator,
            mode,
            load_kw,
            load_kw - flows.unserved_kw,
            flows.unserved_kw,
            curtailed_kw,
            flows.dumped_kw,
            flows.grid_kw,
            meter is not DARK,
            mode == "grid",
            meter[0],
            (meter[1], meter[1], meter[1]),
            bus[0],
            (bus[1], bus[1], bus[1]),
            self._totals.snapshot(),
            dict(self._battery.states) if isinstance(self._battery, BatteryBank) else {},
            dict(self._generator.states) if isinstance(self._generator, GeneratorBank) else {},
        )

    def _book(self, mode: str, dt_s: float, load_kw: float, flows: Flows) -> float:
        """Everything but the battery's losses and the fuel; returns the curtailed power."""
        totals, step_h = self._totals, dt_s / 3600.0
        pv_kw = wind_kw = curtailed_kw = 0.0
        for inverter in self._pv:
            pv_kw += inverter.power_kw
            curtailed_kw += inverter.curtailed_kw
        for turbine in self._wind:
            wind_kw += turbine.power_kw
            curtailed_kw += turbine.curtailed_kw
        totals.book_sources(step_h, pv_kw, wind_kw, flows.generator_kw)
        totals.book_load(step_h, load_kw, flows.unserved_kw, curtailed_kw, flows.dumped_kw)
        totals.book_battery(step_h, flows.battery_kw)
        if mode == "grid" and self.parameters.grid is not None:
            grid = self.parameters.grid
            totals.book_grid(step_h, flows.grid_kw, grid.import_max_kw, grid.export_max_kw)
        elif mode == "black":
            totals.black_s += dt_s
        return curtailed_kw

    def _settle_battery(
        self, mode: str, dt_s: float, controls: Controls, flows: Flows
    ) -> BatteryState | None:
        battery = self._battery
        if battery is None:
            return None
        on = mode != "black" and not controls.battery_off
        forming = mode == "battery"
        setpoint_kw = controls.battery_kw if on and not forming else None
        state = battery.settle(dt_s, flows.battery_kw, on, setpoint_kw, forming)
        self._totals.battery_loss_kwh = battery.loss_kwh
        return state

    def _settle_generator(
        self, mode: str, dt_s: float, weather: Weather, flows: Flows
    ) -> GeneratorState | None:
        generator = self._generator
        if generator is None:
            return None
        if generator.low_load(flows.generator_kw):
            self._totals.generator_low_load_s += dt_s
        state = generator.settle(dt_s, flows.generator_kw, weather.ambient_degc)
        self._totals.fuel_l = generator.used_l
        return state

    def _bus_electrics(
        self,
        mode: str,
        meter: Electrics,
        load_kw: float,
        flows: Flows,
    ) -> Electrics:
        if mode == "grid":
            return meter
        parameters = self.parameters
        nominal = (parameters.nominal_hz, parameters.nominal_v)
        willing_kw = sum(inverter.power_kw for inverter in self._pv) + flows.throttled_kw
        if mode == "generator" and self._generator is not None:
            load_frac = flows.generator_kw / self._generator.rated_kw
            return on_generator(nominal, load_frac, willing_kw, load_kw, flows)
        if mode == "battery" and self._battery is not None:
            load_frac = flows.battery_kw / self._battery.rated_kw
            empty = self._battery.empty
            return on_battery(nominal, load_frac, empty, willing_kw, load_kw, flows)
        return DARK
