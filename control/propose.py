"""What each level would do now: rules, the plan, operators, and safety's own wishes."""

from dataclasses import dataclass

from control import rules
from control.curtail import can_charge_kw
from control.delivery import Delivery, due
from control.fleet import each_set
from control.follow import (
    Slot,
    counts_on_grid,
    current_slot,
    follow_beside_generator,
    follow_on_grid,
)
from control.records import Advice, Level, Orders, Proposal, Quantity, Sample
from control.site import BatteryParameters, GeneratorParameters, SiteParameters
from control.state import Estimate, Mode, State
from control.strain import is_strained, ramp_ahead
from control.surplus_share import surplus_shares

LOW_SOC_MARGIN_FRAC = 0.03  # an island this near to the floor starts its generator, plan or not
RECOVERED_FRAC = 0.12  # and keeps it until this far above
RECOVERY_PER_H = 0.05  # of capacity: how fast a battery outside its limits is brought back
ABOVE_CEILING_FRAC = 0.01  # so far above it something is done about it
ISLAND_AFTER_S = 10.0  # a generator is not started for a blink of the grid
GRID_TRUST_S = 60.0  # nor stopped before inverters and transfer switch had time to reconnect
WAITING_FRAC = 0.35  # of the usable charge: above, a planned start of the generator is put off


@dataclass(frozen=True, slots=True)
class View:
    """What the proposing functions look at, gathered once."""

    site: SiteParameters
    state: State
    sample: Sample
    slot: Slot | None
    orders: Orders
    delivery: Delivery | None = None  # of a committed trade, now

    @property
    def plant(self) -> Estimate:
        """The estimate of this cycle."""
        return self.state.estimate

    @property
    def is_island(self) -> bool:
        """No grid, and not only for a moment."""
        return not self.plant.grid_present and self.plant.grid_for_s >= ISLAND_AFTER_S


def propose(
    site: SiteParameters,
    state: State,
    sample: Sample,
    advice: Advice,
    orders: Orders,
    deliveries: tuple[Delivery, ...] = (),
) -> tuple[Proposal, ...]:
    """Return every level's proposals for this cycle, in no order.

    Orders never speak for safety. In manual mode only operators' orders count, in safe mode only
    those that limit PV.
    """
    slot = current_slot(advice.plan, sample.t_s)
    if advice.plan and not state.estimate.grid_present and counts_on_grid(advice.plan):
        slot = None  # made for another situation; the planner has been told
    view = View(site, state, sample, slot, orders, due(deliveries, sample.t_s))
    if state.mode is Mode.SAFE:
        return _safe(view)
    return (*_ordered(view), *_generator(view), *_battery(view), *_pv(view))


def _ordered(view: View) -> list[Proposal]:
    least = Level.LOCAL_OPERATOR if view.state.mode is Mode.MANUAL else Level.RULES
    return [order for order in view.orders.proposals if least <= order.level < Level.SAFETY]


def _safe(view: View) -> tuple[Proposal, ...]:
    """Everything still; but an island is not left to a battery that nobody can see."""
    site, reason = view.site, f"safe: {view.state.mode_reason}"
    stopped = view.plant.emergency_stop or view.state.emergency_latched
    proposals = []
    if site.battery:
        proposals.append(_power(site.battery, Level.SAFETY, 0.0, reason))
    if site.generator:
        run = not stopped and (view.is_island or view.state.generator.run)
        wish = Proposal(Level.SAFETY, site.generator.name, Quantity.RUN, reason, value=float(run))
        proposals.append(wish)
    if stopped:
        limits = [
            Proposal(Level.SAFETY, pv.name, Quantity.LIMIT_KW, reason, value=0.0) for pv in site.pv
        ]
        return (*proposals, *limits)
    kept = [order for order in _ordered(view) if order.quantity is Quantity.LIMIT_KW]
    return (*proposals, *kept, *_pv(view))


def _pv(view: View) -> list[Proposal]:
    return [
        Proposal(Level.RULES, pv.name, Quantity.LIMIT_KW, "no limit needed", value=pv.rated_kw)
        for pv in view.site.pv
    ]


# --- battery -------------------------------------------------------------------------------


def _battery(view: View) -> list[Proposal]:
    battery, plant, net_kw = view.site.battery, view.plant, view.plant.net_kw
    if battery is None:
        return []
    if net_kw is None or plant.soc_frac is None:
        unknown = "load" if net_kw is None else "state of charge"
        return [_power(battery, Level.RULES, 0.0, f"the {unknown} is unknown")]
    bounds = _recovery(view, battery, plant.soc_frac, net_kw)
    if plant.grid_present:
        bounds += _ordered_reserve(view, battery, plant.soc_frac)
    if view.state.mode is Mode.MANUAL:
        return [*bounds, _power(battery, Level.RULES, 0.0, "manual, no operator's setpoint")]
    if plant.grid_present:
        return bounds + _beside_grid(view, battery, net_kw, plant.soc_frac)
    if plant.generator_carries and view.site.generator:
        return bounds + _beside_generator(view, battery, net_kw, view.site.generator)
    return [_power(battery, Level.RULES, net_kw, "island: the battery forms the grid")]


def _power(battery: BatteryParameters, level: Level, value: float, reason: str) -> Proposal:
    return Proposal(level, battery.name, Quantity.POWER_KW, reason, value=value)


def _beside_grid(
    view: View, battery: BatteryParameters, net_kw: float, soc_frac: float
) -> list[Proposal]:
    net_kw -= view.plant.generator_kw or 0.0
    proposals = [
        _power(battery, level, value, reason)
        for level, value, reason in _following(view, battery, net_kw, soc_frac, view.slot)
    ]
    if view.delivery is not None:
        proposals.append(_delivering(view, battery, net_kw, soc_frac, view.delivery))
    if view.slot is not None and soc_frac <= battery.reserve_soc_frac:
        level = Level.PLAN if view.delivery is None else Level.COMMITTED_TRADES
        reason = f"reserve of {battery.reserve_soc_frac:.0%} for a bad day"
        proposals.append(Proposal(level, battery.name, Quantity.POWER_KW, reason, upper=0.0))
    return proposals


def _following(
    view: View, battery: BatteryParameters, net_kw: float, soc_frac: float, slot: Slot | None
) -> list[tuple[Level, float, str]]:
    """What rules, and the plan where there is one, make of a net load beside the grid."""
    share, words = _share_stored(view, soc_frac) if net_kw < 0 else (1.0, "")
    rule_kw = rules.self_consumption_kw(net_kw, soc_frac, battery, share)
    reason = f"self-consumption; of the surplus {words}" if words else "self-consumption"
    found = [(Level.RULES, rule_kw, reason)]
    if slot is not None:
        following = follow_on_grid(slot, net_kw, share)
        reason = following.reason
        if following.splits and words:
            reason += f"; of what it did not foresee {words}"
        found.append((Level.PLAN, following.battery_kw, reason))
    return found


def _delivering(
    view: View, battery: BatteryParameters, net_kw: float, soc_frac: float, delivery: Delivery
) -> Proposal:
    """Plan or rules, for what the trade leaves of the net load."""
    left_kw = delivery.left_kw(net_kw, view.plant.load_kw)
    *_, (_, power_kw, reason) = _following(view, battery, left_kw, soc_frac, view.slot)
    words = delivery.words(view.sample.t_s, view.sample.hour_local)
    return _power(battery, Level.COMMITTED_TRADES, power_kw, f"{words}; {reason}")


def _ordered_reserve(view: View, battery: BatteryParameters, soc_frac: float) -> list[Proposal]:
    """An ordered reserve binds setpoints of its own level too, not only rules and plan."""
    ordered_frac = view.orders.reserve_soc_frac
    if ordered_frac is None or not soc_frac <= min(ordered_frac, battery.soc_max_frac):
        return []
    reason = f"reserve of {ordered_frac:.0%}, ordered"
    level = min(view.orders.reserve_level, Level.GRID_OPERATOR)
    return [Proposal(level, battery.name, Quantity.POWER_KW, reason, upper=0.0)]


def _beside_generator(
    view: View, battery: BatteryParameters, net_kw: float, generator: GeneratorParameters
) -> list[Proposal]:
    rule_kw = rules.charge_beside_generator_kw(net_kw, generator)
    proposals = [_power(battery, Level.RULES, rule_kw, "charge beside the generator")]
    if view.slot is not None and view.slot.generator_on:
        following = follow_beside_generator(view.slot, net_kw)
        proposals.append(_power(battery, Level.PLAN, following.battery_kw, following.reason))
    return proposals


def _share_stored(view: View, soc_frac: float) -> tuple[float, str]:
    """The fuzzy split's share for the battery, and its words (Shahzad 2021)."""
    sample = view.sample
    shares = surplus_shares(
        view.site,
        price_buy_per_kwh=sample.price_buy_per_kwh,
        temperature_degc=sample.temperature_degc,
        hour_local=sample.hour_local,
        interest_frac=sample.interest_frac,
        soc_frac=soc_frac,
    )
    if shares is None:
        return 1.0, "all stored: price, hour or temperature unknown"
    return shares.store, f"{shares.store:.0%} stored"


def _recovery(
    view: View, battery: BatteryParameters, soc_frac: float, net_kw: float
) -> list[Proposal]:
    """Below its floor it is charged from whatever there is, above its ceiling it serves load."""
    rate_kw = RECOVERY_PER_H * battery.capacity_kwh
    plant = view.plant
    if soc_frac < battery.soc_min_frac:
        free = plant.generator_carries or (plant.grid_present and battery.charge_from_grid)
        upper = -rate_kw if free else -min(rate_kw, max(0.0, -net_kw))
        reason = f"state of charge {soc_frac:.1%} below its floor {battery.soc_min_frac:.0%}"
        return [_bound(battery, reason, upper=upper)]
    if soc_frac > battery.soc_max_frac + ABOVE_CEILING_FRAC:
        lower = min(rate_kw, max(0.0, net_kw))
        reason = f"state of charge {soc_frac:.1%} above its ceiling {battery.soc_max_frac:.0%}"
        return [_bound(battery, reason, lower=lower)]
    return []


def _bound(
    battery: BatteryParameters, reason: str, lower: float | None = None, upper: float | None = None
) -> Proposal:
    return Proposal(Level.SAFETY, battery.name, Quantity.POWER_KW, reason, lower=lower, upper=upper)


# --- generator -----------------------------------------------------------------------------


def _generator(view: View) -> list[Proposal]:
    """Whether the generator should run: by rule, by plan, and to save an island's battery."""
    generator = view.site.generator
    if generator is None:
        return []
    level, wanted, reason = _rule(view)
    wishes = [(level, wanted, reason)]
    if view.state.generator.low_soc:
        wishes.append((Level.SAFETY, True, _saving(view)))
    if is_strained(view.state, view.sample.t_s):
        wishes.append((Level.SAFETY, True, "island whose load is near what the battery can give"))
    planned = view.state.mode is not Mode.MANUAL and view.is_island
    ramp = ramp_ahead(view.site, view.state, view.sample.t_s) if planned else ""
    if ramp:
        wishes.append((Level.PLAN, True, ramp))  # before the plan's own: of equals the first wins
    if planned and view.slot is not None and view.plant.soc_frac is not None:
        wishes.append(_planned(view, view.slot, view.plant.soc_frac))
    return [
        Proposal(each, generator.name, Quantity.RUN, why, value=float(run))
        for each, run, why in wishes
    ]


def _saving(view: View) -> str:
    """Why an island's battery is saved: `low_soc` in words."""
    plant, battery = view.plant, view.site.battery
    if plant.grid_present:
        return "the grid is back, but may not stay"
    if plant.discharge_limit_kw is not None and plant.discharge_limit_kw <= 0.0:
        return "island whose battery can give nothing"
    if battery is None or plant.soc_frac is None:
        return "island whose battery is unknown"
    if plant.soc_frac < battery.soc_min_frac + LOW_SOC_MARGIN_FRAC:
        return f"island whose battery is nearly empty: {plant.soc_frac:.0%}"
    until_frac = battery.soc_min_frac + RECOVERED_FRAC
    return f"island whose battery was nearly empty: {plant.soc_frac:.0%} of {until_frac:.0%}"


def _planned(view: View, slot: Slot, soc_frac: float) -> tuple[Level, bool, str]:
    """The plan's wish. When in the day the set runs is nearly a tie: a full battery waits.

    Later more is known of sun and load, and the set may not be needed at all. One that runs rests
    when nothing takes what it must give at least.
    """
    battery = view.site.battery
    kept = f"; {slot.reserve}" if slot.reserve else ""
    if not slot.generator_on:
        return Level.PLAN, False, f"plan: rest{kept}"
    if battery is not None:
        usable_frac = battery.soc_max_frac - battery.soc_min_frac
        can_wait = soc_frac > battery.soc_min_frac + WAITING_FRAC * usable_frac
        if can_wait and not view.state.generator.run:
            return Level.PLAN, False, "plan: run, but the battery can wait"
        if can_wait and _runs_too_low(view, battery):
            return Level.PLAN, False, "plan: run, but nothing takes the set's minimum load"
    return Level.PLAN, True, f"plan: run{kept}"


def _runs_too_low(view: View, battery: BatteryParameters) -> bool:
    """Whether the sets that carry stay below their least load, even were the sun switched off."""
    plant = view.plant
    running = [unit for unit, own, _ in each_set(view.site, view.state) if own.run]
    if not plant.generator_carries or not running:
        return False
    if plant.net_kw is None or plant.charge_limit_kw is None:  # who knows what takes its power
        return False
    least_kw = max(unit.min_load_frac for unit in running) * sum(s.rated_kw for s in running)
    return plant.net_kw + plant.pv_seen_kw + can_charge_kw(battery, plant) < least_kw


def _rule(view: View) -> tuple[Level, bool, str]:
    plant, running = view.plant, view.state.generator.run
    if view.state.mode is Mode.MANUAL:
        return Level.RULES, running, "manual, no operator's order: stays as it is"
    if plant.grid_present:
        return Level.RULES, False, "the grid serves"
    if not view.is_island:
        return Level.RULES, running, "the grid has just gone: stays as it is"
    if view.site.battery is None:
        return Level.RULES, True, "island without a battery"
    if plant.soc_frac is None:
        return Level.RULES, True, "island whose battery is unknown"
    low = rules.generator_wanted(plant.soc_frac, view.site.battery, running)
    word = "low" if low else "high enough"
    return Level.RULES, low, f"state of charge {plant.soc_frac:.0%} is {word}"


def low_soc(site: SiteParameters, state: State) -> bool:
    """Whether an island's generator must run: its battery is nearly empty or cannot give.

    With hysteresis by state of charge, and over the grid's return until that can be relied on.
    While the grid's meter is silent an island can only be guessed from a battery that sinks
    below its floor, which it does not beside a grid.
    """
    plant, battery, before = state.estimate, site.battery, state.generator.low_soc
    if battery is None or plant.soc_frac is None:
        return False
    if plant.grid_present:
        if site.grid is None or site.grid.name not in plant.missing:
            return before and plant.grid_for_s < GRID_TRUST_S
        weak, margin = False, 0.0
    else:
        weak = plant.discharge_limit_kw is not None and plant.discharge_limit_kw <= 0.0
        margin = LOW_SOC_MARGIN_FRAC
        if not before and plant.grid_for_s < ISLAND_AFTER_S:
            return False
    if before:
        margin = RECOVERED_FRAC
    return weak or plant.soc_frac < battery.soc_min_frac + margin
