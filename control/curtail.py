"""How much PV the site can take now: load, battery, generator and grid decide."""

from control.records import Quantity
from control.site import BatteryParameters, GeneratorParameters, GridParameters, SiteParameters
from control.state import Estimate, State

GRID_MARGIN_FRAC = 0.03  # of the limit, for what moves between two cycles
GENERATOR_MARGIN_FRAC = 0.05  # of rating, likewise
TAPER_H = 0.05  # the battery approaches its SOC limits with this time constant
PV_RISE_PER_S = 0.05  # of rating: a limit falls at once and rises slowly, so it cannot hunt
DISTRUST_S = 5.0  # a battery that deviates from its setpoint for longer is not counted on


def pv_limits(
    site: SiteParameters, state: State, battery_kw: float, now_s: float
) -> tuple[tuple[float, ...], str]:
    """Return a limit (kW, >= 0) per inverter for the battery's new setpoint, and what limits.

    The inverters that answer share what room the others leave, in proportion to their ratings.
    """
    if not site.pv:
        return (), ""
    room_kw, reason = _room(site, state, battery_kw, now_s)
    answering_kw = sum(pv.rated_kw for pv in site.pv if pv.name not in state.estimate.missing)
    share = min(1.0, max(0.0, room_kw) / (answering_kw or site.pv_rated_kw))
    if state.pv_limit_kw is not None and state.t_s is not None:
        risen = state.pv_limit_kw / site.pv_rated_kw
        risen += PV_RISE_PER_S * max(0.0, now_s - state.t_s)
        if share > risen:
            share, reason = risen, "limit rises slowly"
    return tuple(share * pv.rated_kw for pv in site.pv), reason


def _room(site: SiteParameters, state: State, battery_kw: float, now_s: float) -> tuple[float, str]:
    """Most power of the inverters that answer, and what limits it.

    What they give now plus what the rest of the site could take instead: so what silent inverters,
    wind and load really do need not be known.
    """
    plant, generator = state.estimate, site.generator
    if plant.grid_present and site.grid is not None:
        battery_kw = _trusted_kw(site, state, battery_kw, now_s)
        return _beside_grid(site, site.grid, plant, battery_kw)
    unseen = state.generator.run and plant.generator_phase == "unknown"
    if generator is not None and (plant.generator_carries or unseen):
        return _beside_generator(generator, site.battery, plant)
    if site.battery is None:
        return site.pv_rated_kw, "rating"  # nothing here forms an island
    if plant.net_kw is None:
        kept_kw = site.pv_rated_kw if state.pv_limit_kw is None else state.pv_limit_kw
        return kept_kw, "island: the load is unknown, the limit stays"
    if generator is not None and comes(state):
        room_kw, _ = _beside_generator(generator, site.battery, plant)
        return room_kw, "minimum load of the generator that starts"
    room_kw = plant.pv_seen_kw + plant.net_kw + can_charge_kw(site.battery, plant)
    return room_kw, "island: the battery can charge no faster"


def comes(state: State) -> bool:
    """A set is asked for or warms up: on an island it may close its breaker before the next cycle.

    What is commanded then has to be right beside it too. An inverter that forms the grid follows
    the load, and its setpoint takes hold at the very moment at which it no longer does.
    """
    plant = state.estimate
    if plant.grid_present or plant.generator_carries:
        return False
    return state.generator.run or plant.generator_phase in ("starting", "warming")


def ahead_kw(site: SiteParameters, state: State, now_s: float) -> float:
    """How much the battery makes way in this cycle for PV that its limit holds back.

    The limit follows what the battery is told. Without this the battery would give for ever, or
    take no more than it is given, while the sun could serve.
    """
    if not state.estimate.pv_throttled or state.t_s is None or state.pv_limit_kw is None:
        return 0.0
    rise_kw = PV_RISE_PER_S * site.pv_rated_kw * max(0.0, now_s - state.t_s)
    return max(0.0, min(rise_kw, site.pv_rated_kw - state.pv_limit_kw))


def _beside_grid(
    site: SiteParameters, grid: GridParameters, plant: Estimate, battery_kw: float
) -> tuple[float, str]:
    export_kw = (1.0 - GRID_MARGIN_FRAC) * grid.export_max_kw
    reason = grid.export_text
    generator_kw = plant.generator_kw or 0.0
    if plant.net_kw is not None:
        return plant.pv_seen_kw + plant.net_kw - generator_kw - battery_kw + export_kw, reason
    reason += ", the load is unknown"
    if plant.grid_kw is not None:
        return plant.pv_seen_kw + plant.grid_kw + export_kw, reason
    silent_kw = sum(pv.rated_kw for pv in site.pv if pv.name in plant.missing)
    others_kw = silent_kw + sum(wind.rated_kw for wind in site.wind) + generator_kw
    return export_kw - others_kw - max(0.0, battery_kw), reason


def _beside_generator(
    generator: GeneratorParameters, battery: BatteryParameters | None, plant: Estimate
) -> tuple[float, str]:
    least_kw = generator.min_kw + GENERATOR_MARGIN_FRAC * generator.rated_kw
    if plant.net_kw is not None:
        can_kw = can_charge_kw(battery, plant) if battery else 0.0
        return plant.pv_seen_kw + plant.net_kw + can_kw - least_kw, "generator's minimum load"
    if plant.generator_kw is not None:
        return plant.pv_seen_kw + plant.generator_kw - least_kw, "generator's minimum load"
    return 0.0, "the generator cannot be seen: nothing may push power into it"


def _trusted_kw(site: SiteParameters, state: State, battery_kw: float, now_s: float) -> float:
    """The battery's new setpoint, or what it does instead if that leaves less room."""
    plant, distrusted = state.estimate, _distrusted(state, now_s)
    if not site.batteries:
        name = site.battery.name if site.battery else None
        if name not in distrusted or plant.battery_kw is None:
            return battery_kw
        return max(battery_kw, plant.battery_kw)
    units = zip(site.batteries, plant.batteries, state.battery_units_kw, strict=False)
    for battery, known, told_kw in units:  # of several: as told, and what each gives beyond it
        if battery.name in distrusted and known.kw is not None:
            battery_kw += max(0.0, known.kw - told_kw)
    return battery_kw


def _distrusted(state: State, now_s: float) -> set[str]:
    """The devices that have deviated from their power setpoint for too long."""
    return {
        item.device
        for item in state.obedience
        if item.quantity is Quantity.POWER_KW
        and item.deviates_since_s is not None
        and now_s - item.deviates_since_s >= DISTRUST_S
    }


def can_charge_kw(battery: BatteryParameters, plant: Estimate) -> float:
    """What the battery can still take; nothing where its charge or its limit is unknown."""
    if plant.soc_frac is None or plant.charge_limit_kw is None:
        return 0.0
    below_kwh = max(0.0, battery.soc_max_frac - plant.soc_frac) * battery.capacity_kwh
    return min(plant.charge_limit_kw, battery.charge_max_kw, below_kwh / TAPER_H)
