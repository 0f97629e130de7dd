"""One cycle's decision, from sample to command: the whole of the controller's judgement, pure."""

from dataclasses import dataclass, replace

from control.arbiter import Target, Verdict, arbitrate
from control.delivery import Delivery
from control.estimate import estimate
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
from control.safety import guard
from control.site import SiteParameters
from control.sky import free_pv_kw, looked_at
from control.state import Mode, State
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
    pv_kw = free_pv_kw(site, state.estimate.pv_kw, state.pv_limit_kw)
    state = replace(state, sky=looked_at(state.sky, sample, pv_kw, site.pv_rated_kw))
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
    return Decision(state, command, _events(before, state, command))


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
    verdicts, generator = guard(site, state, verdicts, sample.t_s)
    setpoints = tuple(
        Setpoint(device, quantity, verdict.value, site.lease_s)
        for (device, quantity), verdict in verdicts.items()
    )
    why = tuple(_explain(target, verdict) for target, verdict in verdicts.items())
    relay = generator.run if site.generator and site.generator.by_relay else None
    limits_kw = [s.value for s in setpoints if s.quantity is Quantity.LIMIT_KW]
    battery = site.battery
    state = replace(
        state,
        generator=generator,
        battery_kw=next((s.value for s in setpoints if battery and s.device == battery.name), None),
        pv_limit_kw=sum(limits_kw) if limits_kw else None,
    )
    return Command(setpoints, why, relay, alarm=_is_alarming(state)), state


def _idle(site: SiteParameters, state: State, sample: Sample) -> tuple[Command, State]:
    """Starting touches nothing; stopping gives every device back its own control."""
    generator, stopped = state.generator, state.mode is Mode.STOPPED
    if generator.run and stopped:
        generator = replace(generator, run=False, since_s=sample.t_s, carried=False)
    relay = generator.run if site.generator and site.generator.by_relay else None
    command = Command((), (), relay, alarm=False, release=stopped)
    return command, replace(state, generator=generator, battery_kw=None, pv_limit_kw=None)


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
    return disobedient or bool(state.generator.locked) or state.mode in (Mode.SAFE, Mode.DEGRADED)


# --- what is worth telling -----------------------------------------------------------------


def _events(before: State, after: State, command: Command) -> tuple[Event, ...]:
    events: list[Event] = []
    if after.mode is not before.mode or after.mode_reason != before.mode_reason:
        severity = Severity.INFO if after.mode in (Mode.AUTO, Mode.STOPPED) else Severity.WARNING
        if after.mode is Mode.SAFE:
            severity = Severity.ALARM
        events.append(Event(severity, "mode", f"{after.mode}: {after.mode_reason}"))
    events += _supply_events(before, after)
    events += _generator_events(before, after, command)
    events += _obedience_events(before, after)
    return tuple(events)


def _supply_events(before: State, after: State) -> list[Event]:
    if before.t_s is None or before.estimate.grid_present == after.estimate.grid_present:
        return []
    if after.estimate.grid_present:
        return [Event(Severity.INFO, "supply", "grid is back")]
    return [Event(Severity.WARNING, "supply", "grid lost: running as an island")]


def _generator_events(before: State, after: State, command: Command) -> list[Event]:
    events = []
    was, now = before.generator, after.generator
    if was.run != now.run:
        why = next((w for w in command.why if w.quantity is Quantity.RUN), None)
        reason = "; ".join((why.reason, *why.clips)) if why else "nobody asks for it"
        verb = "start" if now.run else "stop"
        events.append(Event(Severity.INFO, "generator", f"{verb}: {reason}"))
    if now.carried and not was.carried:
        events.append(Event(Severity.INFO, "generator", "takes load"))
    if now.locked and now.locked != was.locked:
        events.append(Event(Severity.ALARM, "generator", f"locked: {now.locked}"))
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
