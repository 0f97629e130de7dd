"""Commanded, acknowledged, obeyed: three states of every setpoint."""

from dataclasses import replace

from control.readings import at
from control.records import Ack, Applied, Quantity, Sample
from control.site import BatteryParameters, SiteParameters
from control.state import Estimate, Obedience, State

SETTLE_S = 15.0  # a deviation this long is disobedience
SETTLE_PERIODS = 3.0
POWER_TOLERANCE_FRAC = 0.08  # of rating
POWER_TOLERANCE_KW = 0.15
GENERATOR_SLACK_S = 30.0
LAG_S = 5.0  # a device may follow with this time constant
RECONNECT_S = 60.0  # of a battery's inverter to a grid that has come back
FLAGGED = ("disobeyed", "unacknowledged")
WORDS = {
    Quantity.POWER_KW: "power setpoint",
    Quantity.LIMIT_KW: "power limit",
    Quantity.RUN: "order to run or rest",
}


def complaint(item: Obedience) -> str:
    """What is wrong with a flagged setpoint, in words."""
    verb = "acknowledge" if item.status == "unacknowledged" else "follow"
    return f"{item.device} does not {verb} its {WORDS[item.quantity]}"


def watch(site: SiteParameters, state: State, sample: Sample, applied: Applied) -> State:
    """Return `state` with every setpoint of the last command judged by what was measured since."""
    old = {(item.device, item.quantity): item for item in state.obedience}
    judged = tuple(
        _advance(site, old.get((ack.device, ack.quantity)), ack, sample, state) for ack in applied
    )
    return replace(state, obedience=judged)


def _advance(
    site: SiteParameters, old: Obedience | None, ack: Ack, sample: Sample, state: State
) -> Obedience:
    now_s = sample.t_s
    if old is None:
        commanded = ack.commanded
        old = Obedience(ack.device, ack.quantity, "settling", now_s, None, commanded, commanded)
    item = _widened(old, ack, 0.0 if state.t_s is None else max(0.0, now_s - state.t_s))
    status = _asleep(site, ack, sample, state) or _acknowledged(ack)
    status = status or _obeyed(site, item, ack, sample, state)
    deviates_s: float | None = None
    if status not in ("obeyed", "not applicable"):
        deviates_s = now_s if old.deviates_since_s is None else old.deviates_since_s
        if now_s - deviates_s < _patience_s(site, ack):
            status = old.status if old.status in FLAGGED else "settling"
    since_s = old.since_s if old.status == status else now_s
    return replace(item, status=status, since_s=since_s, deviates_since_s=deviates_s)


def _widened(item: Obedience, ack: Ack, step_s: float) -> Obedience:
    """The interval from what was commanded lately to what is now, closing with `LAG_S`.

    A device that is always on its way after a fast load never stands where it was last sent.
    """
    weight = step_s / (step_s + LAG_S)
    lowest = item.lowest + weight * (ack.commanded - item.lowest)
    highest = item.highest + weight * (ack.commanded - item.highest)
    return replace(item, lowest=min(ack.commanded, lowest), highest=max(ack.commanded, highest))


def _patience_s(site: SiteParameters, ack: Ack) -> float:
    base_s = max(SETTLE_S, SETTLE_PERIODS * site.period_s)
    for sequence in site.generator_units:
        if ack.quantity is Quantity.RUN and sequence.name == ack.device:
            return (
                base_s
                + GENERATOR_SLACK_S
                + (sequence.start_timeout_s if ack.commanded >= 0.5 else sequence.cool_down_s)
            )
    return base_s


def _asleep(site: SiteParameters, ack: Ack, sample: Sample, state: State) -> str:
    """Return "not applicable" for a PV inverter that is silent and not missed: it is dark."""
    for index, pv in enumerate(site.pv):
        if pv.name == ack.device and pv.name not in state.estimate.missing:
            return "" if at(sample.pv, index).good else "not applicable"
    return ""


def _acknowledged(ack: Ack) -> str:
    """Return "unacknowledged", or "" when the device confirmed the value."""
    if ack.error or ack.acknowledged is None:
        return "unacknowledged"
    tolerance = max(0.05, 0.02 * abs(ack.commanded))
    return "" if abs(ack.acknowledged - ack.commanded) <= tolerance else "unacknowledged"


def _obeyed(site: SiteParameters, item: Obedience, ack: Ack, sample: Sample, state: State) -> str:
    """Compare the measured power or phase with what was commanded."""
    for index, battery in enumerate(site.battery_units):
        if ack.device == battery.name:
            seen = at(sample.batteries, index).good
            power_kw = seen.power_kw if seen else None
            return _battery_obeyed(battery, item, power_kw, state.estimate)
    if ack.quantity is Quantity.LIMIT_KW:
        for index, pv in enumerate(site.pv):
            if pv.name == ack.device:
                measured = at(sample.pv, index).good
                power_kw = measured.power_kw if measured else None
                return _within(power_kw, float("-inf"), item.highest, pv.rated_kw)
    if ack.quantity is Quantity.RUN:
        return _generator_obeyed(ack, _phase(site, state.estimate, ack.device))
    return "not applicable"


def _battery_obeyed(
    battery: BatteryParameters, item: Obedience, power_kw: float | None, plant: Estimate
) -> str:
    """A battery that forms an island follows the load, not its setpoint; so it does for a while
    after the grid has come back, until its inverter has reconnected.
    """
    on_grid = plant.grid_present and plant.grid_for_s >= RECONNECT_S
    if not on_grid and (plant.grid_present or not plant.generator_carries):
        return "not applicable"
    rating_kw = max(battery.charge_max_kw, battery.discharge_max_kw)
    return _within(power_kw, item.lowest, item.highest, rating_kw)


def _within(power_kw: float | None, lower: float, upper: float, rating_kw: float) -> str:
    """What nobody can see is not confirmed."""
    if power_kw is None:
        return "unacknowledged"
    tolerance = max(POWER_TOLERANCE_KW, POWER_TOLERANCE_FRAC * rating_kw)
    return "obeyed" if lower - tolerance <= power_kw <= upper + tolerance else "disobeyed"


def _phase(site: SiteParameters, plant: Estimate, device: str) -> str:
    for unit, known in zip(site.generators, plant.generators, strict=False):
        if unit.name == device:
            return known.phase
    return plant.generator_phase


def _generator_obeyed(ack: Ack, phase: str) -> str:
    if phase == "unknown":
        return "not applicable"
    running = phase in ("starting", "warming", "running")
    return "obeyed" if running == (ack.commanded >= 0.5) else "disobeyed"
