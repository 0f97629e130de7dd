"""Has an order come into force? Looked up in a cycle that had it: in its decision and its acks."""

from dataclasses import dataclass

from control.allotment import SHARE
from control.battery_limits import RAMP
from control.fleet import each_set, sequences
from control.records import Ack, Explanation, Quantity
from control.site import SiteParameters
from control.state import GeneratorState, Mode
from firmware.loop import Telemetry
from firmware.orders.standing import GRID_LIMITS, W_PER_KW, Order, pv_limits_kw

TIME_S = 30.0  # to come into force
WARMING_SLACK_S = 900.0  # a set's own warm-up may be longer than the site file says
SMALL_KW = 1e-6
MODES = {
    "auto": (Mode.AUTO, Mode.DEGRADED),
    "manual": (Mode.MANUAL,),
    "stopped": (Mode.STOPPED,),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of an order so far. `why` is a reason, also for what is not done yet."""

    done: bool
    why: str = ""
    hopeless: bool = False  # waiting helps nothing
    moving: bool = False  # on its way: when its time is over, that is good enough


def outcome(order: Order, telemetry: Telemetry, site: SiteParameters, since_s: float) -> Outcome:
    """What one cycle says of an order that has been among its orders since `since_s`."""
    if order.op == "mode.set":
        return _mode(order, telemetry)
    if order.op == "battery.setpoint":
        return _battery(order, telemetry, site, since_s)
    if order.op == "pv.limit":
        return _pv(order, telemetry, site, since_s)
    if order.op == "generator.start":
        return _generator_start(order, telemetry, site)
    if order.op == "generator.stop":
        return _generator_stop(order, telemetry, site)
    if order.op == "alarm.acknowledge":
        return _acknowledged(telemetry, site)
    if order.op == "trade.set":
        done = telemetry.orders.trading == order.args["on"]
        return Outcome(done, "" if done else "another order stops trade")
    return Outcome(True, _said(order, telemetry))


def time_s(order: Order, site: SiteParameters) -> float:
    """How long an order may take to come into force."""
    if order.op == "generator.start" and site.generator:
        return TIME_S + site.generator.start_timeout_s + site.generator.warm_up_s + WARMING_SLACK_S
    return TIME_S


def _said(order: Order, telemetry: Telemetry) -> str:
    """What there is to say of an order that is in force as soon as it is known."""
    if order.op in GRID_LIMITS:
        orders = telemetry.orders
        exports = order.op == "grid.export_limit"
        limit_kw = orders.export_max_kw if exports else orders.import_max_kw
        return "no ordered limit" if limit_kw is None else f"in force: {W_PER_KW * limit_kw:.0f} W"
    if order.op == "plan.replan":
        return "a new plan is asked for"
    return ""


def _mode(order: Order, telemetry: Telemetry) -> Outcome:
    state = telemetry.decision.state
    reached = state.mode in MODES[order.args["mode"]]
    return Outcome(reached, f"mode {state.mode}: {state.mode_reason}")


def _why(telemetry: Telemetry, device: str, quantity: Quantity) -> Explanation | None:
    every = telemetry.decision.command.why
    return next((w for w in every if w.device == device and w.quantity is quantity), None)


def _is_ours(order: Order, why: Explanation) -> bool:
    return why.source == order.level.title and why.reason == order.reason


def _overruled(telemetry: Telemetry, why: Explanation | None) -> str:
    if why is None:
        state = telemetry.decision.state
        return f"nothing is set: mode {state.mode}: {state.mode_reason}"
    return f"overruled by {why.source}: {'; '.join((why.reason, *why.clips))}"


def _battery(order: Order, telemetry: Telemetry, site: SiteParameters, since_s: float) -> Outcome:
    """Of the battery that is meant, or of all together: then those count that are not told else."""
    device = order.args.get("device")
    names = [unit.name for unit in site.battery_units if device in (None, unit.name)]
    found = {name: _why(telemetry, name, Quantity.POWER_KW) for name in names}
    ours = {name: why for name, why in found.items() if why and _is_ours(order, why)}
    if not ours:
        return Outcome(False, _overruled(telemetry, next(iter(found.values()), None)))
    values_kw = {name: _value(telemetry, name, Quantity.POWER_KW) for name in ours}
    for name, value_kw in values_kw.items():
        answer = _answer(telemetry, name, Quantity.POWER_KW, value_kw, since_s)
        if answer:
            return Outcome(False, answer)
    total_kw = sum(values_kw.values()) if len(values_kw) > 1 else values_kw[next(iter(ours))]
    text = f"{W_PER_KW * total_kw:z.0f} W"
    clips = [[c for c in why.clips if not c.startswith(SHARE)] for why in ours.values()]
    if any(each and each[-1] == RAMP for each in clips):
        return Outcome(False, f"{text}, on its way", moving=True)
    said = dict.fromkeys(clip for each in clips for clip in each if clip != RAMP)
    return Outcome(True, f"{text}: {'; '.join(said)}" if said else text)


def _pv(order: Order, telemetry: Telemetry, site: SiteParameters, since_s: float) -> Outcome:
    """An inverter that sleeps gives nothing, and is told when it wakes."""
    obedience = {item.device: item.status for item in telemetry.decision.state.obedience}
    for name, limit_kw in pv_limits_kw(order, site).items():
        value_kw = _value(telemetry, name, Quantity.LIMIT_KW)
        why = _why(telemetry, name, Quantity.LIMIT_KW)
        if why is None or not value_kw <= limit_kw + SMALL_KW:
            return Outcome(False, _overruled(telemetry, why))
        answer = _answer(telemetry, name, Quantity.LIMIT_KW, value_kw, since_s)
        if answer and obedience.get(name) != "not applicable":
            return Outcome(False, answer)
    return Outcome(True)


def _value(telemetry: Telemetry, device: str, quantity: Quantity) -> float:
    every = telemetry.decision.command.setpoints
    return next(
        (s.value for s in every if s.device == device and s.quantity is quantity), float("nan")
    )


def _answer(
    telemetry: Telemetry, device: str, quantity: Quantity, value: float, since_s: float
) -> str:
    """Why the device has not acknowledged what it was told since then; empty: it has."""
    acks = (a for a in telemetry.applied if a.device == device and a.quantity is quantity)
    ack = next(acks, None)
    if ack is not None and ack.error:
        return f"{device}: {ack.error}"
    if ack is None or not (ack.t_s > since_s or _near(ack, ack.commanded, value)):
        return f"{device} has not been told yet"
    if ack.acknowledged is None or not _near(ack, ack.acknowledged, ack.commanded):
        return f"{device} has not acknowledged it"
    return ""


def _near(ack: Ack, one: float, other: float) -> bool:
    return abs(one - other) <= max(0.05, 0.02 * abs(ack.commanded))


def _generator_start(order: Order, telemetry: Telemetry, site: SiteParameters) -> Outcome:
    """Whoever had it started: it carries load, or it is on its way, or somebody is against it."""
    own, phase = _set(order, telemetry, site)
    if own.locked:
        return Outcome(False, f"locked: {own.locked}", hopeless=True)
    if not own.run:
        why = _overruled(telemetry, _why_run(order, telemetry, site))
        return Outcome(False, why, hopeless=True)
    carries = phase == "running"
    return Outcome(carries, "it carries load" if carries else f"the set is {phase}")


def _generator_stop(order: Order, telemetry: Telemetry, site: SiteParameters) -> Outcome:
    own, phase = _set(order, telemetry, site)
    if own.run:
        return Outcome(False, _overruled(telemetry, _why_run(order, telemetry, site)))
    return Outcome(phase not in ("starting", "warming", "running"), f"the set is {phase}")


def _set(order: Order, telemetry: Telemetry, site: SiteParameters) -> tuple[GeneratorState, str]:
    """Sequence and phase of the set that is meant, or of all as one."""
    state = telemetry.decision.state
    for unit, own, seen in each_set(site, state):
        if unit.name == order.args.get("device"):
            return own, seen.phase
    return state.generator, state.estimate.generator_phase


def _why_run(order: Order, telemetry: Telemetry, site: SiteParameters) -> Explanation | None:
    names = [unit.name for unit in site.generator_units]
    name = order.args.get("device") or next(iter(names), "")
    return _why(telemetry, name, Quantity.RUN)


def _acknowledged(telemetry: Telemetry, site: SiteParameters) -> Outcome:
    """Only a cycle in which the acknowledgement was new has cleared anything."""
    before, state = telemetry.before, telemetry.decision.state
    if not telemetry.orders.acknowledge or before.acknowledged:
        return Outcome(False, "not heard yet")
    latched = [("emergency stop", before.emergency_latched, state.emergency_latched)]
    units = zip(site.generator_units, sequences(site, before), sequences(site, state), strict=True)
    for unit, was, now in units:
        name = unit.name if site.generators else "generator"
        latched.append((f"{name} ({was.locked})", bool(was.locked), bool(now.locked)))
    cleared = [name for name, was_latched, is_latched in latched if was_latched and not is_latched]
    return Outcome(True, f"cleared: {', '.join(cleared)}" if cleared else "nothing was latched")
