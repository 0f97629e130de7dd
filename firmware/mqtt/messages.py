"""What is published, as plain JSON values: W and Wh, seconds since 1970 UTC, None for unknown.

The documents are made from the status document (docs/status.md) and one cycle's telemetry. Their
schemas are in docs/schemas.
"""

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from control.records import (
    BatteryMeasurement,
    Event,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Orders,
    Plan,
    Quality,
)
from firmware.config import Site
from firmware.loop import Telemetry

VERSION = 1
VOLATILE = frozenset(  # what moves with time alone is no change
    ("ts", "seq", "age_s", "since", "expires", "issued", "start", "loop")
)
MEASUREMENTS = {
    "pv": InverterMeasurement,
    "wind": InverterMeasurement,
    "battery": BatteryMeasurement,
    "generator": GeneratorMeasurement,
    "grid": GridMeasurement,
}
QUANTITIES = {"power_kw": "p_w", "limit_kw": "limit_w", "run": "run"}  # of setpoints
LIMITS = (  # of a device in the site file
    "rated_kw",
    "charge_max_kw",
    "discharge_max_kw",
    "capacity_kwh",
    "soc_min_frac",
    "soc_max_frac",
    "import_max_kw",
    "export_max_kw",
)

Document = dict[str, Any]


def wire(name: str, value: Any) -> tuple[str, Any]:
    """A value under its name on the wire: kW as W, kWh as Wh, both whole numbers."""
    if name == "power_kw":
        return "p_w", watt(value)
    for unit, other in (("_kwh", "_wh"), ("_kw", "_w")):
        if name.endswith(unit):
            return name.removesuffix(unit) + other, watt(value)
    if isinstance(value, float):
        return name, round(value, 5) if math.isfinite(value) else None
    return name, value


def watt(kilo: float | None) -> int | None:
    """kW in W, or kWh in Wh."""
    return None if kilo is None or not math.isfinite(kilo) else round(1000.0 * kilo)


def kinds(site: Site) -> dict[str, str]:
    """Device -> what it is to the site."""
    groups = {"pv": site.pv, "wind": site.wind, "battery": site.battery}
    found = {item.name: kind for kind, items in groups.items() for item in items}
    found |= {item.name: "generator" for item in site.generator}
    return found | ({site.grid.name: "grid"} if site.grid else {})


def _head(telemetry: Telemetry) -> Document:
    sample = telemetry.sample
    return {"v": VERSION, "ts": round(sample.utc_s, 3), "seq": sample.cycle}


def site_state(
    telemetry: Telemetry, status: Mapping[str, Any], energy_kwh: Mapping[str, float]
) -> Document:
    """`ng/1/S/state`."""
    sample = telemetry.sample
    battery, grid, generator = status["battery"], status["grid"], status["generator"]
    loop = status["loop"]
    lateness = loop.get("lateness") or {}
    return {
        **_head(telemetry),
        "version": status["version"],
        "p_w": {name: watt(kw) for name, kw in status["power_kw"].items()},
        "battery": battery and dict(wire(name, value) for name, value in battery.items()),
        "grid_present": grid["present"] if grid else None,
        "generator": generator and _sequence(generator),
        **_units(status),
        "irradiance_w_m2": wire("irradiance_w_m2", status["irradiance_w_m2"])[1],
        "temperature_degc": wire("temperature_degc", sample.temperature_degc)[1],
        "price_per_kwh": {
            "buy": wire("buy", sample.price_buy_per_kwh)[1],
            "sell": wire("sell", sample.price_sell_per_kwh)[1],
        },
        "energy_wh": {name: watt(kwh) for name, kwh in energy_kwh.items()} or None,
        "alarms": list(status["alarms"]),
        "missing": list(status["missing"]),
        "advice_missing": status["advice_missing"],
        "trading": status["trading"] and _trading(status["trading"]),
        "loop": {
            "cycles": loop.get("cycles"),
            "missed": loop.get("cycles_missed"),
            "lateness_p99_s": lateness.get("p99_s"),
            "lateness_max_s": lateness.get("max_s"),
        },
    }


def _trading(trading: Mapping[str, Any]) -> Document:
    now = trading["now"]
    return {
        "community": trading["community"],
        "connected": trading["connected"],
        "problem": trading["problem"],
        "doing": trading["doing"],
        "p_w": watt(now["bought_kw"]) if now else 0,
        "price_per_kwh": wire("", now["price_per_kwh"])[1] if now else None,
        "last_price_per_kwh": wire("", trading["last_price_per_kwh"])[1],
        "agreed_price_per_kwh": wire("", trading["agreed_price_per_kwh"])[1],
        "bought_wh": watt(trading["bought_kwh"]),
        "sold_wh": watt(trading["sold_kwh"]),
        "trades": [
            {
                "from": round(trade["from_utc_s"]),
                "until": round(trade["until_utc_s"]),
                "wh": watt(trade["bought_kwh"]),
                "price_per_kwh": wire("", trade["price_per_kwh"])[1],
            }
            for trade in trading["trades"]
        ],
    }


def _sequence(generator: Mapping[str, Any]) -> Document:
    keys = ("asked_to_run", "phase", "available", "failed_starts", "locked")
    return {key: generator[key] for key in keys}


def _units(status: Mapping[str, Any]) -> Document:
    """Each battery and each generator by its name, where there are several of the kind."""
    found: Document = {}
    if len(status["batteries"]) > 1:
        found["batteries"] = {
            each["name"]: dict(wire(key, each[key]) for key in each if key != "name")
            for each in status["batteries"]
        }
    if len(status["generators"]) > 1:
        found["generators"] = {
            each["name"]: {"p_w": watt(each["power_kw"]), **_sequence(each)}
            for each in status["generators"]
        }
    return found


def device_state(telemetry: Telemetry, device: Mapping[str, Any], kind: str) -> Document:
    """`ng/1/S/D/state`; what is not good is None."""
    good = device["quality"] == Quality.GOOD.value and device["measured"] is not None
    age_s = device["age_s"]
    values = {}
    for field in fields(MEASUREMENTS[kind]):
        name, value = wire(field.name, device["measured"][field.name] if good else None)
        values[name] = value
    return {
        **_head(telemetry),
        "kind": kind,
        "q": device["quality"],
        "online": bool(device.get("online", False)),
        "error": device["error"],
        "age_s": None if age_s is None else round(age_s, 1),
        **values,
    }


def device_meta(site: Site, name: str, identity: Mapping[str, str] | None) -> Document:
    """`ng/1/S/D/meta`: what it is, its limits in the site file, what its state consists of."""
    kind = kinds(site)[name]
    (device,) = (item for item in site.devices if item.name == name)
    known = identity or {}
    units = {wire(field.name, None)[0] for field in fields(MEASUREMENTS[kind])}
    return {
        "v": VERSION,
        "name": name,
        "kind": kind,
        "driver": device.driver,
        **{key: known.get(key) or None for key in ("maker", "model", "serial", "version")},
        "limits": dict(wire(key, getattr(device, key)) for key in LIMITS if hasattr(device, key)),
        "units": {field: unit for field in sorted(units) if (unit := unit_of(field))},
        "schema": f"urn:nanogrid:mqtt:1:device-{kind}",
    }


def unit_of(field: str) -> str | None:
    """The unit that a field's name ends in, None for words."""
    endings = {"_wh": "Wh", "_w": "W", "_frac": "1", "_hz": "Hz", "_degc": "°C", "_v": "V"}
    return next((unit for ending, unit in endings.items() if field.endswith(ending)), None)


def mode(telemetry: Telemetry, status: Mapping[str, Any]) -> Document:
    """`ng/1/S/mode`."""
    found = status["mode"]
    return {
        **_head(telemetry),
        "mode": found["name"],
        "since": round(telemetry.sample.utc_s - found["for_s"], 1),
        "reason": found["reason"],
        "ordered": ordered_mode(telemetry.orders),
        "orders": list(telemetry.orders.active),
    }


def ordered_mode(orders: Orders) -> str:
    """The mode as an operator chooses it."""
    if orders.stop:
        return "stopped"
    return "manual" if orders.manual else "auto"


def schedule(telemetry: Telemetry, status: Mapping[str, Any]) -> Document:
    """`ng/1/S/schedule`: the setpoints that hold now, and the plan ahead."""
    plan = telemetry.advice.plan
    utc_of_monotonic = telemetry.sample.utc_s - telemetry.sample.t_s
    return {
        **_head(telemetry),
        "setpoints": [_setpoint(item, telemetry.sample.utc_s) for item in status["setpoints"]],
        "plan": plan and _plan(plan, utc_of_monotonic),
    }


def _setpoint(item: Mapping[str, Any], utc_s: float) -> Document:
    def scaled(value: float | None) -> float | int | None:
        return value if item["quantity"] == "run" or value is None else watt(value)

    acknowledged, obeyed = item["acknowledged"], item["obeyed"]
    return {
        "device": item["device"],
        "quantity": QUANTITIES[item["quantity"]],
        "value": scaled(item["commanded"]),
        "wanted": scaled(item["wanted"]),
        "source": item["source"],
        "reason": item["reason"],
        "clips": list(item["clips"]),
        "otherwise": list(item["otherwise"]),
        "expires": round(utc_s + item["lease_s"], 1),
        "acknowledged": scaled(acknowledged["value"]) if acknowledged else None,
        "obeyed": obeyed["status"] if obeyed else None,
    }


def _plan(plan: Plan, utc_of_monotonic: float) -> Document:
    return {
        "issued": round(utc_of_monotonic + plan.issued_t_s),
        "start": round(utc_of_monotonic + plan.start_t_s),
        "expires": round(utc_of_monotonic + plan.expires_t_s),
        "step_s": plan.step_s,
        "solver": plan.solver,
        "cost": wire("cost", plan.cost)[1],
        "battery_w": [watt(kw) for kw in plan.battery_kw],
        "generator_w": [watt(kw) for kw in plan.generator_kw],
        "grid_w": [watt(kw) for kw in plan.grid_kw],
        "curtailed_w": [watt(kw) for kw in plan.curtailed_kw],
        "soc_frac": [wire("soc_frac", frac)[1] for frac in plan.soc_frac],
        **_unit_rows(plan),
    }


def _unit_rows(plan: Plan) -> Document:
    """A row for each unit in the site file's order, where there are several of the kind."""
    rows = {"battery_units_w": plan.battery_units_kw, "generator_units_w": plan.generator_units_kw}
    return {name: [[watt(kw) for kw in row] for row in each] for name, each in rows.items() if each}


def event(event_id: str, utc_s: float, happened: Event) -> Document:
    """`ng/1/S/event`; `event_id` is never used twice."""
    return {
        "v": VERSION,
        "id": event_id,
        "ts": round(utc_s, 3),
        "severity": happened.severity.value,
        "key": happened.key,
        "text": happened.text,
    }


def essence(value: Any) -> Any:
    """`value` without what moves with time alone."""
    if isinstance(value, dict):
        return {key: essence(item) for key, item in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [essence(item) for item in value]
    return value
