"""What a reserve for a bad day costs and saves on islands, on days that differ from their forecast.

Run as `python -m bench.reserve [--days N]`. Generated islands whose generator is ready, its rest
as it is and of four hours. The reserve is the one that this rest asks for.
Every hour the day is planned anew from the forecast's medians, with the reserve or without; then an
hour of what really comes is served: the generator as planned, or at once when the battery is nearly
empty, the battery the rest. Load and sun differ from the median by a factor of the day and one of
the hour, so that one day in ten lies beyond either end of the band. Cost is the true one.
"""

import dataclasses
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import dispatch_instances
from control.dispatch import Schedule, evaluate, stored_kwh_per_h, whole_steps
from control.dispatch_instance import Instance
from control.planning import plan
from control.planning_step import MeritOrder
from control.planning_storage import Storage
from control.records import Series
from control.reserve import reserve

Floats = NDArray[np.float64]

BAND = 0.3  # p10 and p90 lie so far from p50
SIGMA = BAND / 1.2816 / np.sqrt(2)  # of the day's factor, and of the hour's
LONG_REST_H = 4.0
EMPTY_FRAC = 0.03
ITERATIONS = 5
NONE: Any = 0.0  # in every step


def islands(count: int) -> list[Instance]:
    """Generated islands whose load something can serve."""
    found = list[Instance]()
    seed = 1000
    while len(found) < count:
        problem = dispatch_instances.instance(seed)
        if problem["name"].endswith("islanded"):
            found.append(Instance.from_dict(problem))
        seed += 1
    return found


def with_reserve(instance: Instance) -> Instance:
    """The instance with the reserve that its band asks for."""
    battery = instance.battery
    made = reserve(
        _series(instance.load_kw),
        _series(instance.pv_kw),
        step_h=instance.step_h,
        help_after_h=instance.diesel.min_down_h,
        usable_kwh=battery.capacity_kwh * (battery.soc_max_frac - battery.soc_min_frac),
        unserved_per_kwh=instance.unserved_per_kwh,
    )
    return dataclasses.replace(
        instance, reserve_kwh=made.kwh, reserve_short_per_kwh_h=made.short_per_kwh_h
    )


def _series(median: Floats) -> Series:
    low, high = median * (1 - BAND), median * (1 + BAND)
    return Series(tuple(low.tolist()), tuple(median.tolist()), tuple(high.tolist()), "")


def actual(instance: Instance, rng: np.random.Generator) -> Instance:
    """What really comes."""
    per_hour = max(1, round(1 / instance.step_h))

    def factor() -> Floats:
        hours = rng.normal(0.0, SIGMA, -(-instance.steps // per_hour))
        each = np.repeat(hours, per_hour)[: instance.steps]
        return np.asarray(np.exp(rng.normal(0.0, SIGMA) + each))

    return dataclasses.replace(
        instance, load_kw=instance.load_kw * factor(), pv_kw=instance.pv_kw * factor()
    )


class Day:
    """A day as it is served, step by step."""

    def __init__(self, forecast: Instance, real: Instance) -> None:
        """Begin in the instance's initial state."""
        self._forecast, self._real = forecast, real
        battery, diesel = forecast.battery, forecast.diesel
        self._stored = battery.soc_initial_frac * battery.capacity_kwh
        self._on, self._hours = diesel.initial_on, diesel.initial_time_in_state_h
        self._battery_kw = np.zeros(forecast.steps)
        self._diesel_on = np.zeros(forecast.steps, dtype=bool)

    def serve(self, *, careful: bool) -> Schedule:
        """The whole day, planned anew every hour."""
        steps = self._forecast.steps
        per_hour = max(1, round(1 / self._forecast.step_h))
        for first in range(0, steps, per_hour):
            ahead = self._ahead(first)
            found = plan(with_reserve(ahead) if careful else ahead, iterations=ITERATIONS).schedule
            for t in range(first, min(first + per_hour, steps)):
                self._step(t, bool(found.diesel_on[t - first]), float(found.diesel_kw[t - first]))
        return MeritOrder(self._real).schedule(self._battery_kw, self._diesel_on)

    def _ahead(self, first: int) -> Instance:
        """The rest of the day as forecast, from the state as it is."""
        cut = {
            name: getattr(self._forecast, name)[first:]
            for name in ("load_kw", "pv_kw", "wind_kw", "price_buy_per_kwh", "price_sell_per_kwh")
        }
        battery = self._forecast.battery
        soc_frac = min(1.0, max(0.0, self._stored / battery.capacity_kwh))
        diesel = dataclasses.replace(
            self._forecast.diesel, initial_on=self._on, initial_time_in_state_h=self._hours
        )
        return dataclasses.replace(
            self._forecast,
            **cut,
            import_max_kw=NONE,
            export_max_kw=NONE,
            reserve_kwh=NONE,
            battery=dataclasses.replace(battery, soc_initial_frac=soc_frac),
            diesel=diesel,
        )

    def _step(self, t: int, wanted: bool, planned_kw: float) -> None:
        real, dt = self._real, self._real.step_h
        battery, diesel = real.battery, real.diesel
        low = battery.soc_min_frac * battery.capacity_kwh
        nearly_empty = self._stored < low + EMPTY_FRAC * battery.capacity_kwh
        minimum_h = diesel.min_up_h if self._on else diesel.min_down_h
        free = self._hours >= whole_steps(minimum_h, dt) * dt - 1e-9
        if free and (wanted or nearly_empty) != self._on:
            self._on, self._hours = not self._on, 0.0
        self._hours += dt
        net_kw = float(real.load_kw[t] - real.pv_kw[t] - real.wind_kw[t])
        made_kw = max(diesel.power_min_kw, planned_kw) if self._on else 0.0
        if self._on and nearly_empty:
            made_kw = diesel.power_max_kw
        alone = dataclasses.replace(
            real,
            load_kw=np.ones(1),
            pv_kw=NONE,
            wind_kw=NONE,
            price_buy_per_kwh=NONE,
            price_sell_per_kwh=NONE,
            import_max_kw=NONE,
            export_max_kw=NONE,
            reserve_kwh=NONE,
            battery=dataclasses.replace(
                battery, soc_initial_frac=min(1.0, max(0.0, self._stored / battery.capacity_kwh))
            ),
        )
        power = Storage(alone).repaired_kw(np.array([net_kw - made_kw]))
        self._stored += dt * float(stored_kwh_per_h(battery, power)[0])
        self._battery_kw[t], self._diesel_on[t] = power[0], self._on


@click.command()
@click.option("--days", default=20, show_default=True, help="Islands, each on one day.")
def main(days: int) -> None:
    """Print the table of costs."""
    table = Table("islands", "days", "reserve", "cost, mean", "unserved, kWh", "starts")
    for kind in ("rest as it is", "rest of 4 h"):
        rows: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
        for n, forecast in enumerate(track(islands(days), kind, transient=True)):
            if kind == "rest of 4 h":
                diesel = dataclasses.replace(forecast.diesel, min_down_h=LONG_REST_H)
                forecast = dataclasses.replace(forecast, diesel=diesel)
            real = actual(forecast, np.random.default_rng(n))
            for careful, found in rows.items():
                served = Day(forecast, real).serve(careful=careful)
                starts = np.count_nonzero(np.diff(served.diesel_on.astype(np.int8), prepend=0) > 0)
                unserved = real.step_h * float(served.unserved_kw.sum())
                found.append((evaluate(real, served).total, unserved, float(starts)))
        for careful, found in rows.items():
            cost, unserved, begun = np.mean(found, axis=0)
            name = "kept" if careful else "none"
            table.add_row(kind, str(days), name, f"{cost:.3f}", f"{unserved:.3f}", f"{begun:.2f}")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
