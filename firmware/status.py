"""What is known of one cycle, as plain JSON values: the document behind `status` and `why`."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from control.fleet import each_battery, each_set
from control.obedience import FLAGGED, complaint
from control.records import (
    Ack,
    Advice,
    Applied,
    Command,
    Explanation,
    Observed,
    Orders,
    Proposal,
    Sample,
    Setpoint,
)
from control.site import SiteParameters
from control.sky import PvAhead
from control.state import Mode, Obedience, State
from drivers.station import DeviceImage
from firmware.neighbours import NOBODY, Neighbours
from firmware.status_units import (
    battery_status,
    generators_as_one,
    planned_units,
    set_status,
)
from firmware.trading_status import trading_status

FORMAT = 1
NO_ORDERS = Orders()


@dataclass(frozen=True, slots=True)
class Moment:
    """One cycle, live or out of a recording; `applied` is what the decision was given."""

    sample: Sample
    applied: Applied
    advice: Advice
    state: State  # after the decision
    command: Command
    orders: Orders = NO_ORDERS
    neighbours: Neighbours = NOBODY


@dataclass(frozen=True, slots=True)
class Machine:
    """What only a running service knows beside its cycles."""

    images: Mapping[str, DeviceImage]
    loop: Mapping[str, Any]  # `Loop.statistics`
    pin_faults: tuple[str, ...] = ()
    servers: Sequence["Server"] = ()
    link: Mapping[str, Any] | None = None  # to the MQTT broker; None: none is wanted
    store_problem: str | None = None  # empty: it works; None: none is wanted
    failures: tuple[str, ...] = ()  # of its parts, by our own mistakes


class Server(Protocol):
    """Something that others connect to over the network."""

    name: str
    problem: str  # why nobody can; empty: they can

    @property
    def url(self) -> str:
        """Where it is."""


NO_MACHINE = Machine({}, {})


def status(
    name: str, version: str, site: SiteParameters, moment: Moment, machine: Machine = NO_MACHINE
) -> dict[str, Any]:
    """Return the status document; what is unknown is None, never NaN or infinite.

    Ages and `for_s` count up to the moment's cycle; powers are source-positive.
    """
    sample, state, plant = moment.sample, moment.state, moment.state.estimate
    now_s = sample.t_s
    document = {
        "format": FORMAT,
        "site": name,
        "version": version,
        "period_s": site.period_s,
        "cycle": sample.cycle,
        "utc": utc_text(sample.utc_s),
        "mode": {
            "name": state.mode.value,
            "for_s": now_s - state.mode_since_s,
            "reason": state.mode_reason,
        },
        "power_kw": {
            "pv": plant.pv_kw,
            "wind": plant.wind_kw,
            "battery": plant.battery_kw,
            "generator": plant.generator_kw,
            "grid": plant.grid_kw,
            "load": plant.load_kw,
        },
        "battery": site.battery
        and {
            "soc_frac": plant.soc_frac,
            "charge_limit_kw": plant.charge_limit_kw,
            "discharge_limit_kw": plant.discharge_limit_kw,
        },
        "grid": site.grid and {"present": plant.grid_present, "for_s": plant.grid_for_s},
        "generator": site.generator and generators_as_one(site.generator, state, now_s),
        "batteries": [battery_status(*known) for known in each_battery(site, plant)],
        "generators": [set_status(*known, now_s) for known in each_set(site, state)],
        "irradiance_w_m2": sample.irradiance_w_m2.good if sample.irradiance_w_m2 else None,
        "price_per_kwh": {"buy": sample.price_buy_per_kwh, "sell": sample.price_sell_per_kwh},
        "devices": [
            _device(device, observed, machine.images.get(device))
            for device, observed in observations(site, sample)
        ],
        "missing": plant.missing,
        "setpoints": _setpoints(moment),
        "orders": _orders(moment.orders, now_s),
        "plan": _plan(site, moment.advice, now_s),
        "forecast": _forecast(moment.advice, now_s),
        "nowcast": _nowcast(site, sample, state.sky.ahead),
        "advice_missing": moment.advice.detail,
        "trading": trading_status(moment.neighbours, sample.utc_s, now_s),
        "alarms": [*_alarms(site, state), *_machine_alarms(machine)],
        **_machine(machine),
    }
    plain: dict[str, Any] = _plain(document)
    return plain


def utc_text(utc_s: float) -> str | None:
    """ISO 8601 in UTC to the millisecond; None for a time that no clock shows."""
    try:
        moment = datetime.fromtimestamp(utc_s, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def observations(site: SiteParameters, sample: Sample) -> Iterator[tuple[str, Observed[Any]]]:
    """Yield every device's name with what was read of it."""
    groups: tuple[tuple[tuple[Any, ...], tuple[Observed[Any], ...]], ...] = (
        (site.pv, sample.pv),
        (site.wind, sample.wind),
        (site.battery_units, sample.batteries),
        (site.generator_units, sample.generators),
    )
    for parameters, observed in groups:
        for device, seen in zip(parameters, observed, strict=False):
            yield device.name, seen
    if site.grid is not None and sample.grid is not None:
        yield site.grid.name, sample.grid


def _device(name: str, observed: Observed[Any], image: DeviceImage | None) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": name,
        "quality": observed.quality.value,
        "age_s": observed.age_s,
        "error": observed.detail,
        "measured": asdict(observed.value) if observed.value is not None else None,
    }
    if image is not None:
        known["online"] = image.online
        known["identity"] = asdict(image.identity) if image.identity else None
        known["error"] = observed.detail or image.error
        known["failed_exchanges"] = image.errors
    return known


# --- setpoints -----------------------------------------------------------------------------


def _setpoints(moment: Moment) -> list[dict[str, Any]]:
    why = {(item.device, item.quantity): item for item in moment.command.why}
    acks = {(ack.device, ack.quantity): ack for ack in moment.applied}
    obedience = {(item.device, item.quantity): item for item in moment.state.obedience}
    return [
        _setpoint(item, why.get(key), acks.get(key), obedience.get(key), moment.sample.t_s)
        for item in moment.command.setpoints
        for key in [(item.device, item.quantity)]
    ]


def _setpoint(
    setpoint: Setpoint,
    why: Explanation | None,
    ack: Ack | None,
    obedience: Obedience | None,
    now_s: float,
) -> dict[str, Any]:
    """One setpoint; what was acknowledged and obeyed is that of the cycle before."""
    return {
        "device": setpoint.device,
        "quantity": setpoint.quantity.value,
        "commanded": setpoint.value,
        "lease_s": setpoint.lease_s,
        "source": why.source if why else None,
        "reason": why.reason if why else None,
        "wanted": why.wanted if why else None,
        "clips": why.clips if why else (),
        "otherwise": why.losers if why else (),
        "acknowledged": ack
        and {
            "commanded": ack.commanded,
            "value": ack.acknowledged,
            "age_s": now_s - ack.t_s,
            "error": ack.error,
        },
        "obeyed": obedience
        and {
            "status": obedience.status,
            "for_s": now_s - obedience.since_s,
        },
    }


# --- orders --------------------------------------------------------------------------------


def _orders(orders: Orders, now_s: float) -> dict[str, Any]:
    """What operators and supervisor want that still stands; limits only as far as ordered."""
    return {
        "standing": orders.active,
        "setpoints": [
            _order(proposal, now_s) for proposal in orders.proposals if proposal.expires_t_s > now_s
        ],
        "import_max_kw": orders.import_max_kw,
        "export_max_kw": orders.export_max_kw,
        "reserve_soc_frac": orders.reserve_soc_frac,
        "prices": [
            {
                "from": utc_text(period.from_utc_s),
                "until": utc_text(period.until_utc_s),
                "buy": period.buy_per_kwh,
                "sell": period.sell_per_kwh,
            }
            for period in orders.prices
        ],
        "trading": orders.trading,
    }


def _order(proposal: Proposal, now_s: float) -> dict[str, Any]:
    return {
        "device": proposal.device,
        "quantity": proposal.quantity.value,
        "level": proposal.level.title,
        "reason": proposal.reason,
        "value": proposal.value,
        "lower": proposal.lower,
        "upper": proposal.upper,
        "expires_in_s": proposal.expires_t_s - now_s,
    }


# --- advice and alarms ---------------------------------------------------------------------


def _plan(site: SiteParameters, advice: Advice, now_s: float) -> dict[str, Any] | None:
    plan = advice.plan
    if plan is None:
        return None
    slot = int((now_s - plan.start_t_s) // plan.step_s)
    current = None
    if 0 <= slot < len(plan.battery_kw):
        current = {
            "ends_in_s": plan.start_t_s + (slot + 1) * plan.step_s - now_s,
            "battery_kw": plan.battery_kw[slot],
            "generator_on": plan.generator_on[slot],
            "generator_kw": plan.generator_kw[slot],
            "grid_kw": plan.grid_kw[slot],
            "soc_frac_at_end": plan.soc_frac[slot],
            "units": dict(planned_units(site, plan, slot)),
        }
    return {
        "age_s": now_s - plan.issued_t_s,
        "expires_in_s": plan.expires_t_s - now_s,
        "expired": plan.expires_t_s <= now_s,
        "solver": plan.solver,
        "cost": plan.cost,
        "slot": current,
    }


def _forecast(advice: Advice, now_s: float) -> dict[str, Any] | None:
    forecast = advice.forecast
    if forecast is None:
        return None
    return {
        "age_s": now_s - forecast.issued_t_s,
        "pv_source": forecast.pv.source,
        "load_source": forecast.load.source,
        "pv_skill": forecast.pv.skill,
        "load_skill": forecast.load.skill,
        "pv_coverage": forecast.pv.coverage,
        "load_coverage": forecast.load.coverage,
        "pv_shadow": forecast.pv.shadow,
        "load_shadow": forecast.load.shadow,
    }


def _nowcast(site: SiteParameters, sample: Sample, ahead: PvAhead | None) -> dict[str, Any] | None:
    """PV of the next minutes by the irradiance sensor, or why there is none; None: no PV."""
    if not site.pv:
        return None
    sun = sample.irradiance_w_m2
    if ahead is not None and ahead.is_fresh(sample.t_s):
        quantiles = asdict(ahead.minutes)
        return {"missing": "", "learnt": ahead.learnt, **quantiles}
    missing = "too little light, or the sensor has just begun"
    if sun is None:
        missing = "no irradiance sensor"
    elif sun.good is None:
        missing = f"irradiance sensor: {sun.detail}"
    return {"missing": missing, "learnt": False, "p10_kw": (), "p50_kw": (), "p90_kw": ()}


def _alarms(site: SiteParameters, state: State) -> Iterator[str]:
    if state.mode in (Mode.SAFE, Mode.DEGRADED):
        yield f"mode {state.mode.value}: {state.mode_reason}"
    if state.estimate.emergency_stop:
        yield "emergency stop"
    elif state.emergency_latched:
        yield "emergency stop was pressed and is not acknowledged"
    for generator, own, _ in each_set(site, state):
        if own.locked:
            whose = generator.name if site.generators else "generator"
            yield f"{whose} locked: {own.locked}"
    for item in state.obedience:
        if item.status in FLAGGED:
            yield complaint(item)


def _machine_alarms(machine: Machine) -> Iterator[str]:
    yield from machine.pin_faults
    if machine.store_problem:
        yield f"store: {machine.store_problem}"
    yield from machine.failures


def _machine(machine: Machine) -> dict[str, Any]:
    """What is not of the plant; None for what is not wanted."""
    problem = machine.store_problem
    return {
        "servers": [
            {"name": server.name, "url": server.url, "problem": server.problem or None}
            for server in machine.servers
        ],
        "link": machine.link,
        "store": None if problem is None else {"problem": problem or None},
        "loop": machine.loop,
    }


def _plain(value: Any) -> Any:
    """`value` with tuples as lists and numbers that JSON does not have as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
