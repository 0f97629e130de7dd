"""An independent judge of dispatch schedules: the cost and every constraint, step by step.

Works on the JSON content of instance and schedule, in plain Python, and shares no code with the
planner: what it confirms, two programs agree on.
"""

import itertools
import math
from typing import Any

TOLERANCE = 1e-6
Json = dict[str, Any]


def efficiency(inverter: Json, power_kw: float) -> float:
    """Inverter efficiency at a power, linear between the curve's points."""
    at = abs(power_kw) / inverter["rated_kw"]
    points = list(zip(inverter["load_frac"], inverter["efficiency_frac"], strict=True))
    if at <= points[0][0]:
        return float(points[0][1])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if at <= x1:
            return float(y0 + (y1 - y0) * (at - x0) / (x1 - x0))
    return float(points[-1][1])


def units(problem: Json, kind: str) -> list[Json]:
    """The batteries, each with its inverter, or the diesels."""
    given = problem[kind]
    listed = given if isinstance(given, list) else [given]
    if kind == "diesel":
        return listed
    inverter = problem.get("inverter")
    curves = inverter if isinstance(inverter, list) else [inverter] * len(listed)
    return [{"inverter": c, **unit} for unit, c in zip(listed, curves, strict=True)]


def rows(problem: Json, plan: Json, kind: str, key: str) -> list[list[float]]:
    """One series per unit, whether or not the problem lists its units."""
    return list(plan[key]) if isinstance(problem[kind], list) else [plan[key]]


def next_energy(dt: float, battery: Json, energy: float, power_kw: float) -> float:
    """Stored energy after a step at a battery power."""
    eta = efficiency(battery["inverter"], power_kw)
    if power_kw < 0:
        return float(energy + dt * battery["charge_efficiency_frac"] * eta * -power_kw)
    return float(energy - dt * power_kw / (battery["discharge_efficiency_frac"] * eta))


def energies(dt: float, battery: Json, powers: list[float]) -> list[float]:
    """Stored energy before the first and after every step."""
    stored = [battery["soc_initial_frac"] * battery["capacity_kwh"]]
    for power in powers:
        stored.append(next_energy(dt, battery, stored[-1], power))
    return stored


def cost(problem: Json, plan: Json) -> float:
    """The cost J."""
    weights, fines = problem["weights"], 0.0
    y = _site_terms(problem, plan)
    powers = rows(problem, plan, "battery", "battery_kw")
    for battery, power in zip(units(problem, "battery"), powers, strict=True):
        terms, fine = _battery_terms(problem, battery, power)
        y, fines = [a + b for a, b in zip(y, terms, strict=True)], fines + fine
    states = rows(problem, plan, "diesel", "diesel_on")
    made = rows(problem, plan, "diesel", "diesel_kw")
    for diesel, ons, kws in zip(units(problem, "diesel"), states, made, strict=True):
        terms = _diesel_terms(problem, diesel, ons, kws)
        y = [a + b for a, b in zip(y, terms, strict=True)]
    for kind in ("unserved", "curtailed", "dumped"):
        price = problem["penalties"][f"{kind}_usd_per_kwh"]
        fines += problem["time"]["step_h"] * price * sum(plan[f"{kind}_kw"])
    names = ("alpha_generation", "beta_equipment", "gamma_pollution")
    return float(fines + sum(weights[name] * part for name, part in zip(names, y, strict=True)))


def _pollution(problem: Json, of: str) -> float:
    """Social cost per kWh."""
    emissions = problem["emissions"]
    pairs = zip(emissions["zeta_usd_per_kg"], emissions[of], strict=True)
    return float(sum(z * kg for z, kg in pairs))


def _site_terms(problem: Json, plan: Json) -> list[float]:
    """Y1, Y2 and Y3 of PV, wind and grid."""
    dt, series, y1, y3 = problem["time"]["step_h"], problem["series"], 0.0, 0.0
    for source in ("pv", "wind"):
        if problem.get(source):
            available = sum(series[f"{source}_available_kw"])
            y1 += dt * available * problem[source]["generation_cost_usd_per_kwh"]
    for t, grid in enumerate(plan["grid_kw"]):
        price = "price_buy_usd_per_kwh" if grid > 0 else "price_sell_usd_per_kwh"
        y1 += dt * grid * series[price][t]
        y3 += dt * max(grid, 0.0) * _pollution(problem, "grid_purchase_kg_per_kwh")
    return [y1, 0.0, y3]


def _battery_terms(problem: Json, battery: Json, power: list[float]) -> tuple[list[float], float]:
    """Y1, Y2 and Y3 of a battery, and what its last energy is worth (< 0) or lacks."""
    dt, terminal, y1, y2 = problem["time"]["step_h"], problem["terminal"], 0.0, 0.0
    most = battery["discharge_max_kw"]
    quadratic = battery["om_quadratic_usd_per_kwh_at_max"] / most if most else 0.0
    for through in map(abs, power):
        y1 += dt * through * battery["generation_cost_usd_per_kwh"]
        y2 += dt * through * (battery["om_linear_usd_per_kwh"] + through * quadratic)
    end = energies(dt, battery, power)[-1]
    short = max(0.0, terminal["target_soc_frac"] * battery["capacity_kwh"] - end)
    fine = terminal["shortfall_usd_per_kwh"] * short - terminal["energy_value_usd_per_kwh"] * end
    return [y1, y2, 0.0], fine


def _diesel_terms(
    problem: Json, diesel: Json, states: list[float], power: list[float]
) -> list[float]:
    """Y1, Y2 and Y3 of a diesel."""
    dt, y1, y2, y3 = problem["time"]["step_h"], 0.0, 0.0, 0.0
    ran = diesel["initial_on"]
    for on, kw in zip(states, power, strict=True):
        y1 += dt * kw * diesel["generation_cost_usd_per_kwh"]
        y3 += dt * kw * _pollution(problem, "diesel_kg_per_kwh")
        litres = kw * diesel["fuel_linear_l_per_kwh"]
        litres += kw * kw * diesel["fuel_quadratic_l_per_h_per_kw2"]
        if on:
            litres += diesel["fuel_no_load_l_per_h_per_rated_kw"] * diesel["rated_kw"]
            y2 += dt * diesel["om_usd_per_h_on"] + (0 if ran else diesel["startup_usd"])
        y2 += dt * (litres * diesel["fuel_price_usd_per_l"] + kw * diesel["om_usd_per_kwh"])
        ran = on
    return [y1, y2, y3]


def broken(problem: Json, plan: Json) -> list[str]:
    """Every constraint broken by more than 1e-6, with the step."""
    series, found = problem["series"], []
    powers = rows(problem, plan, "battery", "battery_kw")
    states = rows(problem, plan, "diesel", "diesel_on")
    made = rows(problem, plan, "diesel", "diesel_kw")
    for t in range(problem["time"]["steps"]):
        available = sum(series.get(f"{s}_available_kw", {t: 0.0})[t] for s in ("pv", "wind"))
        v = {key: plan[f"{key}_kw"][t] for key in ("grid", "curtailed", "unserved", "dumped")}
        supply = sum(row[t] for row in powers) + sum(row[t] for row in made)
        supply += available - v["curtailed"] + v["grid"] + v["unserved"] - v["dumped"]
        ranges = {
            "balance": (supply - series["load_kw"][t], 0.0, 0.0),
            "curtailed": (v["curtailed"], 0.0, available),
            "unserved": (v["unserved"], 0.0, math.inf),
            "dumped": (v["dumped"], 0.0, math.inf),
            "grid": (v["grid"], -series["grid_export_max_kw"][t], series["grid_import_max_kw"][t]),
        }
        found += _outside(ranges, t)
    dt = problem["time"]["step_h"]
    for battery, power in zip(units(problem, "battery"), powers, strict=True):
        found += _broken_battery(dt, battery, power)
    for diesel, ons, kws in zip(units(problem, "diesel"), states, made, strict=True):
        for t, (on, kw) in enumerate(zip(ons, kws, strict=True)):
            least, most = (diesel["power_min_kw"], diesel["power_max_kw"]) if on else (0.0, 0.0)
            found += _outside({"diesel": (kw, least, most)}, t)
        found += _short_runs(dt, diesel, ons)
    return found


def _outside(ranges: dict[str, tuple[float, float, float]], t: int) -> list[str]:
    return [
        f"{name} in step {t}: {value!r} not in {lowest!r}..{highest!r}"
        for name, (value, lowest, highest) in ranges.items()
        if not lowest - TOLERANCE <= value <= highest + TOLERANCE
    ]


def _broken_battery(dt: float, battery: Json, power: list[float]) -> list[str]:
    """Outside its limits a battery goes back as fast as it can."""
    low = battery["soc_min_frac"] * battery["capacity_kwh"]
    high = battery["soc_max_frac"] * battery["capacity_kwh"]
    least, most = -battery["charge_max_kw"], battery["discharge_max_kw"]
    stored, found = energies(dt, battery, power), []
    for t, kw in enumerate(power):
        floor = min(low, next_energy(dt, battery, stored[t], least))
        ceiling = max(high, next_energy(dt, battery, stored[t], most))
        ranges = {"battery": (kw, least, most), "energy": (stored[t + 1], floor, ceiling)}
        found += _outside(ranges, t)
    return found


def _short_runs(dt: float, diesel: Json, states: list[float]) -> list[str]:
    """Changes of the diesel before its minimum time in the state has passed."""
    state, hours, found = float(diesel["initial_on"]), diesel["initial_time_in_state_h"], []
    for t, wanted in enumerate(states):
        if wanted != state:
            minimum = diesel["min_up_h"] if state else diesel["min_down_h"]
            if hours < math.ceil(minimum / dt - 1e-9) * dt - 1e-9:
                found.append(f"diesel changes in step {t} after {hours:g} h")
            state, hours = wanted, 0.0
        hours += dt
    return found


def rule_plan(problem: Json) -> Json:
    """A simple controller: batteries first, both ways, then the grid, then the diesels in turn."""
    series, dt = problem["series"], problem["time"]["step_h"]
    batteries = [_RuleBattery(dt, b) for b in units(problem, "battery")]
    diesels = [_RuleDiesel(dt, d) for d in units(problem, "diesel")]
    shared: Json = {f"{key}_kw": [] for key in ("grid", "curtailed", "unserved", "dumped")}
    for t in range(problem["time"]["steps"]):
        most_in, most_out = series["grid_import_max_kw"][t], series["grid_export_max_kw"][t]
        available = sum(series.get(f"{s}_available_kw", {t: 0.0})[t] for s in ("pv", "wind"))
        rest = series["load_kw"][t] - available
        for battery in batteries:
            rest -= battery.serve(rest)
        for diesel in diesels:
            rest -= diesel.serve(rest, wanted=rest > most_in)
        grid = min(max(rest, -most_out), most_in)
        rest -= grid
        curtailed = min(max(-rest, 0.0), available)
        row = (grid, curtailed, max(rest, 0.0), max(-rest - curtailed, 0.0))
        for values, value in zip(shared.values(), row, strict=True):
            values.append(value)
    power = [b.power for b in batteries]
    ons, made = [d.on for d in diesels], [d.power for d in diesels]
    return shared | {
        "battery_kw": power if isinstance(problem["battery"], list) else power[0],
        "diesel_on": ons if isinstance(problem["diesel"], list) else ons[0],
        "diesel_kw": made if isinstance(problem["diesel"], list) else made[0],
    }


class _RuleBattery:
    """Serves what it can."""

    def __init__(self, dt: float, battery: Json) -> None:
        self.dt, self.battery, self.power = dt, battery, list[float]()
        self.stored = battery["soc_initial_frac"] * battery["capacity_kwh"]

    def serve(self, need: float) -> float:
        battery = self.battery
        low = battery["soc_min_frac"] * battery["capacity_kwh"]
        high = battery["soc_max_frac"] * battery["capacity_kwh"]
        kw = min(max(need, -battery["charge_max_kw"]), battery["discharge_max_kw"])
        while kw and not low <= next_energy(self.dt, battery, self.stored, kw) <= high:
            kw = kw * 0.9 if abs(kw) > 1e-3 else 0.0
        self.stored = next_energy(self.dt, battery, self.stored, kw)
        self.power.append(kw)
        return float(kw)


class _RuleDiesel:
    """Runs while it is wanted, and for its minimum times."""

    def __init__(self, dt: float, diesel: Json) -> None:
        self.dt, self.diesel, self.on, self.power = dt, diesel, list[int](), list[float]()
        self.state, self.hours = int(diesel["initial_on"]), diesel["initial_time_in_state_h"]

    def serve(self, need: float, *, wanted: bool) -> float:
        diesel, dt = self.diesel, self.dt
        minimum = diesel["min_up_h"] if self.state else diesel["min_down_h"]
        if wanted != self.state and self.hours >= math.ceil(minimum / dt - 1e-9) * dt - 1e-9:
            self.state, self.hours = int(wanted), 0.0
        self.hours += dt
        kw = min(max(need, diesel["power_min_kw"]), diesel["power_max_kw"]) if self.state else 0.0
        self.on.append(self.state)
        self.power.append(kw)
        return float(kw)
