"""Random dispatch instances: what homes, clinics and workshops look like to the day planner.

Every seed gives one instance as JSON content: islanded, on a weak grid, on a grid with time-of-use
or real-time prices, or with an outage announced; any season, sky, step and equipment.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MODES = ("islanded", "weak_grid", "outage", "grid_tou", "grid_rtp")
INVERTER_LOAD = [0.0, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0]
INVERTER_EFFICIENCY = [0.7, 0.86, 0.92, 0.955, 0.965, 0.955, 0.935]
EMISSIONS = {
    "pollutants": ["CO2", "NOx", "SO2", "CO", "PM"],
    "zeta_usd_per_kg": [0.03, 9.0, 2.2, 1.2, 5.0],
    "diesel_kg_per_kwh": [0.697, 0.0099, 0.0002, 0.003, 0.0005],
    "grid_purchase_kg_per_kwh": [0.14, 0.0003, 0.0002, 0.0001, 0.0001],
}


def instance(seed: int) -> dict[str, Any]:
    """One instance as the content of its file."""
    rng = np.random.default_rng(seed)
    mode = str(rng.choice(MODES))
    step_h = float(rng.choice([0.25, 0.25, 0.25, 0.5, 1.0]))
    steps = round(24 / step_h)
    hour = np.asarray((np.arange(steps) + 0.5) * step_h, float)
    winter = bool(rng.random() < 0.5)
    load = _load(rng, hour, str(rng.choice(["home", "clinic", "workshop"])))
    pv = _pv(rng, hour, winter, float(rng.choice([0.25, 0.5, 1.0, 2.0])) * load.mean())
    wind = _wind(rng, steps, step_h, rng.random() < 0.3, load.mean())
    buy, sell = _prices(rng, hour, mode)
    most_in, most_out = _connection(rng, hour, mode, load)
    alpha, beta, gamma = rng.dirichlet([3.0, 3.0, 2.0])
    series = {
        "load_kw": load,
        "pv_available_kw": pv,
        "wind_available_kw": wind,
        "price_buy_usd_per_kwh": buy,
        "price_sell_usd_per_kwh": sell,
        "grid_import_max_kw": most_in,
        "grid_export_max_kw": most_out,
    }
    battery = _battery(rng, load.mean())
    fuel = float(rng.uniform(0.8, 1.6))
    return {
        "schema": "nanogrid-dispatch/1",
        "name": f"generated_{seed}_{mode}",
        "time": {"start_hour": 0.0, "step_h": step_h, "steps": steps},
        "weights": {
            "alpha_generation": float(alpha),
            "beta_equipment": float(beta),
            "gamma_pollution": float(gamma),
        },
        "series": {key: [round(float(v), 5) for v in value] for key, value in series.items()},
        "pv": {"generation_cost_usd_per_kwh": 0.01},
        "wind": {"generation_cost_usd_per_kwh": 0.01},
        "battery": battery,
        "inverter": {
            "rated_kw": round(1.05 * battery["charge_max_kw"], 2),
            "load_frac": list(INVERTER_LOAD),
            "efficiency_frac": list(INVERTER_EFFICIENCY),
        },
        "diesel": _diesel(rng, float(load.max()), fuel),
        "emissions": copy.deepcopy(EMISSIONS),
        "penalties": {
            "unserved_usd_per_kwh": float(rng.choice([2.0, 3.0, 5.0])),
            "curtailed_usd_per_kwh": 0.002,
            "dumped_usd_per_kwh": 0.05,
        },
        "terminal": {
            "energy_value_usd_per_kwh": float(rng.uniform(0.02, 0.09)),
            "target_soc_frac": battery["soc_initial_frac"],
            "shortfall_usd_per_kwh": float(rng.choice([0.0, 0.05, 0.2])),
        },
    }


def fleet(seed: int, batteries: int = 2, diesels: int = 2) -> dict[str, Any]:
    """The instance of a seed with several smaller, unlike batteries and diesels in its place."""
    rng = np.random.default_rng([seed, batteries, diesels])
    content = instance(seed)
    curve, size = content["inverter"], content["battery"]["charge_max_kw"]
    shares = rng.dirichlet([4.0] * batteries)
    content["battery"] = [_share_of(content["battery"], rng, float(s)) for s in shares]
    content["inverter"] = [
        {**curve, "rated_kw": round(1.05 * b["charge_max_kw"], 3)} for b in content["battery"]
    ]
    peak = 1.1 * max(content["series"]["load_kw"]) + 0.3 * size
    content["diesel"] = [
        _diesel(rng, peak * float(s), float(rng.uniform(0.8, 1.6)))
        for s in rng.dirichlet([4.0] * diesels)
    ]
    content["name"] += f"_{batteries}x{diesels}"
    return content


def _share_of(
    battery: dict[str, float], rng: np.random.Generator, share: float
) -> dict[str, float]:
    """A battery with a share of another's capacity and roughly of its power."""
    power = round(battery["charge_max_kw"] * share * float(rng.uniform(0.8, 1.5)), 3)
    return battery | {
        "capacity_kwh": round(battery["capacity_kwh"] * share, 3),
        "charge_max_kw": power,
        "discharge_max_kw": power,
        "charge_efficiency_frac": round(float(rng.uniform(0.93, 0.98)), 3),
        "discharge_efficiency_frac": round(float(rng.uniform(0.93, 0.98)), 3),
        "soc_initial_frac": round(
            float(rng.uniform(battery["soc_min_frac"], battery["soc_max_frac"])), 2
        ),
        "om_linear_usd_per_kwh": round(float(rng.uniform(0.005, 0.02)), 4),
        "om_quadratic_usd_per_kwh_at_max": round(float(rng.uniform(0.005, 0.035)), 4),
    }


def _load(rng: np.random.Generator, hour: Floats, kind: str) -> Floats:
    """Mean power per step: a daily shape, jittered, with a few appliances switched on and off."""
    base = rng.uniform(0.4, 2.5)
    shape: NDArray[np.floating[Any]]
    if kind == "home":
        shape = 1 + 1.2 * _bump(hour, 7.5, 1.2) + 3.0 * _bump(hour, rng.uniform(18, 20.5), 1.8)
    elif kind == "clinic":
        shape = 1 + 2.0 * _bump(hour, 12.5, 4.0)
    else:
        shape = 0.3 + 4.0 * ((hour > 7.5) & (hour < rng.uniform(15, 18)))
    load = base * shape * rng.lognormal(0.0, 0.15, hour.size)
    for _ in range(rng.poisson(4)):
        start, length = rng.uniform(6, 22), rng.uniform(0.25, 2.0)
        load[(hour >= start) & (hour < start + length)] += rng.uniform(0.5, 3.0)
    return np.asarray(load)


def _bump(hour: Floats, middle: float, width: float) -> Floats:
    return np.asarray(np.exp(-(((hour - middle) / width) ** 2)))


def _pv(rng: np.random.Generator, hour: Floats, winter: bool, mean_kw: float) -> Floats:
    """Clear-sky shape times clouds: none, steady or broken."""
    half = 4.2 if winter else 7.5
    clear = np.maximum(np.cos((hour - 12.5) / half * np.pi / 2), 0.0) * (np.abs(hour - 12.5) < half)
    sky = rng.choice(["clear", "cloudy", "broken"])
    if sky == "cloudy":
        clear = clear * rng.uniform(0.15, 0.5) * rng.lognormal(0.0, 0.2, hour.size)
    elif sky == "broken":
        clear = clear * rng.uniform(0.2, 1.05, hour.size)
    return np.asarray(mean_kw * 3.5 * (0.5 if winter else 1.0) * clear)


def _wind(
    rng: np.random.Generator, steps: int, step_h: float, present: bool, mean_kw: float
) -> Floats:
    """A turbine behind a slowly wandering wind, or nothing."""
    if not present:
        return np.zeros(steps)
    speed = np.empty(steps)
    now = rng.normal()
    for t in range(steps):
        now = now * np.exp(-step_h / 3) + rng.normal() * np.sqrt(1 - np.exp(-2 * step_h / 3))
        speed[t] = 6.0 + 2.5 * now
    share = np.clip((speed**3 - 3.0**3) / (11.0**3 - 3.0**3), 0.0, 1.0)
    return np.asarray(mean_kw * rng.uniform(0.5, 2.0) * share)


def _prices(rng: np.random.Generator, hour: Floats, mode: str) -> tuple[Floats, Floats]:
    """Buying and selling price per kWh."""
    if mode == "grid_rtp" or rng.random() < 0.25:
        slow = 0.06 + 0.04 * _bump(hour, 8.0, 2.0) + 0.08 * _bump(hour, 18.5, 2.0)
        buy = slow * rng.lognormal(0.0, 0.35, hour.size)
        buy[rng.random(hour.size) < 0.02] *= rng.uniform(2, 8)
        if rng.random() < 0.2:
            buy = buy - 0.12 * _bump(hour, 13.0, 2.0)
    else:
        middle, high = (0.10, 0.13) if rng.random() < 0.5 else (0.13, 0.10)
        buy = np.where(
            (hour < 7) | (hour > 19), 0.07, np.where((hour < 11) | (hour > 17), middle, high)
        )
    return buy, buy * rng.choice([0.4, 0.7, 0.9, 1.0])


def _connection(
    rng: np.random.Generator, hour: Floats, mode: str, load: Floats
) -> tuple[Floats, Floats]:
    """Import and export limit per step."""
    most_in = np.full(hour.size, {"islanded": 0.0, "outage": 12.0}.get(mode, 15.0))
    most_out = np.full(hour.size, float(rng.choice([0.0, 3.0, 5.0, 10.0])))
    if mode == "weak_grid":
        most_in[:] = rng.uniform(0.25, 0.6) * load.max()
    if mode == "outage":
        start = rng.uniform(6, 18)
        dark = (hour >= start) & (hour < start + rng.uniform(2, 8))
        most_in[dark] = most_out[dark] = 0.0
    return most_in, most_out * (mode != "islanded")


def _battery(rng: np.random.Generator, mean_kw: float) -> dict[str, float]:
    """A battery of a few hours of mean load."""
    capacity = float(rng.choice([5.0, 7.5, 10.0, 13.5, 20.0, 30.0]))
    power = round(min(8.0, capacity * float(rng.uniform(0.3, 0.8))), 2)
    low, high = float(rng.choice([0.1, 0.2, 0.3])), float(rng.choice([0.9, 0.95, 1.0]))
    return {
        "capacity_kwh": capacity,
        "soc_min_frac": low,
        "soc_max_frac": high,
        "soc_initial_frac": round(float(rng.uniform(low, high)) * 20) / 20,
        "charge_max_kw": power,
        "discharge_max_kw": power,
        "charge_efficiency_frac": 0.97,
        "discharge_efficiency_frac": 0.97,
        "generation_cost_usd_per_kwh": 0.005,
        "om_linear_usd_per_kwh": round(float(rng.uniform(0.005, 0.02)), 4),
        "om_quadratic_usd_per_kwh_at_max": round(float(rng.uniform(0.005, 0.035)), 4),
    }


def _diesel(rng: np.random.Generator, peak_kw: float, fuel_price: float) -> dict[str, Any]:
    """A generator of half to all of the peak, sometimes found running."""
    rated = float(np.ceil(peak_kw * rng.uniform(0.4, 1.1)))
    running = bool(rng.random() < 0.2)
    return {
        "rated_kw": rated,
        "power_min_kw": round(0.3 * rated, 2),
        "power_max_kw": rated,
        "fuel_no_load_l_per_h_per_rated_kw": 0.08,
        "fuel_linear_l_per_kwh": 0.246,
        "fuel_quadratic_l_per_h_per_kw2": round(float(rng.uniform(0.01, 0.04)) / rated, 5),
        "fuel_price_usd_per_l": round(fuel_price, 3),
        "generation_cost_usd_per_kwh": 0.01,
        "om_usd_per_kwh": 0.02,
        "om_usd_per_h_on": 0.05,
        "startup_usd": round(float(rng.uniform(0.1, 0.8)), 3),
        "min_up_h": float(rng.choice([0.5, 1.0, 2.0])),
        "min_down_h": float(rng.choice([0.5, 1.0])),
        "initial_on": running,
        "initial_time_in_state_h": 0.25 if running else 24.0,
    }
