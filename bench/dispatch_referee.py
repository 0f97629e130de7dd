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


def next_energy(problem: Json, energy: float, power_kw: float) -> float:
    """Stored energy after a step at a battery power."""
    dt, battery = problem["time"]["step_h"], problem["battery"]
    eta = efficiency(problem["inverter"], power_kw)
    if power_kw < 0:
        return float(energy + dt * battery["charge_efficiency_frac"] * eta * -power_kw)
    return float(energy - dt * power_kw / (battery["discharge_efficiency_frac"] * eta))


def energies(problem: Json, plan: Json) -> list[float]:
    """Stored energy before the first and after every step."""
    battery = problem["battery"]
    stored = [battery["soc_initial_frac"] * battery["capacity_kwh"]]
    for power in plan["battery_kw"]:
        stored.append(next_energy(problem, stored[-1], power))
    return stored


def cost(problem: Json, plan: Json) -> float:
    """The cost J."""
    dt, weights = problem["time"]["step_h"], problem["weights"]
    battery, diesel = problem["battery"], problem["diesel"]
    emissions, penalties = problem["emissions"], problem["penalties"]
    series = problem["series"]

    def pollution(of: str) -> float:
        pairs = zip(emissions["zeta_usd_per_kg"], emissions[of], strict=True)
        return float(sum(z * kg for z, kg in pairs))

    y1 = y2 = y3 = fines = 0.0
    ran = diesel["initial_on"]
    for t in range(problem["time"]["steps"]):
        power, through = plan["diesel_kw"][t], abs(plan["battery_kw"][t])
        on, grid = plan["diesel_on"][t], plan["grid_kw"][t]
        y1 += dt * series["pv_available_kw"][t] * problem["pv"]["generation_cost_usd_per_kwh"]
        y1 += dt * series["wind_available_kw"][t] * problem["wind"]["generation_cost_usd_per_kwh"]
        y1 += dt * power * diesel["generation_cost_usd_per_kwh"]
        y1 += dt * through * battery["generation_cost_usd_per_kwh"]
        price = "price_buy_usd_per_kwh" if grid > 0 else "price_sell_usd_per_kwh"
        y1 += dt * grid * series[price][t]
        litres = diesel["fuel_linear_l_per_kwh"] * power
        litres += diesel["fuel_quadratic_l_per_h_per_kw2"] * power * power
        if on:
            litres += diesel["fuel_no_load_l_per_h_per_rated_kw"] * diesel["rated_kw"]
            y2 += dt * diesel["om_usd_per_h_on"]
        y2 += dt * (litres * diesel["fuel_price_usd_per_l"] + power * diesel["om_usd_per_kwh"])
        y2 += dt * through * battery["om_linear_usd_per_kwh"]
        if through:
            most = battery["discharge_max_kw"]
            quadratic = battery["om_quadratic_usd_per_kwh_at_max"] / most if most else 0.0
            y2 += dt * through * through * quadratic
        if on and not ran:
            y2 += diesel["startup_usd"]
        ran = on
        y3 += dt * power * pollution("diesel_kg_per_kwh")
        y3 += dt * max(grid, 0.0) * pollution("grid_purchase_kg_per_kwh")
        for kind in ("unserved", "curtailed", "dumped"):
            fines += dt * plan[f"{kind}_kw"][t] * penalties[f"{kind}_usd_per_kwh"]
    end, terminal = energies(problem, plan)[-1], problem["terminal"]
    short = max(0.0, terminal["target_soc_frac"] * battery["capacity_kwh"] - end)
    weighted = (
        weights["alpha_generation"] * y1
        + weights["beta_equipment"] * y2
        + weights["gamma_pollution"] * y3
    )
    worth = terminal["energy_value_usd_per_kwh"] * end
    return float(weighted + fines - worth + terminal["shortfall_usd_per_kwh"] * short)


def broken(problem: Json, plan: Json) -> list[str]:
    """Every constraint broken by more than 1e-6, with the step."""
    series, battery, diesel = problem["series"], problem["battery"], problem["diesel"]
    stored, found = energies(problem, plan), []
    low = battery["soc_min_frac"] * battery["capacity_kwh"]
    high = battery["soc_max_frac"] * battery["capacity_kwh"]
    for t in range(problem["time"]["steps"]):
        v = {key: values[t] for key, values in plan.items() if isinstance(values, list)}
        available = series["pv_available_kw"][t] + series["wind_available_kw"][t]
        supply = available - v["curtailed_kw"] + v["diesel_kw"] + v["battery_kw"] + v["grid_kw"]
        supply += v["unserved_kw"] - v["dumped_kw"]
        # Outside its limits a battery goes back as fast as it can.
        floor = min(low, next_energy(problem, stored[t], -battery["charge_max_kw"]))
        ceiling = max(high, next_energy(problem, stored[t], battery["discharge_max_kw"]))
        least = diesel["power_min_kw"] if v["diesel_on"] else 0.0
        most = diesel["power_max_kw"] if v["diesel_on"] else 0.0
        ranges = {
            "balance": (supply - series["load_kw"][t], 0.0, 0.0),
            "curtailed": (v["curtailed_kw"], 0.0, available),
            "unserved": (v["unserved_kw"], 0.0, math.inf),
            "dumped": (v["dumped_kw"], 0.0, math.inf),
            "grid": (
                v["grid_kw"],
                -series["grid_export_max_kw"][t],
                series["grid_import_max_kw"][t],
            ),
            "battery": (v["battery_kw"], -battery["charge_max_kw"], battery["discharge_max_kw"]),
            "energy": (stored[t + 1], floor, ceiling),
            "diesel": (v["diesel_kw"], least, most),
        }
        found += [
            f"{name} in step {t}: {value!r} not in {lowest!r}..{highest!r}"
            for name, (value, lowest, highest) in ranges.items()
            if not lowest - TOLERANCE <= value <= highest + TOLERANCE
        ]
    return found + _short_runs(problem, plan["diesel_on"])


def _short_runs(problem: Json, states: list[int]) -> list[str]:
    """Changes of the diesel before its minimum time in the state has passed."""
    diesel, dt = problem["diesel"], problem["time"]["step_h"]
    state, hours, found = int(diesel["initial_on"]), diesel["initial_time_in_state_h"], []
    for t, wanted in enumerate(states):
        if wanted != state:
            minimum = diesel["min_up_h"] if state else diesel["min_down_h"]
            if hours < math.ceil(minimum / dt - 1e-9) * dt - 1e-9:
                found.append(f"diesel changes in step {t} after {hours:g} h")
            state, hours = wanted, 0.0
        hours += dt
    return found


def rule_plan(problem: Json) -> Json:
    """A simple controller: battery first, both ways, then the grid, then the diesel."""
    series, battery, diesel = problem["series"], problem["battery"], problem["diesel"]
    dt = problem["time"]["step_h"]
    low = battery["soc_min_frac"] * battery["capacity_kwh"]
    high = battery["soc_max_frac"] * battery["capacity_kwh"]
    stored = battery["soc_initial_frac"] * battery["capacity_kwh"]
    keys = ("battery", "diesel", "grid", "curtailed", "unserved", "dumped")
    plan: Json = {f"{key}_kw": [] for key in keys} | {"diesel_on": []}
    state, hours = int(diesel["initial_on"]), diesel["initial_time_in_state_h"]
    for t in range(problem["time"]["steps"]):
        available = series["pv_available_kw"][t] + series["wind_available_kw"][t]
        need = series["load_kw"][t] - available
        power = min(max(need, -battery["charge_max_kw"]), battery["discharge_max_kw"])
        while power and not low <= next_energy(problem, stored, power) <= high:
            power = power * 0.9 if abs(power) > 1e-3 else 0.0
        stored = next_energy(problem, stored, power)
        rest = need - power
        wanted = int(rest > series["grid_import_max_kw"][t])
        minimum = diesel["min_up_h"] if state else diesel["min_down_h"]
        if wanted != state and hours >= math.ceil(minimum / dt - 1e-9) * dt - 1e-9:
            state, hours = wanted, 0.0
        hours += dt
        generated = 0.0
        if state:
            generated = min(max(rest, diesel["power_min_kw"]), diesel["power_max_kw"])
        rest -= generated
        grid = min(max(rest, -series["grid_export_max_kw"][t]), series["grid_import_max_kw"][t])
        rest -= grid
        curtailed = min(max(-rest, 0.0), available)
        row = (power, generated, grid, curtailed, max(rest, 0.0), max(-rest - curtailed, 0.0))
        for key, value in zip(keys, row, strict=True):
            plan[f"{key}_kw"].append(value)
        plan["diesel_on"].append(state)
    return plan
