"""From one sample to an estimate of the plant: hold what is briefly missing, name what is gone."""

from collections.abc import Sequence
from dataclasses import replace

from control.estimate_units import MOST_OF_RATING, Sets, batteries, generators
from control.fleet import batteries_together
from control.readings import Holder, Reading, at, plausible
from control.records import InverterMeasurement, Observed, Quantity, Sample
from control.site import GridParameters, SiteParameters
from control.state import BatteryEstimate, Estimate, State

DARK_W_M2 = 10.0  # below this a silent PV inverter is asleep, not missing
DARK_ELEVATION_DEG = -0.5
MOST_W_M2 = 2000.0  # more than any cloud edge gives
PV_YIELD_FRAC = 0.8  # of rating per 1000 W/m2, for an inverter that stays silent by day
GRID_SETTLE_S = 5.0  # the grid counts as back after this long inside its band
SMOOTHING = 2.0  # the net load is smoothed by so many times the time between its readings


def estimate(site: SiteParameters, state: State, sample: Sample) -> State:
    """Return `state` with the estimate for this cycle.

    A quantity without a good and plausible measurement keeps its last value for `site.hold_s`,
    then becomes unknown and its device is listed as missing.
    """
    hold = Holder(sample.t_s, site.hold_s, dict(state.held))
    missing: list[str] = []
    sun_w_m2 = plausible(_good(sample.irradiance_w_m2), 0.0, MOST_W_M2)
    pv_kw, answering_kw = _pv(site, sample, sun_w_m2, hold, missing)
    wind_kw = _wind_kw(site, sample, hold, missing)
    batteries_kw, charges = batteries(site, sample, hold, missing)
    sets = generators(site, state, sample, hold, missing)
    state = _grid_presence(site, state, sample)
    grid = _grid(site, state, sample, hold, missing)
    sources_kw = None if pv_kw is None or wind_kw is None else pv_kw + wind_kw
    readings = (*batteries_kw, *sets.readings, grid)
    load_kw, net_kw = _net(state, hold, readings, sources_kw)
    pressed, unreadable = _emergency(site, sample, hold)
    return replace(
        state,
        held=tuple(hold.new.items()),
        emergency_latched=state.emergency_latched or pressed,
        estimate=replace(
            _with_units(site, state.estimate, charges, sets),
            pv_kw=pv_kw,
            wind_kw=wind_kw,
            battery_kw=_sum_kw(batteries_kw),
            generator_kw=_sum_kw(sets.readings),
            grid_kw=grid.kw,
            load_kw=None if load_kw is None else max(0.0, load_kw),
            measured_net_kw=net_kw,
            pv_answering_kw=answering_kw,
            pv_throttled=any(pv.good and pv.good.state == "throttled" for pv in sample.pv),
            generator_phase=sets.phase,
            generator_available=sets.available,
            emergency_stop=pressed or unreadable,
            missing=tuple(dict.fromkeys(missing)),
        ),
    )


def _with_units(
    site: SiteParameters, plant: Estimate, charges: list[BatteryEstimate], sets: Sets
) -> Estimate:
    """The estimate with what is known of batteries and sets; each one's where there are more."""
    if site.generators:
        plant = replace(plant, generators=tuple(sets.each))
    if site.batteries:
        return batteries_together(site.batteries, plant, charges)
    known = charges[0] if charges else BatteryEstimate()
    return replace(
        plant,
        soc_frac=known.soc_frac,
        charge_limit_kw=known.charge_limit_kw,
        discharge_limit_kw=known.discharge_limit_kw,
    )


def _sum_kw(readings: Sequence[Reading]) -> float | None:
    """Of several the sum; None where one is unknown."""
    powers = [reading.kw for reading in readings if reading.kw is not None]
    if len(powers) < len(readings):
        return None
    return powers[0] if len(powers) == 1 else sum(powers)


def _good(observed: Observed[float] | None) -> float | None:
    return observed.good if observed else None


# --- PV and wind ---------------------------------------------------------------------------


def _inverter_kw(
    observed: Sequence[Observed[InverterMeasurement]], index: int, rated_kw: float
) -> float | None:
    measured = at(observed, index).good
    most_kw = MOST_OF_RATING * rated_kw
    return plausible(measured.power_kw, -0.2 * rated_kw, most_kw) if measured else None


def _pv(
    site: SiteParameters, sample: Sample, sun_w_m2: float | None, hold: Holder, missing: list[str]
) -> tuple[float | None, float]:
    """Sum of the PV inverters, and that of those that answer.

    A silent one is asleep in the dark, guessed by irradiance, else the sum is unknown. What an
    inverter consumes at night is load.
    """
    dark = sample.sun_elevation_deg < DARK_ELEVATION_DEG
    if sun_w_m2 is not None:
        dark = sun_w_m2 < DARK_W_M2
    silent_kw = answering_kw = 0.0
    known = True
    for index, pv in enumerate(site.pv):
        power_kw = hold.value(pv.name, _inverter_kw(sample.pv, index, pv.rated_kw))
        if power_kw is not None:
            answering_kw += max(0.0, power_kw)
        elif not dark:
            missing.append(pv.name)
            known = known and sun_w_m2 is not None
            silent_kw += min(1.0, PV_YIELD_FRAC * (sun_w_m2 or 0.0) / 1000.0) * pv.rated_kw
    return (answering_kw + silent_kw if known else None), answering_kw


def _wind_kw(
    site: SiteParameters, sample: Sample, hold: Holder, missing: list[str]
) -> float | None:
    total_kw: float | None = 0.0
    for index, wind in enumerate(site.wind):
        power_kw = hold.value(wind.name, _inverter_kw(sample.wind, index, wind.rated_kw))
        if power_kw is None:
            missing.append(wind.name)
            total_kw = None
        elif total_kw is not None:
            total_kw += max(0.0, power_kw)
    return total_kw


# --- grid ----------------------------------------------------------------------------------


def _grid_presence(site: SiteParameters, state: State, sample: Sample) -> State:
    """Return `state` knowing whether the grid is there, and since when.

    While the meter is silent the grid is believed to be as it was (at first: present), until the
    battery begins to carry load against its setpoint: then this is an island.
    """
    if site.grid is None:
        return replace(state, estimate=replace(state.estimate, grid_present=False))
    now_s, first = sample.t_s, state.t_s is None
    since_s = float("-inf") if first else now_s  # what is found at first has long been so
    seen_s, lost_s, meter_s = state.grid_seen_s, state.grid_lost_s, now_s
    measured = sample.grid.good if sample.grid else None
    if measured is None:
        meter_s = state.meter_seen_s
        if lost_s is None and _battery_disobeys(site, state):
            seen_s, lost_s = None, now_s
    elif _in_band(site.grid, measured.voltage_v, measured.frequency_hz):
        seen_s = since_s if seen_s is None else seen_s
        lost_s = None if now_s - seen_s >= GRID_SETTLE_S else lost_s
    else:
        seen_s, lost_s = None, since_s if lost_s is None else lost_s
    present = lost_s is None
    changed_s = seen_s if present else lost_s
    for_s = float("inf") if changed_s is None else max(0.0, now_s - changed_s)
    return replace(
        state,
        meter_seen_s=meter_s,
        grid_seen_s=seen_s,
        grid_lost_s=lost_s,
        estimate=replace(state.estimate, grid_present=present, grid_for_s=for_s),
    )


def _battery_disobeys(site: SiteParameters, state: State) -> bool:
    """One does not follow its setpoint, and did while the meter still answered."""
    names = [battery.name for battery in site.battery_units]
    return any(
        item.device in names
        and item.quantity is Quantity.POWER_KW
        and item.status == "disobeyed"
        and (item.deviates_since_s or 0.0) > state.meter_seen_s
        for item in state.obedience
    )


def _grid(
    site: SiteParameters, state: State, sample: Sample, hold: Holder, missing: list[str]
) -> Reading:
    if site.grid is None:
        return Reading(0.0, fresh=True)
    measured = sample.grid.good if sample.grid else None
    most_kw = MOST_OF_RATING * max(
        site.grid.import_max_kw, site.grid.export_max_kw, _sources_rated_kw(site)
    )
    power_kw = plausible(measured.power_kw, -most_kw, most_kw) if measured else None
    age_s = sample.grid.age_s if sample.grid else 0.0
    reading = hold.reading(site.grid.name, power_kw, age_s)
    if reading.kw is None:
        missing.append(site.grid.name)
        if not state.estimate.grid_present:
            return Reading(0.0, fresh=True)
    return reading


def _sources_rated_kw(site: SiteParameters) -> float:
    return (
        site.pv_rated_kw
        + sum(wind.rated_kw for wind in site.wind)
        + (site.battery.discharge_max_kw if site.battery else 0.0)
        + (site.generator.rated_kw if site.generator else 0.0)
    )


def _in_band(grid: GridParameters, voltage_v: float | None, frequency_hz: float | None) -> bool:
    """Unknown voltage or frequency says nothing against the grid."""
    voltage_v = plausible(voltage_v, float("-inf"), float("inf"))
    frequency_hz = plausible(frequency_hz, float("-inf"), float("inf"))
    voltage = voltage_v is None or grid.voltage_min_v <= voltage_v <= grid.voltage_max_v
    frequency = (
        frequency_hz is None or grid.frequency_min_hz <= frequency_hz <= grid.frequency_max_hz
    )
    return voltage and frequency


# --- the whole -----------------------------------------------------------------------------


def _net(
    state: State, hold: Holder, readings: Sequence[Reading], sources_kw: float | None
) -> tuple[float | None, float | None]:
    """The load, and what PV and wind leave of it: batteries, generators and grid together.

    The battery answers to what is found here. With readings of different age it would chase its
    own last answer (a battery read after, a grid read before it), so the more they lie apart the
    slower the result moves; with one of them missing it stays: the load is what changes least.
    """
    measured_kw = sum(reading.kw or 0.0 for reading in readings)
    fresh = all(reading.fresh for reading in readings)
    ages_s = [reading.age_s for reading in readings if reading.age_s is not None and reading.kw]
    apart_s = max(ages_s, default=0.0) - min(ages_s, default=0.0)
    step_s = 0.0 if state.t_s is None else max(0.0, hold.now_s - state.t_s)
    weight = 1.0 if apart_s <= 0.0 else step_s / (step_s + SMOOTHING * apart_s)
    net_kw = hold.smoothed(".net", measured_kw if fresh else None, weight)
    known = fresh and sources_kw is not None
    load_kw = hold.smoothed(".load", measured_kw + (sources_kw or 0.0) if known else None, weight)
    if load_kw is not None and sources_kw is not None:
        net_kw = load_kw - sources_kw
    return load_kw, net_kw


def _emergency(site: SiteParameters, sample: Sample, hold: Holder) -> tuple[bool, bool]:
    """Pressed, and unreadable; a cut wire reads as pressed.

    An input that cannot be read stops the plant as well, but only while it lasts, and not before
    its last reading is too old: the hard-wired chain works without us.
    """
    if not site.emergency_stop:
        return False, False
    pressed = sample.emergency_stop.good if sample.emergency_stop else None
    if pressed:
        return True, False
    return False, hold.value(".emergency_stop", None if pressed is None else 0.0) is None
