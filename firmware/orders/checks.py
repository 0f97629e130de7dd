"""May this command be followed? One check after the other; the first that says no is the reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from control.fleet import each_battery, each_set
from control.records import Level
from control.site import GeneratorParameters, SiteParameters
from control.state import Estimate, GeneratorEstimate, GeneratorState, Mode, State
from firmware.config_operation import CommandSource
from firmware.orders.envelope import (
    BatteryReserve,
    BatterySetpoint,
    Command,
    ExportLimit,
    GeneratorStart,
    GeneratorStop,
    ImportLimit,
    ModeSet,
    PriceSet,
    PvLimit,
)
from firmware.orders.standing import (
    GRID_LIMITS,
    LIMITS,
    W_PER_KW,
    Order,
    Standing,
    grid_limit_kw,
    mode_order,
    pv_limit_kw,
    pv_limits_kw,
)

LONGEST_VALID_S = 120.0  # a command that may come so late is not one for now
EARLY_S = 30.0  # the sender's clock may be ahead by so much
MANY = 8  # limits of one source and kind that stand at the same time
SMALL_KW = 1e-6

LEVELS: Mapping[str, Level] = {
    "grid_operator": Level.GRID_OPERATOR,
    "installer": Level.LOCAL_OPERATOR,
    "operator": Level.LOCAL_OPERATOR,
    "supervisor": Level.SUPERVISOR,
    "market": Level.COMMITTED_TRADES,
}
OPERATIONS: Mapping[str, tuple[str, ...]] = {  # of the roles that may not do everything
    "viewer": (),
    "market": ("trade.set", "price.set"),
    "grid_operator": LIMITS,
}
ACTING = ("mode.set", "battery.setpoint", "pv.limit", "generator.start", "generator.stop")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a command meets. `state` is None before the first cycle."""

    site: SiteParameters
    standing: Standing
    generation: int
    state: State | None
    t_s: float
    utc_s: float
    clock_problem: str


def refusal(command: Command, order: Order, met: Circumstances) -> str:
    """Why the command is refused, with what is allowed; empty: it is not.

    The order is that of the protocol, from the precondition on; what comes before needs the memory
    of the command path.
    """
    checks: tuple[Callable[[Command, Order, Circumstances], str], ...] = (
        _precondition,
        _bounds,
        _tightens,
        _local_lockout,
        _arbitration,
    )
    return next((why for check in checks if (why := check(command, order, met))), "")


def untimely(command: Command, met: Circumstances) -> str:
    """Why the command does not count now: its times, or a clock that cannot judge them."""
    if not command.iat <= command.exp <= command.iat + LONGEST_VALID_S:
        return f"exp: must be from iat to iat + {LONGEST_VALID_S:g} s"
    if met.clock_problem:
        return met.clock_problem
    if command.exp < met.utc_s:
        return f"expired {met.utc_s - command.exp:.0f} s ago"
    if command.iat > met.utc_s + EARLY_S:
        return f"iat: {command.iat - met.utc_s:.0f} s in the future; {EARLY_S:g} s at most"
    return ""


def not_permitted(command: Command, source: CommandSource) -> str:
    """Why a source of this role may not do it."""
    permitted = OPERATIONS.get(source.role)
    if permitted is None or command.op in permitted:
        return ""
    return f"{source.role} may not {command.op}; allowed: {', '.join(permitted) or 'nothing'}"


# --- precondition --------------------------------------------------------------------------


def _precondition(command: Command, _order: Order, met: Circumstances) -> str:
    wanted = command.if_
    if wanted is None:
        return ""
    mode = met.state.mode if met.state else Mode.STARTING
    if wanted.mode is not None and wanted.mode is not mode:
        return f"if.mode: the mode is {mode}, not {wanted.mode}"
    if wanted.gen is not None and wanted.gen != met.generation:
        return f"if.gen: it is {met.generation}, not {wanted.gen}"
    return ""


# --- bounds --------------------------------------------------------------------------------


def _bounds(command: Command, _order: Order, met: Circumstances) -> str:
    if isinstance(command, BatterySetpoint):
        return _setpoint_bounds(command, met)
    if isinstance(command, BatteryReserve):
        return _reserve_bounds(command, met.site)
    if isinstance(command, PvLimit):
        return _pv_bounds(command, met.site)
    if isinstance(command, ExportLimit | ImportLimit):
        return _grid_bounds(command, met.site)
    if isinstance(command, GeneratorStart | GeneratorStop):
        return _generator_bounds(command, met)
    if isinstance(command, PriceSet):
        return _price_bounds(command, met.utc_s)
    return ""


def _unknown(device: str | None, names: Sequence[str]) -> str:
    if device is None or device in names:
        return ""
    return f"args.device: no {device}; allowed: {', '.join(names)}"


def _outside(key: str, value: float, lower: float, upper: float, why: str) -> str:
    """Powers in W."""
    if lower - SMALL_KW * W_PER_KW <= value <= upper + SMALL_KW * W_PER_KW:
        return ""
    return f"args.{key}: {value:g} W is outside the {why}; allowed: {lower:z.0f} to {upper:.0f} W"


def _setpoint_bounds(command: BatterySetpoint, met: Circumstances) -> str:
    battery, power_w = met.site.battery, command.args.p_w
    if battery is None:
        return "this site has no battery"
    device = command.args.device
    if unknown := _unknown(device, [unit.name for unit in met.site.battery_units]):
        return unknown
    plant = met.state.estimate if met.state else Estimate()
    limits_kw = plant.charge_limit_kw, plant.discharge_limit_kw
    if device is not None:
        for unit, known in each_battery(met.site, plant):
            if unit.name == device:
                battery, limits_kw = unit, (known.charge_limit_kw, known.discharge_limit_kw)
    charge_kw, discharge_kw = battery.charge_max_kw, battery.discharge_max_kw
    rated = _outside(
        "p_w", power_w, -W_PER_KW * charge_kw, W_PER_KW * discharge_kw, "site's limits"
    )
    if limits_kw[0] is not None:
        charge_kw = min(charge_kw, limits_kw[0])
    if limits_kw[1] is not None:
        discharge_kw = min(discharge_kw, limits_kw[1])
    now = "limits that the battery has now"
    lower_w, upper_w = -W_PER_KW * charge_kw, W_PER_KW * discharge_kw
    return rated or _outside("p_w", power_w, lower_w, upper_w, now)


def _reserve_bounds(command: BatteryReserve, site: SiteParameters) -> str:
    battery, soc_frac = site.battery, command.args.soc_frac
    if battery is None:
        return "this site has no battery"
    if soc_frac is None or battery.reserve_soc_frac <= soc_frac <= battery.soc_max_frac:
        return ""
    allowed = f"{battery.reserve_soc_frac:g} to {battery.soc_max_frac:g}"
    return f"args.soc_frac: {soc_frac:g} is outside the site's limits; allowed: {allowed}"


def _pv_bounds(command: PvLimit, site: SiteParameters) -> str:
    rated_kw = {pv.name: pv.rated_kw for pv in site.pv}
    device = command.args.device
    if not rated_kw:
        return "this site has no PV"
    if device is not None and device not in rated_kw:
        return f"args.device: no {device}; allowed: {', '.join(rated_kw)}"
    most_kw = rated_kw[device] if device else site.pv_rated_kw
    return _outside("p_w", command.args.p_w, 0.0, W_PER_KW * most_kw, "rating")


def _grid_bounds(command: ExportLimit | ImportLimit, site: SiteParameters) -> str:
    if site.grid is None:
        return "this site has no grid connection"
    if command.args.p_w is None:
        return ""
    most_kw = _site_kw(command.op, site)
    return _outside("p_w", command.args.p_w, 0.0, W_PER_KW * most_kw, "site's limit")


def _site_kw(op: str, site: SiteParameters) -> float:
    if site.grid is None:
        return 0.0
    return site.grid.export_max_kw if op == "grid.export_limit" else site.grid.import_max_kw


def _generator_bounds(command: GeneratorStart | GeneratorStop, met: Circumstances) -> str:
    if met.site.generator is None:
        return "this site has no generator"
    device = command.args.device
    if unknown := _unknown(device, [unit.name for unit in met.site.generator_units]):
        return unknown
    if met.state is None:
        return "nothing is known of the generator yet"
    stop = isinstance(command, GeneratorStop)
    refused = [
        (
            unit.name,
            _not_stoppable(unit, own, met) if stop else _not_startable(unit, own, seen, met),
        )
        for unit, own, seen in each_set(met.site, met.state)
        if device in (None, unit.name)
    ]
    if len(refused) == 1:
        return refused[0][1]
    reasons = [f"{name}: {why}" for name, why in refused if why]
    all_wanted = stop or len(reasons) == len(refused)  # one that can start is enough
    return "; ".join(reasons) if all_wanted else ""


def _not_stoppable(unit: GeneratorParameters, own: GeneratorState, met: Circumstances) -> str:
    left_s = unit.min_run_s - (met.t_s - own.since_s)
    return f"minimum run: {left_s:.0f} s left" if own.run and left_s > 0 else ""


def _not_startable(
    unit: GeneratorParameters, own: GeneratorState, seen: GeneratorEstimate, met: Circumstances
) -> str:
    for_s = met.t_s - own.since_s
    if own.run:
        return ""
    if own.locked:
        return f"locked: {own.locked}; alarm.acknowledge first"
    if unit.min_rest_s > for_s:
        return f"minimum rest: {unit.min_rest_s - for_s:.0f} s left"
    missing = met.state.estimate.missing if met.state else ()
    blind = unit.by_relay and unit.name in missing
    return "" if seen.available or blind else "the set is not ready for a remote start"


def _price_bounds(command: PriceSet, utc_s: float) -> str:
    starts = [row.from_ for row in command.args.prices]
    if any(later <= earlier for earlier, later in pairwise(starts)):
        return "args.prices: each `from` must be later than the one before"
    if starts[0] >= utc_s + command.args.ttl_s:
        return "args.prices: begin after ttl_s has passed"
    return ""


# --- limits are tightened only -------------------------------------------------------------


def _tightens(command: Command, order: Order, met: Circumstances) -> str:
    """From elsewhere a limit is never loosened; on site it may be, up to the site file's."""
    if order.local or command.op not in LIMITS:
        return ""
    same = [o for o in met.standing if o.op == command.op and o.src == order.src]
    if isinstance(command, ExportLimit | ImportLimit):
        site_kw = _site_kw(command.op, met.site)
        now_kw = grid_limit_kw(met.standing, command.op, site_kw)
        if min(order.limit_kw, site_kw) > now_kw + SMALL_KW:
            return _loosens(order, now_kw)
    elif isinstance(command, PvLimit):
        rated_kw = {pv.name: pv.rated_kw for pv in met.site.pv}
        for name, limit_kw in pv_limits_kw(order, met.site).items():
            now_kw = pv_limit_kw(met.standing, name, rated_kw[name], met.site)
            if limit_kw > now_kw + SMALL_KW:
                return _loosens(order, now_kw, f" for {name}")
    if len(same) >= MANY:
        return f"{MANY} limits of {order.src} stand already; wait for one to end"
    return ""


def _loosens(order: Order, now_kw: float, whose: str = "") -> str:
    wanted = "taking it back" if order.args["p_w"] is None else f"{order.args['p_w']} W"
    allowed = f"0 to {W_PER_KW * now_kw:.0f} W{whose}"
    return (
        f"{wanted} would loosen the limit in force, which is done on site only; allowed: {allowed}"
    )


# --- local lockout and arbitration ---------------------------------------------------------


def _local_lockout(command: Command, order: Order, met: Circumstances) -> str:
    """The emergency stop and an operator on site who has stopped the plant have the last word."""
    state = met.state
    pressed = state is not None and state.estimate.emergency_stop
    latched = state is not None and state.emergency_latched
    stops = isinstance(command, ModeSet) and command.args.mode == "stopped"
    acts = command.op in ACTING and not stops
    if command.op == "alarm.acknowledge" and pressed:
        return "the emergency stop is still pressed, or cannot be read"
    if command.op == "alarm.acknowledge" and latched and not order.local:
        return "the emergency stop was pressed: it is acknowledged on site only"
    if acts and (pressed or latched):
        return "emergency stop: release it and acknowledge it on site first"
    stopped = mode_order(met.standing)
    if stopped is None or stopped.args["mode"] != "stopped" or not acts:
        return ""
    if stopped.local and not order.local:
        return f"stopped on site by {stopped.by}: released there only"
    if not isinstance(command, ModeSet):
        return f"the site is stopped by {stopped.by}; mode.set auto first"
    return ""


def _arbitration(command: Command, order: Order, met: Circumstances) -> str:
    """What cannot come into force is refused; what only has to wait is told: see `held_by`."""
    mode = mode_order(met.standing)
    manual = mode is not None and mode.args["mode"] == "manual"
    setpoint = isinstance(command, BatterySetpoint | GeneratorStart | GeneratorStop)
    if setpoint and manual and order.level < Level.LOCAL_OPERATOR:
        return "the mode is manual: only setpoints of operators count"
    return ""


def held_by(order: Order, standing: Standing) -> str:
    """Who of a higher level holds the same thing now; empty: nobody."""
    if order.op in GRID_LIMITS or order.op == "pv.limit":
        others = [o for o in standing if o.op == order.op and o.limit_kw < order.limit_kw]
    else:
        others = [o for o in standing if o.slot[0] == order.slot[0] and not o.is_pulse]
        others = [o for o in others if o.rank > order.rank]
    held = max(others, key=lambda other: other.rank, default=None)
    return f"{held.text}, holds {held.until}" if held else ""
