"""What one value of site.toml alone cannot show: contradictions, double use, missing counterparts.

A rule yields the key it complains about and what is allowed. Where a value that it looks at is
unusable by itself, the rule is silent: that value has its own line.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from firmware.config_errors import Draft, Unknown, assigned
from firmware.config_models import Battery, Generator, Grid
from firmware.config_operation import Broker
from firmware.config_site_rules import SITE_RULES
from firmware.config_tables import Irradiance, Period, Planner
from firmware.config_words import Where, dotted, number, shown

Found = Iterator[tuple[str, str]]  # a key of the rule's own table, and what is allowed
Rule = Callable[[Any], Found]

_MAX_POWER_PER_CAPACITY = 5.0  # kW per kWh: beyond any battery of a house
_CLOUD_EDGE_W_M2 = 1500.0
_COARSEST_STEP_W_M2 = 25.0


def broken_rules(usable: Draft, raw: dict[str, Any]) -> list[str]:
    """A line for each broken rule of the site whose usable part is given."""
    found: list[tuple[Where, str]] = []
    for path, rule in _TABLE_RULES:
        for where, table in _tables_at(usable, path):
            found += [((*where, key), text) for key, text in _ask(rule, table)]
    for site_rule in SITE_RULES:
        found += _ask(site_rule, usable)
    return [_line(usable, raw, where, text) for where, text in found]


def _ask(rule: Callable[[Any], Iterator[Any]], table: Any) -> list[Any]:
    found: list[Any] = []
    with contextlib.suppress(Unknown):
        found.extend(rule(table))
    return found


def _tables_at(usable: Any, path: tuple[str, ...]) -> Iterator[tuple[Where, Any]]:
    try:
        held = getattr(usable, path[0])
    except Unknown:
        return
    entries: list[tuple[Where, Any]]
    if isinstance(held, tuple | list):
        entries = [((path[0], i), entry) for i, entry in enumerate(held)]
    else:
        entries = [] if held is None else [((path[0],), held)]
    for where, entry in entries:
        if path[1:]:
            yield from (((*where, *more), inner) for more, inner in _tables_at(entry, path[1:]))
        else:
            yield where, entry


def _line(usable: Draft, raw: Any, where: Where, text: str) -> str:
    value: Any = usable
    for part in where:
        name = "from_" if part == "from" else part
        value = value[part] if isinstance(part, int) else getattr(value, str(name))
    if value is None or value == ():
        return f"{dotted(where)}: missing: {text}"
    if isinstance(value, Draft):
        return f"{dotted(where)}: {text}"
    for part in where:
        raw = raw[part] if isinstance(part, int) or part in raw else None
        if raw is None:
            return f"{assigned(where, value)} (default): {text}"
    return f"{assigned(where, value)}: {text}"


# --- one table ------------------------------------------------------------------------------


def _soc_window(battery: Battery) -> Found:
    if battery.soc_min_frac >= battery.soc_max_frac:
        yield "soc_min_frac", f"must be below soc_max_frac = {number(battery.soc_max_frac)}"


def _reserve(battery: Battery) -> Found:
    low, high = battery.soc_min_frac, battery.soc_max_frac
    if low < high and not low <= battery.reserve_soc_frac <= high:
        limits = f"soc_min_frac = {number(low)} and soc_max_frac = {number(high)}"
        yield "reserve_soc_frac", f"must be between {limits}"


def _battery_power(key: str) -> Rule:
    def rule(battery: Battery) -> Found:
        kw = getattr(battery, key)
        if kw > battery.inverter_rated_kw:
            yield key, f"must be at most inverter_rated_kw = {number(battery.inverter_rated_kw)}"
        most_kw = _MAX_POWER_PER_CAPACITY * battery.capacity_kwh
        if kw > most_kw:
            yield key, f"must be at most {number(most_kw)}, 5 times capacity_kwh"

    return rule


def _battery_unit(battery: Battery) -> Found:
    if battery.driver != "victron-gx" and battery.battery_unit is not None:
        yield "battery_unit", f"must be left out with driver {shown(battery.driver)}"


def _generator_times(generator: Generator) -> Found:
    least = generator.warm_up_s + generator.min_run_s + generator.cool_down_s
    if generator.max_run_s < least:
        parts = "warm_up_s + min_run_s + cool_down_s"
        yield "max_run_s", f"must be at least {number(least)} ({parts})"


def _period_span(period: Period) -> Found:
    if period.from_ == period.to:
        yield "to", 'must differ from `from`; a whole day is from "00:00" to "24:00"'
    if period.from_ == "24:00":
        yield "from", 'must be "00:00" for midnight at the start of a day'


def _period_price(period: Period) -> Found:
    if period.buy_per_kwh is None and period.sell_per_kwh is None:
        yield "buy_per_kwh", "a period sets buy_per_kwh or sell_per_kwh or both"


def _reference_channel(sensor: Irradiance) -> Found:
    if sensor.reference_channel is not None and sensor.reference_channel == sensor.channel:
        yield "reference_channel", f"must differ from channel = {sensor.channel}"
    if sensor.reference_channel is not None and sensor.reference_channel_v is None:
        yield "reference_channel_v", "reference_channel needs it"
    if sensor.reference_channel is None and sensor.reference_channel_v is not None:
        yield "reference_channel", "reference_channel_v needs it"


def _reference_volts(sensor: Irradiance) -> Found:
    volts = sensor.reference_channel_v
    if volts is not None and volts >= sensor.reference_v:
        yield "reference_channel_v", f"must be below reference_v = {number(sensor.reference_v)}"


def _full_scale(sensor: Irradiance) -> Found:
    steps = 4096 if sensor.adc == "mcp3208" else 1024
    full = (sensor.reference_v - sensor.offset_v) * sensor.w_m2_per_v * sensor.gain
    if full < _CLOUD_EDGE_W_M2:
        yield "w_m2_per_v", f"reference_v would show {full:.0f} W/m2 at most; must reach 1500"
    if full / steps > _COARSEST_STEP_W_M2:
        coarse = f"a step of {sensor.adc} would be {full / steps:.0f} W/m2"
        yield "w_m2_per_v", f"{coarse}; must be at most 25: amplify the sensor"


def _mains(grid: Grid) -> Found:
    if grid.nominal_hz not in (50, 60):
        yield "nominal_hz", "must be 50 or 60"


def _weights(planner: Planner) -> Found:
    parts = (planner.weight_generation, planner.weight_equipment, planner.weight_pollution)
    if abs(sum(parts) - 1) > 1e-6:
        rest = " + ".join(number(part) for part in parts)
        yield "weight_generation", f"the three weights must add up to 1, not {rest}"


def _slots(planner: Planner) -> Found:
    if 3600 % planner.slot_s:
        yield "slot_s", "must divide an hour: 60, 120, 180, 300, 600, 900, 1200, 1800 or 3600"


def _plan_times(planner: Planner) -> Found:
    if planner.budget_s >= planner.interval_s:
        yield "budget_s", f"must be below interval_s = {number(planner.interval_s)}"
    if planner.expiry_s < planner.interval_s + planner.budget_s:
        least = number(planner.interval_s + planner.budget_s)
        yield "expiry_s", f"must be at least {least} (interval_s + budget_s)"


def _credentials(broker: Broker) -> Found:
    for key, needed in (
        ("tls_certificate", "tls_key"),
        ("tls_key", "tls_certificate"),
        ("tls_certificate", "tls_ca"),
        ("password_file", "username"),
    ):
        if getattr(broker, key) and not getattr(broker, needed):
            yield needed, f"{key} needs it"


_TABLE_RULES: tuple[tuple[tuple[str, ...], Rule], ...] = (
    (("battery",), _soc_window),
    (("battery",), _reserve),
    (("battery",), _battery_power("charge_max_kw")),
    (("battery",), _battery_power("discharge_max_kw")),
    (("battery",), _battery_unit),
    (("generator",), _generator_times),
    (("grid",), _mains),
    (("prices", "period"), _period_span),
    (("prices", "period"), _period_price),
    (("irradiance",), _reference_channel),
    (("irradiance",), _reference_volts),
    (("irradiance",), _full_scale),
    (("planner",), _weights),
    (("planner",), _slots),
    (("planner",), _plan_times),
    (("mqtt",), _credentials),
    (("trading", "broker"), _credentials),
)
