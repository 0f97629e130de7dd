"""What Home Assistant is told about the site: one device with everything that belongs to it."""

from collections.abc import Iterator
from typing import Any

from firmware.config import Site
from firmware.mqtt.inbound import MODES, SETPOINT_S
from firmware.mqtt.messages import kinds, watt
from firmware.mqtt.topics import OFFLINE, ONLINE, Topics

EXPIRES_S = 150  # the state comes once a minute at least: two may get lost
STATES = ("starting", "auto", "manual", "degraded", "safe", "stopped")

ENERGY = {"dev_cla": "energy", "stat_cla": "total_increasing", "unit_of_meas": "Wh"}

Component = dict[str, Any]
Named = tuple[str, Component]


def discovery(
    site: Site, topics: Topics, version: str, *, commands: bool, energy: bool
) -> dict[str, Any]:
    """The payload of `homeassistant/device/<site>/config`.

    `commands`: the simple topics are taken; `energy`: there are energy counters.
    """
    name = site.site.name
    components = dict(_readings(site, topics))
    if energy:
        components |= dict(_energy(site, topics))
    if commands:
        components |= dict(_controls(site, topics))
    for key, component in components.items():
        component["uniq_id"] = f"nanogrid_{name}_{key}"
    return {
        "dev": {"ids": [f"nanogrid_{name}"], "name": name, "mf": "nanogrid", "sw": version},
        "o": {"name": "nanogrid", "sw": version},
        "avty_t": topics.of_site("availability"),
        "cmps": components,
    }


def _readings(site: Site, topics: Topics) -> Iterator[Named]:
    state = topics.of_site("state")
    present = {*kinds(site).values()} | {"load"}
    for part in ("pv", "wind", "battery", "generator", "grid", "load"):
        if part in present:
            yield f"{part}_power", _power(state, f"{part.capitalize()} power", f"p_w.{part}")
    if site.battery:
        yield "battery_soc", _percent(state, "Battery charge", "battery.soc_frac")
    if site.grid:
        yield "grid", _flag(state, "Grid", "value_json.grid_present", "power")
        for side in ("buy", "sell"):
            yield f"price_{side}", _price(state, side, site.site.currency)
    if site.generator:
        yield "generator_phase", _sensor(state, "Generator", "generator.phase")
    yield from _units(site, topics)
    if site.irradiance:
        yield (
            "irradiance",
            _sensor(state, "Irradiance", "irradiance_w_m2")
            | {"dev_cla": "irradiance", "stat_cla": "measurement", "unit_of_meas": "W/m²"},
        )
    if site.trading.enabled:
        yield "trading_power", _power(state, "Traded power (bought above 0)", "trading.p_w")
        yield (
            "trading_price",
            _sensor(state, "Price among neighbours", "trading.last_price_per_kwh")
            | {"unit_of_meas": f"{site.site.currency}/kWh", "stat_cla": "measurement"},
        )
        said = "value_json.trading.problem or value_json.trading.doing or ''"
        yield (
            "trading",
            _sensor(state, "Trade with neighbours", "trading")
            | {"val_tpl": f"{{{{ ({said}) | truncate(250, True) }}}}"},
        )
    yield "alarm", _flag(state, "Alarm", "value_json.alarms | length > 0", "problem")
    yield (
        "alarms",
        _sensor(state, "Alarms", "alarms | join('; ') | truncate(250, True)"),
    )
    yield (
        "mode",
        _sensor(topics.of_site("mode"), "Mode", "mode")
        | {"dev_cla": "enum", "ops": list(STATES), "exp_aft": EXPIRES_S},
    )
    for device in kinds(site):
        yield (
            f"{device}_link",
            {
                "p": "binary_sensor",
                "name": f"{device} answers",
                "stat_t": topics.of_device(device, "availability"),
                "pl_on": ONLINE,
                "pl_off": OFFLINE,
                "dev_cla": "connectivity",
                "ent_cat": "diagnostic",
            },
        )


def _units(site: Site, topics: Topics) -> Iterator[Named]:
    """Each battery and each generator, where there are several of the kind."""
    for battery in site.battery if len(site.battery) > 1 else ():
        name, state = battery.name, topics.of_device(battery.name, "state")
        yield f"unit_{name}_power", _power(state, f"{name} power", "p_w")
        yield f"unit_{name}_soc", _percent(state, f"{name} charge", "soc_frac")
    for generator in site.generator if len(site.generator) > 1 else ():
        name, state = generator.name, topics.of_device(generator.name, "state")
        yield f"unit_{name}_power", _power(state, f"{name} power", "p_w")
        yield f"unit_{name}_phase", _sensor(state, name, "phase")


def _unit_counters(site: Site) -> Iterator[tuple[str, str, str]]:
    """Key, counter and name of each unit's energy, as `firmware.unit_energy` counts it."""
    for battery in site.battery if len(site.battery) > 1 else ():
        name = battery.name
        yield f"{name}_charged", f"{name}.charged", f"Energy into {name}"
        yield f"{name}_discharged", f"{name}.discharged", f"Energy out of {name}"
    for generator in site.generator if len(site.generator) > 1 else ():
        name = generator.name
        yield f"{name}_generated", f"{name}.generator", f"Energy from {name}"


def _energy(site: Site, topics: Topics) -> Iterator[Named]:
    """What the energy dashboard adds up."""
    present = set(kinds(site).values())
    counters = (
        ("imported", "Energy imported", "grid"),
        ("exported", "Energy exported", "grid"),
        ("pv", "Energy from PV", "pv"),
        ("wind", "Energy from wind", "wind"),
        ("generator", "Energy from the generator", "generator"),
        ("charged", "Energy into the battery", "battery"),
        ("discharged", "Energy out of the battery", "battery"),
        ("load", "Energy consumed", ""),
    )
    for counter, name, part in counters:
        if part in present or not part:
            yield (
                f"energy_{counter}",
                _sensor(topics.of_site("state"), name, f"energy_wh.{counter}") | ENERGY,
            )
    for key, counter, name in _unit_counters(site):
        yield (
            f"energy_{key}",
            _sensor(topics.of_site("state"), name, f"energy_wh['{counter}']") | ENERGY,
        )


def _controls(site: Site, topics: Topics) -> Iterator[Named]:
    yield (
        "mode_order",
        {
            "p": "select",
            "name": "Ordered mode",
            "stat_t": topics.of_site("mode"),
            "val_tpl": "{{ value_json.ordered }}",
            "cmd_t": topics.of_site("set/mode"),
            "ops": list(MODES),
            "qos": 1,
        },
    )
    yield (
        "replan",
        {
            "p": "button",
            "name": "Plan anew",
            "cmd_t": topics.of_site("set/replan"),
            "pl_prs": "PRESS",
            "qos": 1,
            "ent_cat": "config",
        },
    )
    several = len(site.battery) > 1
    for battery in site.battery:
        whose = battery.name if several else "Battery"
        yield (
            f"{battery.name}_setpoint" if several else "battery_setpoint",
            {
                "p": "number",
                "name": f"{whose} setpoint for {SETPOINT_S // 60} min",
                "stat_t": topics.of_site("schedule"),
                "val_tpl": "{{ value_json.setpoints"
                f" | selectattr('device', 'eq', '{battery.name}')"
                " | map(attribute='value') | first | default(none) }}",
                "cmd_t": topics.of_device(battery.name, "set/p_w"),
                "min": -(watt(battery.charge_max_kw) or 0),
                "max": watt(battery.discharge_max_kw),
                "step": 10,
                "mode": "box",
                "dev_cla": "power",
                "unit_of_meas": "W",
                "qos": 1,
            },
        )


def _sensor(topic: str, name: str, path: str) -> Component:
    return {
        "p": "sensor",
        "name": name,
        "stat_t": topic,
        "val_tpl": f"{{{{ value_json.{path} }}}}",
    }


def _power(topic: str, name: str, path: str) -> Component:
    return _sensor(topic, name, path) | {
        "dev_cla": "power",
        "stat_cla": "measurement",
        "unit_of_meas": "W",
        "exp_aft": EXPIRES_S,
    }


def _percent(topic: str, name: str, path: str) -> Component:
    value = f"value_json.{path}"
    return _sensor(topic, name, path) | {
        "val_tpl": f"{{{{ (100 * {value}) | round(1) if {value} is number else none }}}}",
        "dev_cla": "battery",
        "stat_cla": "measurement",
        "unit_of_meas": "%",
        "exp_aft": EXPIRES_S,
    }


def _price(topic: str, side: str, currency: str) -> Component:
    name = {"buy": "Price of import", "sell": "Price of export"}[side]
    return _sensor(topic, name, f"price_per_kwh.{side}") | {
        "unit_of_meas": f"{currency}/kWh",
        "stat_cla": "measurement",
    }


def _flag(topic: str, name: str, condition: str, device_class: str) -> Component:
    return {
        "p": "binary_sensor",
        "name": name,
        "stat_t": topic,
        "val_tpl": f"{{{{ 'ON' if {condition} else 'OFF' }}}}",
        "dev_cla": device_class,
        "exp_aft": EXPIRES_S,
    }
