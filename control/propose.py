"""What each level would do now: rules, the plan, operators, and safety's own wishes."""

from dataclasses import dataclass

from control import rules
from control.follow import Slot, current_slot, follow_beside_generator, follow_on_grid
from control.records import Advice, Level, Orders, Proposal, Quantity, Sample
from control.site import BatteryParameters, SiteParameters
from control.state import Estimate, Mode, State
from control.surplus import SurplusSettings, split

LOW_SOC_MARGIN_FRAC = 0.03  # an island this near to the floor starts its generator, plan or not
RECOVERED_FRAC = 0.12  # and keeps it until this far above
RECOVERY_PER_H = 0.05  # of capacity: how fast a battery below its floor is recharged
NEUTRAL_DEGC = 20.0


@dataclass(frozen=True, slots=True)
class View:
    """What the proposing functions look at, gathered once."""

    site: SiteParameters
    state: State
    sample: Sample
    slot: Slot | None

    @property
    def plant(self) -> Estimate:
        """The estimate of this cycle."""
        return self.state.estimate

    @property
    def net_kw(self) -> float | None:
        """Load minus PV and wind; None when the load is unknown."""
        if self.plant.load_kw is None:
            return None
        return self.plant.load_kw - self.plant.sources_kw


def propose(
    site: SiteParameters, state: State, sample: Sample, advice: Advice, orders: Orders
) -> tuple[Proposal, ...]:
    """Return every level's proposals for this cycle, in no order."""
    view = View(site, state, sample, current_slot(advice.plan, sample.t_s))
    if state.mode is Mode.SAFE:
        return _safe(view)
    proposals = list(orders.proposals)
    if state.mode is not Mode.MANUAL:
        proposals += _generator(view)
    proposals += _battery(view)
    proposals += [
        Proposal(Level.RULES, pv.name, Quantity.LIMIT_KW, "no limit needed", value=pv.rated_kw)
        for pv in site.pv
    ]
    return tuple(proposals)


def _safe(view: View) -> tuple[Proposal, ...]:
    """Everything still: battery at zero, generator stopped, no more PV than safety allows."""
    site, reason = view.site, f"safe: {view.state.mode_reason}"
    proposals = []
    if site.battery:
        proposals.append(
            Proposal(Level.SAFETY, site.battery.name, Quantity.POWER_KW, reason, value=0.0)
        )
    if site.generator:
        proposals.append(Proposal(Level.SAFETY, site.generator.name, Quantity.RUN, reason, value=0))
    for pv in site.pv:
        limit_kw = 0.0 if view.plant.emergency_stop or view.state.emergency_latched else pv.rated_kw
        proposals.append(Proposal(Level.SAFETY, pv.name, Quantity.LIMIT_KW, reason, value=limit_kw))
    return tuple(proposals)


def _battery(view: View) -> list[Proposal]:
    battery, plant, net_kw = view.site.battery, view.plant, view.net_kw
    if battery is None:
        return []
    if net_kw is None or plant.soc_frac is None:
        return [_power(battery, Level.RULES, 0.0, "the load is unknown")]
    if view.state.mode is Mode.MANUAL:
        return [_power(battery, Level.RULES, 0.0, "manual, no operator's setpoint")]
    recovery = _recovery(view, battery, plant.soc_frac, net_kw)
    if plant.grid_present:
        return recovery + _beside_grid(view, battery, net_kw, plant.soc_frac)
    if plant.generator_carries:
        return recovery + _beside_generator(view, battery, net_kw)
    return [_power(battery, Level.RULES, net_kw, "island: the battery forms the grid")]


def _power(battery: BatteryParameters, level: Level, value: float, reason: str) -> Proposal:
    return Proposal(level, battery.name, Quantity.POWER_KW, reason, value=value)


def _beside_grid(
    view: View, battery: BatteryParameters, net_kw: float, soc_frac: float
) -> list[Proposal]:
    net_kw -= view.plant.generator_kw or 0.0
    share, why = _share_stored(view, soc_frac) if net_kw < 0 else (1.0, "")
    rule_kw = rules.self_consumption_kw(net_kw, soc_frac, battery, share)
    proposals = [_power(battery, Level.RULES, rule_kw, "self-consumption" + why)]
    if view.slot is not None:
        following = follow_on_grid(view.slot, net_kw, share)
        proposals.append(_power(battery, Level.PLAN, following.battery_kw, following.reason + why))
        if soc_frac <= battery.reserve_soc_frac:
            proposals.append(
                Proposal(
                    Level.PLAN,
                    battery.name,
                    Quantity.POWER_KW,
                    f"reserve of {battery.reserve_soc_frac:.0%} for a bad day",
                    upper=0.0,
                )
            )
    return proposals


def _beside_generator(view: View, battery: BatteryParameters, net_kw: float) -> list[Proposal]:
    generator = view.site.generator
    if generator is None:
        return []
    rule_kw = rules.charge_beside_generator_kw(net_kw, generator)
    proposals = [_power(battery, Level.RULES, rule_kw, "charge beside the generator")]
    if view.slot is not None and view.slot.generator_on:
        following = follow_beside_generator(view.slot, net_kw)
        proposals.append(_power(battery, Level.PLAN, following.battery_kw, following.reason))
    return proposals


def _share_stored(view: View, soc_frac: float) -> tuple[float, str]:
    """The fuzzy split's share for the battery, and its words (Shahzad 2021)."""
    sample, site = view.sample, view.site
    made = split(
        sample.price_buy_per_kwh,
        NEUTRAL_DEGC if sample.temperature_degc is None else sample.temperature_degc,
        sample.hour_local,
        sample.interest_frac,
        1.0 - soc_frac,
        SurplusSettings(site.price_low_per_kwh, site.price_high_per_kwh),
    )
    buyers = ("p2p",) if sample.interest_frac > 0 else ()
    shares = made.raw.shared_among("store", "export", *buyers)
    return shares.store, f"; of the surplus {shares.store:.0%} stored"


def _recovery(
    view: View, battery: BatteryParameters, soc_frac: float, net_kw: float
) -> list[Proposal]:
    """Below its floor the battery is recharged from whatever else there is."""
    if soc_frac >= battery.soc_min_frac:
        return []
    surplus_kw = max(0.0, -net_kw)
    free = view.plant.generator_carries or (view.plant.grid_present and battery.charge_from_grid)
    rate_kw = RECOVERY_PER_H * battery.capacity_kwh
    upper = -rate_kw if free else -min(rate_kw, surplus_kw)
    return [
        Proposal(
            Level.SAFETY,
            battery.name,
            Quantity.POWER_KW,
            f"state of charge {soc_frac:.1%} below its floor {battery.soc_min_frac:.0%}",
            upper=upper,
        )
    ]


def _generator(view: View) -> list[Proposal]:
    """Whether the generator should run: by rule, by plan, and to save an island's battery."""
    site, plant = view.site, view.plant
    generator = site.generator
    if generator is None:
        return []

    def run(level: Level, wanted: bool, reason: str) -> Proposal:
        return Proposal(level, generator.name, Quantity.RUN, reason, value=float(wanted))

    if plant.grid_present:
        proposals = [run(Level.RULES, False, "the grid serves")]
    elif site.battery is None:
        return [run(Level.RULES, True, "island without a battery")]
    elif plant.soc_frac is None:
        return [run(Level.RULES, True, "island whose battery is unknown")]
    else:
        low = rules.generator_wanted(plant.soc_frac, site.battery, view.state.generator.run)
        word = "low" if low else "high enough"
        proposals = [run(Level.RULES, low, f"state of charge {plant.soc_frac:.0%} is {word}")]
        if view.state.generator.low_soc:
            proposals.append(run(Level.SAFETY, True, "island with a nearly empty battery"))
    if view.slot is not None:
        word = "run" if view.slot.generator_on else "rest"
        proposals.append(run(Level.PLAN, view.slot.generator_on, f"plan: {word}"))
    return proposals


def low_soc(site: SiteParameters, state: State) -> bool:
    """Whether an island's battery is so low that the generator must run, with hysteresis."""
    plant, battery = state.estimate, site.battery
    if battery is None or plant.soc_frac is None or plant.grid_present:
        return False
    margin = RECOVERED_FRAC if state.generator.low_soc else LOW_SOC_MARGIN_FRAC
    return plant.soc_frac < battery.soc_min_frac + margin
