"""The operating modes as a table: from, condition, to, reason."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from control.records import Orders
from control.site import SiteParameters
from control.state import GeneratorState, Mode, State

RETURN_S = 10.0  # a device that comes and goes counts as missing until it has stayed this long


@dataclass(frozen=True, slots=True)
class Situation:
    """What the table's conditions look at."""

    orders: Orders
    emergency: bool  # the stop is pressed, or was and is not acknowledged
    unreadable: bool  # the stop's input cannot be read
    missing: tuple[str, ...]
    blind: bool  # nothing that balances the site can be measured
    start_up_over: bool

    @property
    def missing_text(self) -> str:
        """The missing devices as a list for people."""
        return "nothing usable from " + ", ".join(self.missing)


Condition = Callable[[Situation], bool]
ANY = tuple(Mode)

# The first row that matches counts: the order is the priority. No reason: the old one stays.
TABLE: tuple[tuple[tuple[Mode, ...], Condition, Mode, str], ...] = (
    (ANY, lambda s: s.emergency, Mode.SAFE, "emergency stop"),
    (ANY, lambda s: s.orders.stop, Mode.STOPPED, "ordered to stop"),
    (ANY, lambda s: s.unreadable, Mode.SAFE, "the emergency stop cannot be read"),
    ((Mode.STARTING,), lambda s: bool(s.missing) and not s.start_up_over, Mode.STARTING, ""),
    (ANY, lambda s: s.blind, Mode.SAFE, "{missing}"),
    (ANY, lambda s: s.orders.manual, Mode.MANUAL, "ordered to manual"),
    (ANY, lambda s: bool(s.missing), Mode.DEGRADED, "{missing}"),
    (ANY, lambda s: True, Mode.AUTO, "all devices answer"),
)


def advance(site: SiteParameters, state: State, orders: Orders, now_s: float) -> State:
    """Return `state` in the mode that the table names, with when and why it changed."""
    state = _acknowledge(state, orders)
    absent = _absent(state, now_s)
    names = tuple(sorted(name for name, _ in absent))
    plant = state.estimate
    situation = Situation(
        orders=orders,
        emergency=state.emergency_latched,
        unreadable=plant.emergency_stop,
        missing=names,
        blind=_is_blind(site, plant.missing)
        or (state.mode is Mode.SAFE and _is_blind(site, names)),
        start_up_over=now_s - state.started_s > site.start_up_s,
    )
    mode, reason = next_mode(state.mode, situation)
    state = replace(state, absent=absent, mode_reason=reason or state.mode_reason)
    return state if mode is state.mode else replace(state, mode=mode, mode_since_s=now_s)


def next_mode(mode: Mode, situation: Situation) -> tuple[Mode, str]:
    """Return the only successor of `mode`, and why; no reason where it just stays."""
    target, reason = next(
        (target, reason)
        for sources, condition, target, reason in TABLE
        if mode in sources and condition(situation)
    )
    return target, reason.replace("{missing}", situation.missing_text)


def _acknowledge(state: State, orders: Orders) -> State:
    """Clear what is latched, once per acknowledgement: one given before the event is none."""
    new = orders.acknowledge and not state.acknowledged
    state = replace(state, acknowledged=orders.acknowledge)
    if not new:
        return state
    latched = state.emergency_latched and state.estimate.emergency_stop
    return replace(
        state,
        emergency_latched=latched,
        generator=_unlocked(state.generator),
        generators=tuple(map(_unlocked, state.generators)),
    )


def _unlocked(generator: GeneratorState) -> GeneratorState:
    return replace(generator, locked="", attempts=0) if generator.locked else generator


def _absent(state: State, now_s: float) -> tuple[tuple[str, float], ...]:
    """Devices that are missing or were so lately, with when; at first only those that are."""
    seen = {} if state.mode is Mode.STARTING else dict(state.absent)
    seen |= dict.fromkeys(state.estimate.missing, now_s)
    return tuple((name, t_s) for name, t_s in seen.items() if now_s - t_s < RETURN_S)


def _is_blind(site: SiteParameters, missing: tuple[str, ...]) -> bool:
    """Neither a battery nor the grid meter answers, of those that there are."""
    eyes = [part.name for part in (*site.battery_units, site.grid) if part is not None]
    return bool(eyes) and all(name in missing for name in eyes)
