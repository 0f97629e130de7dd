"""One cycle's decision, from sample to command: the whole of the controller's judgement, pure."""

from dataclasses import dataclass, replace

from control.arbiter import Target, Verdict, arbitrate
from control.delivery import Delivery
from control.estimate import estimate
from control.fleet import of_now, sequences
from control.follow import Slot, current_slot
from control.modes import advance
from control.obedience import FLAGGED, WORDS, complaint, watch
from control.propose import low_soc, propose
from control.records import (
    Advice,
    Applied,
    Command,
    Event,
    Explanation,
    Orders,
    Quantity,
    Sample,
    Setpoint,
    Severity,
)
from control.safety import NO_PLAN, Planned, guarded_units
from control.site import SiteParameters
from control.sky import free_pv_kw, looked_at
from control.state import GeneratorState, Mode, State
from control.strain import strained_since
from control.tighten import tightened


@dataclass(frozen=True, slots=True)
class Decision:
    """What one cycle decided: the next state, the command, and what is worth telling."""

    state: State
    command: Command
    events: tuple[Event, ...] = ()


def decide(
    site: SiteParameters,
    state: State,
    sample: Sample,
    applied: Applied,
    advice: Advice,
    orders: Orders,
    deliveries: tuple[Delivery, ...] = (),
) -> Decision:
    """Return the decision that follows from what is known now.

    Ordered limits count as the site's own, in every rule, where they are tighter.
    The same arguments give the same decision, bit for bit: replay rests on it.
    """
    site, before = tightened(site, orders), state
    if state.t_s is None:
        state = replace(state, started_s=sample.t_s, mode_since_s=sample.t_s)
    state = estimate(site, state, sample)
    plant = state.estimate
    pv_kw = free_pv_kw(site, plant.pv_kw, state.pv_limit_kw, throttled=plant.pv_throttled)
    state = replace(state, sky=looked_at(state.sky, sample, pv_kw, site.pv_rated_kw))
    site, state = of_now(site, state)
    state = watch(site, state, sample, applied)
    state = advance(site, state, orders, sample.t_s)
    generator = replace(
        state.generator,
        low_soc=low_soc(site, state),
        strained_since_s=strained_since(site, state, sample.t_s),
    )
    state = replace(state, generator=generator)
    if state.mode in (Mode.STARTING, Mode.STOPPED):
        command, state = _idle(site, state, sample)
    else:
        command, state = _act(site, state, sample, advice, orders, deliveries)
    state = replace(state, t_s=sample.t_s)
    return Decision(state, command, _events(site, before, state, command))


def _act(
    site: SiteParameters,
    state: State,
    sample: Sample,
    advice: Advice,
    orders: Orders,
    deliveries: tuple[Delivery, ...],
) -> tuple[Command, State]:
    wishes = propose(site, state, sample, advice, orders, deliveries)
    verdicts = arbitrate(wishes, sample.t_s)
    planned = _planned(current_slot(advice.plan, sample.t_s))
    verdicts, state = guarded_units(site, state, verdicts, sample.t_s, planned)
    setpoints = tuple(
        Setpoint(device, quantity, verdict.value, site.lease_s)
        for (device, quantity), verdict in verdicts.items()
    )
    why = tuple(_explain(target, verdict) for target, verdict in verdicts.items())
    powers_kw = [s.value for s in setpoints if s.quantity is Quantity.POWER_KW]
    limits_kw = [s.value for s in setpoints if s.quantity is Quantity.LIMIT_KW]
    if powers_kw:
        battery_kw = powers_kw[0] if len(powers_kw) == 1 else sum(powers_kw)
    state = replace(
        state,
        battery_kw=battery_kw if powers_kw else None,
        pv_limit_kw=sum(limits_kw) if limits_kw else None,
    )
    return Command(setpoints, why, _relay(site, state), alarm=_is_alarming(state)), state


def _planned(slot: Slot | None) -> Planned:
    return Planned(slot.battery_units_kw, slot.generator_units_on) if slot else NO_PLAN


def _relay(site: SiteParameters, state: State) -> bool | None:
    """What the hard-wired contact asks of its set; None without one."""
    units = zip(site.generator_units, sequences(site, state), strict=True)
    return next((own.run for unit, own in units if unit.by_relay), None)


def _idle(site: SiteParameters, state: State, sample: Sample) -> tuple[Command, State]:
    """Starting touches nothing; stopping gives every device back its own control."""
    stopped = state.mode is Mode.STOPPED
    state = replace(state, battery_kw=None, battery_units_kw=(), pv_limit_kw=None)
    if stopped:
        state = replace(
            state,
            generator=_at_rest(state.generator, sample.t_s),
            generators=tuple(_at_rest(each, sample.t_s) for each in state.generators),
        )
    return Command((), (), _relay(site, state), alarm=False, release=stopped), state


def _at_rest(generator: GeneratorState, now_s: float) -> GeneratorState:
    if not generator.run:
        return generator
    return replace(generator, run=False, since_s=now_s, carried=False)


def _explain(target: Target, verdict: Verdict) -> Explanation:
    return Explanation(
        target[0],
        target[1],
        verdict.source,
        verdict.reason,
        verdict.wanted,
        verdict.clips,
        verdict.losers,
    )


def _is_alarming(state: State) -> bool:
    disobedient = any(item.status in FLAGGED for item in state.obedience)
    locked = any(each.locked for each in (state.generator, *state.generators))
    return disobedient or locked or state.mode in (Mode.SAFE, Mode.DEGRADED)


# --- what is worth telling -----------------------------------------------------------------


def _events(
    site: SiteParameters, before: State, after: State, command: Command
) -> tuple[Event, ...]:
    events: list[Event] = []
    if after.mode is not before.mode or after.mode_reason != before.mode_reason:
        severity = Severity.INFO if after.mode in (Mode.AUTO, Mode.STOPPED) else Severity.WARNING
        if after.mode is Mode.SAFE:
            severity = Severity.ALARM
        events.append(Event(severity, "mode", f"{after.mode}: {after.mode_reason}"))
    events += _supply_events(before, after)
    events += _generator_events(site, before, after, command)
    events += _obedience_events(before, after)
    return tuple(events)


def _supply_events(before: State, after: State) -> list[Event]:
    if before.t_s is None or before.estimate.grid_present == after.estimate.grid_present:
        return []
    if after.estimate.grid_present:
        return [Event(Severity.INFO, "supply", "grid is back")]
    return [Event(Severity.WARNING, "supply", "grid lost: running as an island")]


def _generator_events(
    site: SiteParameters, before: State, after: State, command: Command
) -> list[Event]:
    why = {item.device: item for item in command.why if item.quantity is Quantity.RUN}
    units = zip(site.generator_units, sequences(site, before), sequences(site, after), strict=True)
    events = []
    for unit, was, now in units:
        whose = f"{unit.name}: " if site.generators else ""
        events += _set_events(whose, was, now, why.get(unit.name))
    return events


def _set_events(
    whose: str, was: GeneratorState, now: GeneratorState, why: Explanation | None
) -> list[Event]:
    events = []
    if was.run != now.run:
        reason = "; ".join((why.reason, *why.clips)) if why else "nobody asks for it"
        verb = "start" if now.run else "stop"
        events.append(Event(Severity.INFO, "generator", f"{whose}{verb}: {reason}"))
    if now.carried and not was.carried:
        events.append(Event(Severity.INFO, "generator", f"{whose}takes load"))
    if now.locked and now.locked != was.locked:
        events.append(Event(Severity.ALARM, "generator", f"{whose}locked: {now.locked}"))
    return events


def _obedience_events(before: State, after: State) -> list[Event]:
    was = {(item.device, item.quantity): item.status for item in before.obedience}
    events = []
    for item in after.obedience:
        old = was.get((item.device, item.quantity), "settling")
        bad = item.status in FLAGGED
        if bad and old != item.status:
            events.append(Event(Severity.ALARM, "obedience", complaint(item)))
        elif item.status == "obeyed" and old in FLAGGED:
            text = f"{item.device} follows its {WORDS[item.quantity]} again"
            events.append(Event(Severity.INFO, "obedience", text))
    return events
