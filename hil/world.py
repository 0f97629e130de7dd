"""The world around one controller: plant, simulated devices behind sockets, the Pi's pins."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hil.buses import Buses
from hil.devices.deepsea_gencomm import DeepSeaGenComm
from hil.fake_pi import FakePi, PiFault
from hil.inputs import load_source, weather_source
from hil.plant import Controls, Plant, PlantParameters, PlantState
from hil.scenario import SITE_FAULTS, Fault, LoadedScenario, ScenarioError
from hil.wire_faults import Fault as WireFault

STEP_S = 1.0  # the plant's longest step
SENSOR_NOISE_V = 0.0004

Watcher = Callable[[PlantState, float, float], None]  # state, its UTC, length of the step


class World:
    """Advances plant and devices together; `advance` may run in a thread beside the servers."""

    def __init__(self, loaded: LoadedScenario, start_utc_s: float) -> None:
        """Start the servers; raises ScenarioError."""
        self.loaded = loaded
        scenario = loaded.scenario
        self.start_utc_s = start_utc_s
        truth = {"seed": scenario.scenario.seed, **scenario.plant}
        try:
            self.parameters = PlantParameters.from_site(loaded.site_table, truth)
        except ValueError as error:
            raise ScenarioError([f"{loaded.path}: {error}"]) from None
        self.weather = weather_source(loaded, self.parameters.pv, start_utc_s)
        self.load = load_source(loaded, start_utc_s)
        self.plant = Plant(self.parameters, self._weather_at(0.0), self._load_at(0.0))
        self.pi = self._fake_pi()
        self.buses = Buses(loaded.site_table, frozenset(scenario.der))
        self.elapsed_s = 0.0
        self.watchers: list[Watcher] = []
        self._active: set[Fault] = set()
        self.lock = threading.Lock()
        self._show()

    def close(self) -> None:
        """Stop the servers."""
        self.buses.close()

    def site(self) -> Mapping[str, Any]:
        """The site's table with the simulated addresses."""
        return self.buses.site()

    def utc_s(self) -> float:
        """The world's time."""
        return self.start_utc_s + self.elapsed_s

    def advance(self, to_s: float) -> None:
        """Go on to `to_s` seconds after the start."""
        with self.lock:
            while to_s - self.elapsed_s > 1e-9:
                self._step(min(STEP_S, to_s - self.elapsed_s))

    def _step(self, dt_s: float) -> None:
        self._switch_faults()
        end_s = self.elapsed_s + dt_s
        controls = self._controls(end_s)
        weather, load_kw = self._weather_at(self.elapsed_s), self._load_at(self.elapsed_s)
        state = self.plant.step(dt_s, weather, load_kw, controls)
        self.elapsed_s = end_s
        self._show()
        for watch in self.watchers:
            watch(state, self.start_utc_s + end_s, dt_s)

    def _weather_at(self, elapsed_s: float) -> Any:
        present = not self.loaded.scenario.outage_at(elapsed_s)
        return self.weather.at(self.start_utc_s + elapsed_s, present)

    def _load_at(self, elapsed_s: float) -> float:
        wanted_kw = self.load.at(self.start_utc_s + elapsed_s)
        return wanted_kw + self.loaded.scenario.steps_kw(elapsed_s)

    def _controls(self, now_s: float) -> Controls:
        """What the devices command, and what the scenario breaks in the plant."""
        pin = self.loaded.site.gpio.generator_relay_pin
        if pin is not None:
            for generator in self.loaded.site.generator:
                device = self.buses.devices[generator.name]
                if generator.start == "relay" and isinstance(device, DeepSeaGenComm):
                    device.remote_start = self.pi.output(pin) == 1
        controls = self.buses.controls(now_s)
        if not self._active:
            return controls
        units = {name: self._broken(name, own) for name, own in controls.units.items()}
        return replace(self._broken("", controls), units=units)

    def _broken(self, name: str, controls: Controls) -> Controls:
        """What the scenario breaks in a set; without a target in every one."""
        kinds = {
            fault.kind for fault in self._active if not (name and fault.target not in ("", name))
        }
        if not kinds & {"generator_trip", "generator_stop", "generator_crank_fails"}:
            return controls
        return replace(
            controls,
            generator_trip="generator_trip" in kinds,
            generator_stop="generator_stop" in kinds,
            generator_crank_fails="generator_crank_fails" in kinds,
        )

    def _show(self) -> None:
        """Let devices and pins see the plant."""
        self.buses.update(self.plant.state, self.elapsed_s)
        sensor = self.loaded.site.irradiance
        if sensor is not None:
            scale = sensor.gain * sensor.w_m2_per_v
            volts = self.plant.state.weather.ghi_w_m2 / scale + sensor.offset_v
            self.pi.set_voltage(sensor.channel, volts)

    def _fake_pi(self) -> FakePi:
        sensor, gpio = self.loaded.site.irradiance, self.loaded.site.gpio
        pi = FakePi(
            sensor.adc if sensor else "mcp3208",
            sensor.reference_v if sensor else 3.3,
            SENSOR_NOISE_V,
            self.loaded.scenario.scenario.seed,
            spi=(sensor.spi_bus, sensor.spi_device) if sensor else (0, 0),
        )
        if gpio.emergency_stop_pin is not None:
            pi.set_input(gpio.emergency_stop_pin, 0)  # the closed contact
        if sensor is not None and sensor.reference_channel is not None:
            pi.set_voltage(sensor.reference_channel, sensor.reference_channel_v or 0.0)
        return pi

    def _switch_faults(self) -> None:
        for fault in self.loaded.scenario.fault:
            begin_s = fault.at_h * 3600.0
            wanted = begin_s <= self.elapsed_s < begin_s + fault.for_s
            if wanted != (fault in self._active):
                (self._active.add if wanted else self._active.discard)(fault)
                self._switch(fault, wanted)

    def _switch(self, fault: Fault, active: bool) -> None:
        if fault.kind == "emergency_stop":
            pin = self.loaded.site.gpio.emergency_stop_pin
            if pin is not None:
                self.pi.set_input(pin, None if active else 0)
        elif fault.kind in SITE_FAULTS:
            return  # `_controls` looks at them
        elif fault.target in self.buses.buses or fault.target in self.buses.devices:
            self.buses.set_fault(_wire_fault(fault.kind), fault.target, active)
        else:
            channel = int(fault.target) if fault.target else None
            change = self.pi.inject if active else self.pi.clear
            change(PiFault(fault.kind), channel)


def _wire_fault(kind: str) -> WireFault:
    return next(fault for fault in WireFault if fault.value == kind)
