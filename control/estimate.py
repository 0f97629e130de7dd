"""From one sample to an estimate of the plant: hold what is briefly missing, name what is gone."""

from dataclasses import dataclass, field, replace

from control.records import InverterMeasurement, Observed, Sample
from control.site import GridParameters, SiteParameters
from control.state import Estimate, Held, State

DARK_W_M2 = 10.0  # below this a silent PV inverter is asleep, not missing
DARK_ELEVATION_DEG = -0.5
PV_YIELD_FRAC = 0.8  # of rating per 1000 W/m2, for an inverter that stays silent by day
GRID_SETTLE_S = 5.0  # the grid counts as back after this long inside its band


@dataclass
class _Holder:
    """Lets the last good value of each quantity stand in for `hold_s`."""

    now_s: float
    hold_s: float
    old: dict[str, Held]
    new: dict[str, Held] = field(default_factory=dict)

    def __call__(self, key: str, value: float | None) -> float | None:
        if value is not None:
            self.new[key] = Held(value, self.now_s)
            return value
        held = self.old.get(key)
        if held is None or self.now_s - held.t_s > self.hold_s:
            return None
        self.new[key] = held
        return held.value


def estimate(site: SiteParameters, state: State, sample: Sample) -> State:
    """Return `state` with the estimate for this cycle.

    A quantity without a good measurement keeps its last value for `site.hold_s`, then becomes
    unknown and its device is listed as missing.
    """
    hold = _Holder(sample.t_s, site.hold_s, dict(state.held))
    missing: list[str] = []
    pv_kw = _pv_kw(site, sample, hold, missing)
    wind_kw = _wind_kw(site, sample, hold, missing)
    battery_kw, soc_frac, charge_kw, discharge_kw = _battery(site, sample, hold, missing)
    generator_kw, phase, available = _generator(site, state, sample, hold, missing)
    grid_kw, present, seen_s = _grid(site, state, sample, hold, missing)
    parts = (pv_kw, wind_kw, battery_kw, generator_kw, grid_kw)
    known = [part for part in parts if part is not None]
    load_kw = max(0.0, sum(known)) if len(known) == len(parts) else None
    pressed = _emergency(site, sample)
    return replace(
        state,
        held=tuple(hold.new.items()),
        grid_seen_s=seen_s,
        emergency_latched=state.emergency_latched or pressed,
        estimate=Estimate(
            pv_kw=pv_kw,
            wind_kw=wind_kw,
            battery_kw=battery_kw,
            generator_kw=generator_kw,
            grid_kw=grid_kw,
            load_kw=hold("load", load_kw),
            soc_frac=soc_frac,
            charge_limit_kw=charge_kw,
            discharge_limit_kw=discharge_kw,
            grid_present=present,
            generator_phase=phase,
            generator_available=available,
            emergency_stop=pressed,
            missing=tuple(missing),
        ),
    )


def _power(observed: Observed[InverterMeasurement]) -> float | None:
    return observed.good.power_kw if observed.good else None


def _pv_kw(site: SiteParameters, sample: Sample, hold: _Holder, missing: list[str]) -> float | None:
    """Sum of the PV inverters; a silent one is asleep in the dark and guessed by irradiance."""
    sun = sample.irradiance_w_m2.good if sample.irradiance_w_m2 else None
    dark = sun < DARK_W_M2 if sun is not None else sample.sun_elevation_deg < DARK_ELEVATION_DEG
    total = 0.0
    for parameters, observed in zip(site.pv, sample.pv, strict=True):
        power_kw = hold(parameters.name, _power(observed))
        if power_kw is None and dark:
            power_kw = 0.0
        elif power_kw is None:
            missing.append(parameters.name)
            if sun is None:
                return None
            power_kw = parameters.rated_kw * PV_YIELD_FRAC * sun / 1000.0
        total += max(0.0, power_kw)  # night consumption of the inverter is load
    return total


def _wind_kw(
    site: SiteParameters, sample: Sample, hold: _Holder, missing: list[str]
) -> float | None:
    total = 0.0
    for name, observed in zip(site.wind, sample.wind, strict=True):
        power_kw = hold(name, _power(observed))
        if power_kw is None:
            missing.append(name)
            return None
        total += max(0.0, power_kw)
    return total


def _battery(
    site: SiteParameters, sample: Sample, hold: _Holder, missing: list[str]
) -> tuple[float | None, float | None, float, float]:
    """Power, state of charge, live charge and discharge limits (0 when unknown)."""
    if site.battery is None:
        return 0.0, None, 0.0, 0.0
    name = site.battery.name
    measured = sample.batteries[0].good
    power_kw = hold(name, measured.power_kw if measured else None)
    soc_frac = hold(f"{name}.soc", measured.soc_frac if measured else None)
    if power_kw is None or soc_frac is None:
        missing.append(name)
    charge_kw = discharge_kw = None
    if measured:  # a BMS that names no limit leaves the nameplate
        charge_kw = _at_most(measured.charge_limit_kw, site.battery.charge_max_kw)
        discharge_kw = _at_most(measured.discharge_limit_kw, site.battery.discharge_max_kw)
    return (
        power_kw,
        soc_frac,
        hold(f"{name}.charge_limit", charge_kw) or 0.0,
        hold(f"{name}.discharge_limit", discharge_kw) or 0.0,
    )


def _at_most(live: float | None, nameplate: float) -> float:
    return nameplate if live is None else min(max(live, 0.0), nameplate)


def _generator(
    site: SiteParameters, state: State, sample: Sample, hold: _Holder, missing: list[str]
) -> tuple[float | None, str, bool]:
    """Power, phase and whether it may be started.

    A set started by relay may have no controller on a bus: then its phase follows our own timer.
    """
    if site.generator is None:
        return 0.0, "none", False
    name = site.generator.name
    measured = sample.generators[0].good if sample.generators else None
    power_kw = hold(name, measured.power_kw if measured else None)
    if measured is None and power_kw is None:
        missing.append(name)
        # Not asked to run, so most likely still: better than losing the load estimate.
        return (None if state.generator.run else 0.0), "unknown", False
    if measured is None:
        return power_kw, state.estimate.generator_phase, state.estimate.generator_available
    return power_kw, measured.phase, measured.available


def _grid(
    site: SiteParameters, state: State, sample: Sample, hold: _Holder, missing: list[str]
) -> tuple[float | None, bool, float | None]:
    """Power, presence, and since when the grid has been inside its band."""
    if site.grid is None or sample.grid is None:
        return 0.0, False, None
    measured = sample.grid.good
    power_kw = hold(site.grid.name, measured.power_kw if measured else None)
    if measured is None:
        if power_kw is None:
            missing.append(site.grid.name)
        return power_kw, state.estimate.grid_present, state.grid_seen_s
    if not _in_band(site.grid, measured.voltage_v, measured.frequency_hz):
        return power_kw, False, None
    since_s = state.grid_seen_s if state.grid_seen_s is not None else sample.t_s
    settled = sample.t_s - since_s >= GRID_SETTLE_S
    first = state.t_s is None or state.estimate.grid_present
    return power_kw, settled or first, since_s


def _in_band(grid: GridParameters, voltage_v: float | None, frequency_hz: float | None) -> bool:
    """Unknown voltage or frequency says nothing against the grid."""
    voltage = voltage_v is None or grid.voltage_min_v <= voltage_v <= grid.voltage_max_v
    frequency = (
        frequency_hz is None or grid.frequency_min_hz <= frequency_hz <= grid.frequency_max_hz
    )
    return voltage and frequency


def _emergency(site: SiteParameters, sample: Sample) -> bool:
    """A wired stop that cannot be read counts as pressed: a cut wire must stop too."""
    if not site.emergency_stop:
        return False
    return sample.emergency_stop is None or sample.emergency_stop.good is not False
