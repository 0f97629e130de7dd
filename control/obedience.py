"""Commanded, acknowledged, obeyed: three states of every setpoint."""

from dataclasses import replace

from control.records import Ack, Applied, Quantity, Sample
from control.site import SiteParameters
from control.state import Obedience, State

SETTLE_S = 15.0  # a deviation this long is disobedience
SETTLE_PERIODS = 3.0
POWER_TOLERANCE_FRAC = 0.08  # of rating
POWER_TOLERANCE_KW = 0.15
GENERATOR_SLACK_S = 30.0


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
    status = _acknowledged(ack) or _obeyed(site, ack, sample, state)
    if old is None:
        old = Obedience(ack.device, ack.quantity, "settling", now_s)
    if status in ("obeyed", "not applicable"):
        since_s = old.since_s if old.status == status else now_s
        return Obedience(ack.device, ack.quantity, status, since_s)
    deviates_s = now_s if old.deviates_since_s is None else old.deviates_since_s
    if now_s - deviates_s < _patience_s(site, ack):
        status = "settling" if old.status not in ("disobeyed", "unacknowledged") else old.status
    since_s = old.since_s if old.status == status else now_s
    return Obedience(ack.device, ack.quantity, status, since_s, deviates_s)


def _patience_s(site: SiteParameters, ack: Ack) -> float:
    base_s = max(SETTLE_S, SETTLE_PERIODS * site.period_s)
    if ack.quantity is Quantity.RUN and site.generator is not None:
        sequence = site.generator
        return (
            base_s
            + GENERATOR_SLACK_S
            + (sequence.start_timeout_s if ack.commanded >= 0.5 else sequence.cool_down_s)
        )
    return base_s


def _acknowledged(ack: Ack) -> str:
    """Return "unacknowledged", or "" when the device confirmed the value."""
    if ack.error or ack.acknowledged is None:
        return "unacknowledged"
    tolerance = max(0.05, 0.02 * abs(ack.commanded))
    return "" if abs(ack.acknowledged - ack.commanded) <= tolerance else "unacknowledged"


def _obeyed(site: SiteParameters, ack: Ack, sample: Sample, state: State) -> str:
    """Compare the measured power or phase with the commanded one."""
    if site.battery and ack.device == site.battery.name:
        return _battery_obeyed(site, ack, sample, state)
    if ack.quantity is Quantity.LIMIT_KW:
        for parameters, observed in zip(site.pv, sample.pv, strict=True):
            if parameters.name == ack.device:
                power_kw = observed.good.power_kw if observed.good else None
                return _within(power_kw, None, ack.commanded, parameters.rated_kw)
    if ack.quantity is Quantity.RUN:
        return _generator_obeyed(ack, state.estimate.generator_phase)
    return "not applicable"


def _battery_obeyed(site: SiteParameters, ack: Ack, sample: Sample, state: State) -> str:
    """A battery that forms an island follows the load, not its setpoint."""
    battery, plant = site.battery, state.estimate
    if battery is None or not (plant.grid_present or plant.generator_carries):
        return "not applicable"
    measured = sample.batteries[0].good
    rating_kw = max(battery.charge_max_kw, battery.discharge_max_kw)
    power_kw = measured.power_kw if measured else None
    return _within(power_kw, ack.commanded, ack.commanded, rating_kw)


def _within(power_kw: float | None, lower: float | None, upper: float, rating_kw: float) -> str:
    if power_kw is None:
        return "disobeyed"
    tolerance = max(POWER_TOLERANCE_KW, POWER_TOLERANCE_FRAC * rating_kw)
    low_enough = power_kw <= upper + tolerance
    high_enough = lower is None or power_kw >= lower - tolerance
    return "obeyed" if low_enough and high_enough else "disobeyed"


def _generator_obeyed(ack: Ack, phase: str) -> str:
    if phase == "unknown":
        return "not applicable"
    running = phase in ("starting", "warming", "running")
    return "obeyed" if running == (ack.commanded >= 0.5) else "disobeyed"
