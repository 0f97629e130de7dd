"""The operating modes as a table: from, condition, to, reason."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from control.records import Orders
from control.site import SiteParameters
from control.state import Mode, State


@dataclass(frozen=True, slots=True)
class Situation:
    """What the table's conditions look at."""

    orders: Orders
    emergency: bool  # pressed, or latched and not acknowledged
    missing: tuple[str, ...]
    blind: bool  # nothing that balances the site can be measured
    start_up_over: bool

    @property
    def missing_text(self) -> str:
        """The missing devices as a list for people."""
        return "no answer from " + ", ".join(self.missing)


Condition = Callable[[Situation], bool]
ANY = tuple(Mode)
WORKING = (Mode.STARTING, Mode.AUTO, Mode.DEGRADED, Mode.MANUAL, Mode.SAFE)

# The first row that matches counts: the order is the priority.
TABLE: tuple[tuple[tuple[Mode, ...], Condition, Mode, str], ...] = (
    (ANY, lambda s: s.orders.stop, Mode.STOPPED, "ordered to stop"),
    (WORKING, lambda s: s.emergency, Mode.SAFE, "emergency stop"),
    ((Mode.STOPPED,), lambda s: s.emergency, Mode.STOPPED, ""),
    ((Mode.STARTING,), lambda s: bool(s.missing) and not s.start_up_over, Mode.STARTING, ""),
    (ANY, lambda s: s.blind, Mode.SAFE, "{missing}"),
    (ANY, lambda s: s.orders.manual, Mode.MANUAL, "ordered to manual"),
    (ANY, lambda s: bool(s.missing), Mode.DEGRADED, "{missing}"),
    (ANY, lambda s: True, Mode.AUTO, "all devices answer"),
)


def advance(site: SiteParameters, state: State, orders: Orders, now_s: float) -> State:
    """Return `state` in the mode that the table names, with when and why it changed."""
    plant = state.estimate
    latched = state.emergency_latched and not (orders.acknowledge and not plant.emergency_stop)
    generator = state.generator
    if orders.acknowledge and generator.locked:
        generator = replace(generator, locked="", attempts=0)
    situation = Situation(
        orders=orders,
        emergency=plant.emergency_stop or latched,
        missing=plant.missing,
        blind=_is_blind(site, plant.missing),
        start_up_over=now_s - state.started_s > site.start_up_s,
    )
    mode, reason = _next(state.mode, situation)
    state = replace(state, emergency_latched=latched, generator=generator)
    if mode is state.mode and (mode is not Mode.DEGRADED or reason == state.mode_reason):
        return state
    return replace(state, mode=mode, mode_reason=reason, mode_since_s=now_s)


def _next(mode: Mode, situation: Situation) -> tuple[Mode, str]:
    for sources, condition, target, reason in TABLE:
        if mode in sources and condition(situation):
            return target, reason.replace("{missing}", situation.missing_text)
    raise AssertionError("the last row matches everything")


def _is_blind(site: SiteParameters, missing: tuple[str, ...]) -> bool:
    """Neither the battery nor the grid meter answers, of those that there are."""
    eyes = [part.name for part in (site.battery, site.grid) if part is not None]
    return bool(eyes) and all(name in missing for name in eyes)
