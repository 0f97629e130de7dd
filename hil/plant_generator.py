"""Diesel generator of the simulated plant, with the state machine of its own controller."""

from dataclasses import dataclass
from math import exp

from hil.plant_records import Controls, Electrics, GeneratorState

DIESEL_KWH_PER_L = 9.96  # lower heating value
CRANK_TRY_S = 10.0  # an engine that does not fire is cranked this long,
CRANK_REST_S = 10.0  # rests this long,
CRANK_TRIES = 3  # and is given up after so many tries
TURNING = frozenset(("warming", "running", "cooling"))


@dataclass(frozen=True, slots=True)
class GeneratorTruth:
    """A generator as it really is."""

    name: str
    rated_kw: float
    min_load_frac: float = 0.3
    start_s: float = 5.0  # from the request to the engine running by itself
    warm_up_s: float = 60.0
    cool_down_s: float = 120.0
    ramp_kw_per_s: float = 1.2  # in parallel, or while a battery can carry the difference
    base_load_frac: float = 0.75  # in parallel with the grid without a setpoint
    derating_fuel: float = 0.03  # k1 and k2 of Qian 2024, eq. 3
    derating_load: float = 0.02
    fuel_no_load_l_per_h_per_kw: float = 0.08
    fuel_linear_l_per_kwh: float = 0.246
    fuel_quadratic_l_per_kw2h: float = 0.0
    tank_l: float = 60.0
    initial_fuel_frac: float = 0.8
    reverse_limit_frac: float = 0.08
    reverse_trip_s: float = 5.0
    nominal_hz: float = 50.0
    nominal_v: float = 230.0


def machine(nominal: Electrics, load_frac: float) -> Electrics:
    """Governor and voltage regulator by the load, breaker open (0) or closed."""
    return nominal[0] * (1.002 - 0.004 * load_frac), nominal[1] * (1.01 - 0.02 * load_frac)


class Generator:
    """Phases, breaker, fuel and protections; the bus says the power."""

    __slots__ = (
        "_alarm",
        "_available_kw",
        "_coolant_degc",
        "_elapsed_s",
        "_energy_kwh",
        "_fuel_l",
        "_locked_out",
        "_reverse_s",
        "_run_request",
        "_run_s",
        "_starts",
        "_tries",
        "_truth",
        "_used_l",
        "_warm",
        "_will_fire",
        "phase",
        "power_kw",
    )

    def __init__(self, truth: GeneratorTruth, ambient_degc: float) -> None:
        self._truth = truth
        self.phase = "stopped"
        self.power_kw = 0.0  # of the last step
        self._available_kw = truth.rated_kw
        self._coolant_degc = ambient_degc
        self._elapsed_s = 0.0
        self._energy_kwh = 0.0
        self._fuel_l = truth.initial_fuel_frac * truth.tank_l
        self._used_l = 0.0
        self._warm = False  # has been through its warm-up since it started
        self._locked_out = False
        self._alarm = ""
        self._reverse_s = 0.0
        self._run_request = False
        self._run_s = 0.0
        self._starts = 0
        self._tries = 0
        self._will_fire = True

    @property
    def on_bus(self) -> bool:
        """The breaker is closed: warmed up and asked to run."""
        return self.phase == "running"

    @property
    def rated_kw(self) -> float:
        """Rating on the nameplate."""
        return self._truth.rated_kw

    @property
    def available_kw(self) -> float:
        """Power after derating."""
        return self._available_kw

    @property
    def used_l(self) -> float:
        """Fuel used since the start."""
        return self._used_l

    def look(self, controls: Controls, load_kw: float) -> None:
        """Take the requests of a step; what stops the set does so before the step."""
        truth = self._truth
        self._fuel_l = min(truth.tank_l, self._fuel_l + controls.refuel_l)
        self._run_request = controls.generator_run
        self._will_fire = not controls.generator_crank_fails
        if controls.generator_trip:
            self._lock_out("tripped")
        elif controls.generator_reset and self._locked_out:
            self._locked_out, self._alarm = False, ""
        if controls.generator_stop:
            self._halt(self._alarm if self._locked_out else "emergency stop")
        elif not self._locked_out:
            self._alarm = ""
            self._obey()
        self._available_kw = self._derated_kw(load_kw)

    def _obey(self) -> None:
        if self._run_request and self.phase == "stopped":
            if self._fuel_l > 0.0:
                self._enter("starting")
                self._tries = 1
            else:
                self._alarm = "out of fuel"
        elif self._run_request and self.phase == "cooling":
            self._enter("running" if self._warm else "warming")
        elif not self._run_request and self.phase == "starting":
            self._enter("stopped")
        elif not self._run_request and self.phase in ("warming", "running"):
            self._enter("cooling")

    def _derated_kw(self, load_kw: float) -> float:
        """Qian 2024, eq. 3, with the fuel's heat at rated power and the load at most rated."""
        truth = self._truth
        rated = truth.rated_kw
        fuel_kw = DIESEL_KWH_PER_L * self._fuel_rate_l_per_h(rated)
        load_frac = min(1.0, load_kw / rated)
        return (
            rated
            * (1.0 - truth.derating_fuel * rated / fuel_kw)
            * (1.0 - truth.derating_load * load_frac)
        )

    def parallel_kw(self, dt_s: float, setpoint_kw: float | None) -> float:
        """Power in parallel with the grid: ramps to its setpoint or its base load."""
        if not self.on_bus:
            return 0.0
        wanted = self._truth.base_load_frac * self._truth.rated_kw
        if setpoint_kw is not None:
            wanted = setpoint_kw
        wanted = min(self._available_kw, max(0.0, wanted))
        reach = self._truth.ramp_kw_per_s * dt_s
        now = max(0.0, self.power_kw)
        return min(self._available_kw, max(now - reach, min(now + reach, wanted)))

    def soft_kw(self, dt_s: float) -> float:
        """Power within its ramp; beyond that a load step makes the frequency dip."""
        return min(self._available_kw, max(0.0, self.power_kw) + self._truth.ramp_kw_per_s * dt_s)

    def low_load(self, power_kw: float) -> bool:
        """On the bus below the load that keeps the engine healthy."""
        return self.on_bus and power_kw < self._truth.min_load_frac * self._truth.rated_kw

    def settle(self, dt_s: float, power_kw: float, ambient_degc: float) -> GeneratorState:
        """Book a step at constant power and let the time-outs run."""
        self.power_kw = power_kw
        self._energy_kwh += max(0.0, power_kw) * dt_s / 3600.0
        was_on_bus = self.on_bus
        used_l = self._used_l
        self._protect(dt_s)
        self._advance(dt_s)
        rate = (self._used_l - used_l) / dt_s * 3600.0
        self._heat(dt_s, ambient_degc)
        return self._state(was_on_bus and self.on_bus, rate)

    def _protect(self, dt_s: float) -> None:
        reverse = self.power_kw < -self._truth.reverse_limit_frac * self._truth.rated_kw
        self._reverse_s = self._reverse_s + dt_s if reverse else 0.0

    def _advance(self, dt_s: float) -> None:
        """Burn fuel and change phases; a long step can pass through several."""
        left_s = dt_s
        while left_s > 0.0 and self.phase != "stopped":
            due_s = self._due_s()
            part_s = min(left_s, max(0.0, due_s - self._elapsed_s))
            self._burn(part_s)
            self._elapsed_s += part_s
            left_s -= part_s
            if self.phase in TURNING and self._fuel_l <= 0.0:
                self._halt("out of fuel")
            elif self._elapsed_s >= due_s:
                self._next_phase()
        if self._reverse_s >= self._truth.reverse_trip_s:
            self._lock_out("reverse power")

    def _due_s(self) -> float:
        if self.phase == "starting":
            if self._will_fire:
                return self._truth.start_s
            return CRANK_TRY_S + CRANK_REST_S
        if self.phase == "warming":
            return self._truth.warm_up_s
        return self._truth.cool_down_s if self.phase == "cooling" else float("inf")

    def _next_phase(self) -> None:
        if self.phase == "starting":
            if self._will_fire:
                self._starts += 1
                self._enter("warming")
            elif self._tries < CRANK_TRIES:
                self._tries += 1
                self._elapsed_s = 0.0
            else:
                self._lock_out("failed to start")
        else:
            self._warm = self.phase == "warming"
            self._enter("running" if self._warm else "stopped")

    def _burn(self, part_s: float) -> None:
        if self.phase not in TURNING:
            return
        power_kw = max(0.0, self.power_kw) if self.phase == "running" else 0.0
        used = min(self._fuel_l, self._fuel_rate_l_per_h(power_kw) * part_s / 3600.0)
        self._fuel_l -= used
        self._used_l += used
        self._run_s += part_s

    def _fuel_rate_l_per_h(self, power_kw: float) -> float:
        truth = self._truth
        return (
            truth.fuel_no_load_l_per_h_per_kw * truth.rated_kw
            + truth.fuel_linear_l_per_kwh * power_kw
            + truth.fuel_quadratic_l_per_kw2h * power_kw * power_kw
        )

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self._elapsed_s = 0.0

    def _halt(self, alarm: str) -> None:
        self._enter("stopped")
        self._warm = False
        self._alarm = alarm
        self._reverse_s = 0.0

    def _lock_out(self, alarm: str) -> None:
        self._halt(alarm)
        self._locked_out = True

    def _heat(self, dt_s: float, ambient_degc: float) -> None:
        target, tau_s = ambient_degc, 3600.0
        if self.phase in TURNING:
            target = 75.0 + 13.0 * max(0.0, self.power_kw) / self._truth.rated_kw
            tau_s = 240.0
        self._coolant_degc += (1.0 - exp(-dt_s / tau_s)) * (target - self._coolant_degc)

    def _state(self, carrying: bool, fuel_l_per_h: float) -> GeneratorState:
        truth = self._truth
        frequency_hz = voltage_v = rpm = 0.0
        if self.phase in TURNING:
            load_frac = self.power_kw / truth.rated_kw if carrying else 0.0
            frequency_hz, voltage_v = machine((truth.nominal_hz, truth.nominal_v), load_frac)
            rpm = 30.0 * frequency_hz  # four poles
        elif self.phase == "starting" and self._elapsed_s < CRANK_TRY_S:
            rpm = 200.0
        return GeneratorState(
            self.power_kw,
            self.phase,
            self.on_bus,
            self._available_kw,
            rpm,
            frequency_hz,
            voltage_v,
            self._coolant_degc,
            self._fuel_l,
            self._fuel_l / truth.tank_l,
            fuel_l_per_h,
            self._starts,
            self._run_s / 3600.0,
            self._energy_kwh,
            self._locked_out,
            self._alarm,
        )
