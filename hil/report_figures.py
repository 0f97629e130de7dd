"""The charts of a report, one function each: from a run to a figure, or None without the data."""

from dataclasses import dataclass
from html import escape

import numpy as np

from hil.charts import Chart, Key, TimeAxis
from hil.report_series import Floats, column, near_any, spans
from hil.report_ticks import ValueScale
from hil.report_words import duration, figure, number
from hil.result import Result

SEEN_KW = 0.02  # below this a power is nobody's business
OURS = "This controller"
RULES = "Rule-based"
PLAN = "Plan"
SOC_LIMITS = ("soc_min_frac", "reserve_soc_frac", "soc_max_frac")
PLAN_STYLE = "plan"
STACKED = (
    ("pv_kw", "pv", "PV"),
    ("wind_kw", "wind", "Wind"),
    ("generator_kw", "generator", "Generator"),
    ("battery_kw", "battery", "Battery"),
    ("grid_kw", "grid-power", "Grid"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with what is written above and below it."""

    title: str
    note: str
    chart: Chart
    description: str

    def html(self) -> str:
        """Caption with legend, chart, note."""
        areas = [key for key in self.chart.keys if key.shape != "line"]
        lines = [key for key in self.chart.keys if key.shape == "line"]
        on_top_first = (*areas, *lines[::-1])
        keys = "".join(legend_entry(key) for key in on_top_first)
        note = f'<p class="note">{escape(self.note)}</p>' if self.note else ""
        drawing = self.chart.svg(self.title, self.description)
        return (
            f'<figure id="{self.chart.name}"><figcaption><h3>{escape(self.title)}'
            f' <span class="unit">{escape(self.chart.unit)}</span></h3>'
            f'<ul class="keys">{keys}</ul></figcaption>'
            f'<div class="frame">{drawing}</div>{note}</figure>'
        )


@dataclass(frozen=True)
class Series:
    """The columns of a run on one time axis."""

    result: Result
    axis: TimeAxis

    def truth(self, name: str) -> Floats | None:
        """What the plant did."""
        return column(self.result.truth, name, len(self.axis.times))

    def controller(self, name: str) -> Floats | None:
        """What the controller thought or said."""
        return column(self.result.controller, name, len(self.axis.times))

    def rules(self, name: str) -> Floats | None:
        """What the rule-based controller's plant did."""
        return column(self.result.rule_based, name, len(self.axis.times))

    def chart(
        self, name: str, unit: str, values: list[Floats | None], height: int = 170
    ) -> Chart | None:
        """An empty chart for these values; None without any."""
        known = [v[np.isfinite(v)] for v in values if v is not None]
        if not any(len(v) for v in known):
            return None
        limits = [limit for v in known if len(v) for limit in (float(v.min()), float(v.max()))]
        return Chart(name, self.axis, ValueScale.of([*limits, 0.0]), unit, height)

    def unserved(self) -> list[tuple[float, float]]:
        """When load went unserved."""
        unserved = self.truth("unserved_kw")
        if unserved is None:
            return []
        return spans(self.axis.times, np.nan_to_num(unserved) > SEEN_KW, self.axis.end_s)


def powers(series: Series) -> Figure | None:
    """Sources and sinks on each other, the load as a line."""
    stack = [
        (values, style, label)
        for name, style, label in STACKED
        if (values := series.truth(name)) is not None and _seen(values)
    ]
    load, available = series.truth("load_kw"), series.truth("pv_available_kw")
    zero = np.zeros(len(series.axis.times))
    ups = sum((np.maximum(np.nan_to_num(values), 0.0) for values, _, _ in stack), zero)
    downs = sum((np.minimum(np.nan_to_num(values), 0.0) for values, _, _ in stack), zero)
    chart = series.chart("powers", "kW", [ups, downs, load, available], 290)
    if chart is None or (not stack and load is None):
        return None
    chart.shade(series.unserved(), "unserved", "Load unserved").stack(stack)
    curtailed = _curtailed(series)
    if curtailed is not None:
        chart.line(curtailed, "pv-available", "PV available")
    if load is not None:
        chart.line(load, "load", "Load")
    totals = ", ".join(
        f"{label} {figure(float(np.nanmin(values)))} to {figure(float(np.nanmax(values)), 'kW')}"
        for values, _, label in [*stack, *([(load, "", "Load")] if load is not None else [])]
    )
    note = (
        "Above zero: into the bus; below zero: battery charging and export."
        " The load line is what is wanted."
    )
    return Figure("Powers", note, chart, f"Powers over the run: {totals}.")


def state_of_charge(series: Series) -> Figure | None:
    """Ours, the plan's, the rule-based controller's."""
    ours, plan = series.truth("soc_frac"), series.controller("plan_soc_frac")
    rules = series.rules("soc_frac")
    if not any(_seen(values, 1e-4) for values in (ours, plan, rules)):
        return None
    chart = Chart("soc", series.axis, ValueScale(0.0, 100.0, 20.0), "%", 190)
    chart.shade(series.unserved(), "unserved", "Load unserved")
    limits = [number(series.result.summary, key) for key in SOC_LIMITS]
    ends = np.array([series.axis.start_s, series.axis.end_s])
    for index, limit in enumerate(limit for limit in limits if limit is not None):
        label = "" if index else "Limits and reserve"
        chart.line(np.full(2, 100.0 * limit), "limit", label, times=ends)
    for values, style, label in (
        (rules, "rules", RULES),
        (plan, PLAN_STYLE, PLAN),
        (ours, "battery", OURS),
    ):
        if values is not None:
            chart.line(100.0 * values, style, label)
    said = _range("State of charge", None if ours is None else 100.0 * ours, "%", 0)
    return Figure("State of charge", "", chart, said)


def prices(series: Series) -> Figure | None:
    """What a kWh costs and brings."""
    buy, sell = series.truth("price_buy_per_kwh"), series.truth("price_sell_per_kwh")
    if not (_seen(buy, 1e-9) or _seen(sell, 1e-9)):
        return None
    chart = series.chart("prices", f"{series.result.currency} per kWh", [buy, sell], 120)
    if chart is None:
        return None
    for values, style, label in ((sell, "sell", "Selling"), (buy, "grid-power", "Buying")):
        if values is not None:
            chart.steps(values, style, label)
    return Figure("Prices", "", chart, _range("Buying price", buy, chart.unit, 3))


def grid_power(series: Series) -> Figure | None:
    """Import above zero, export below."""
    ours, rules = series.truth("grid_kw"), series.rules("grid_kw")
    plan = series.controller("plan_grid_kw")
    if not (_seen(ours) or _seen(rules)):
        return None
    chart = series.chart("grid", "kW", [ours, rules, plan])
    if chart is None:
        return None
    if rules is not None:
        chart.line(rules, "rules", RULES)
    if plan is not None:
        chart.steps(plan, PLAN_STYLE, PLAN)
    if ours is not None:
        chart.line(ours, "grid-power", OURS)
    note = "Import above zero, export below."
    return Figure("Grid power", note, chart, _range("Grid power", ours, "kW", 2))


def battery_power(series: Series) -> Figure | None:
    """What was asked of the battery and what it did."""
    measured, asked = series.truth("battery_kw"), series.controller("battery_setpoint_kw")
    plan = series.controller("plan_battery_kw")
    if not (_seen(measured) or _seen(asked)):
        return None
    chart = series.chart("battery", "kW", [measured, asked, plan])
    if chart is None:
        return None
    if measured is not None:
        chart.stack([(measured, "battery soft", "Measured")])
    if plan is not None:
        chart.steps(plan, PLAN_STYLE, PLAN)
    if asked is not None:
        chart.steps(asked, "setpoint", "Setpoint")
    note = "Discharge above zero, charging below."
    if measured is not None and asked is not None:
        note += f" Measured from setpoint: {figure(_rms(measured - asked), 'kW')} RMS."
    return Figure("Battery", note, chart, _range("Battery power", measured, "kW", 2))


def pv_power(series: Series) -> Figure | None:
    """What the sun offered, the limit, and what was taken."""
    taken, offered = series.truth("pv_kw"), series.truth("pv_available_kw")
    limit = series.controller("pv_limit_kw")
    if not (_seen(taken) or _seen(offered)):
        return None
    chart = series.chart("pv", "kW", [taken, offered, limit])
    if chart is None:
        return None
    if taken is not None:
        chart.stack([(taken, "pv soft", "Delivered")])
        if _curtailed(series) is not None and offered is not None:
            chart.band(taken, np.fmax(taken, offered), "curtailed", "Curtailed")
    elif offered is not None:
        chart.line(offered, "pv-available", "Available")
    if limit is not None:
        chart.steps(limit, "setpoint", "Limit")
    return Figure("PV", "", chart, _range("PV power", taken, "kW", 2))


def generator_power(series: Series) -> Figure | None:
    """When it was told to run, what it gave, and what the rule-based controller's gave."""
    ours, rules = series.truth("generator_kw"), series.rules("generator_kw")
    run = series.controller("generator_run")
    if not (_seen(ours) or _seen(rules)):
        return None
    chart = series.chart("generator", "kW", [ours, rules], 140)
    if chart is None:
        return None
    note = ""
    if run is not None:
        told = spans(series.axis.times, np.nan_to_num(run) > 0.5, series.axis.end_s)
        chart.shade(told, "told", "Told to run")
        if told:
            note = f"Told to run for {duration(sum(last - first for first, last in told))}."
    if rules is not None:
        chart.line(rules, "rules", RULES)
    if ours is not None:
        chart.line(ours, "generator", OURS)
    return Figure("Generator", note, chart, _range("Generator power", ours, "kW", 2))


def cost_so_far(series: Series) -> Figure | None:
    """The cost of both controllers as it grew."""
    ours, rules = series.controller("cost"), series.rules("cost")
    chart = series.chart("cost-so-far", series.result.currency, [ours, rules], 190)
    if chart is None:
        return None
    if rules is not None:
        chart.line(rules, "rules", RULES)
    if ours is not None:
        chart.line(ours, "load", OURS)
    note = "Includes what the energy gained or lost in the battery is worth."
    return Figure("Cost so far", note, chart, _range("Cost", ours, chart.unit, 2))


def legend_entry(key: Key) -> str:
    """One entry of a legend."""
    drawn = {
        "line": f'<path class="line {key.style}" d="M1 6H21"/>',
        "area": f'<rect class="area {key.style}" x="1" y="1" width="20" height="10" rx="2"/>',
        "span": f'<rect class="span {key.style}" x="1" y="1" width="20" height="10" rx="2"/>',
    }[key.shape]
    reading = f'<output data-reading="{key.reading}"></output>' if key.reading else ""
    return (
        f'<li><svg class="swatch" width="22" height="12" aria-hidden="true">{drawn}</svg>'
        f"{escape(key.label)}{reading}</li>"
    )


def _seen(values: Floats | None, least: float = SEEN_KW) -> bool:
    return values is not None and bool(np.nanmax(np.abs(values)) > least)


def _curtailed(series: Series) -> Floats | None:
    """What PV could have given, at the times when it gave noticeably less; None without any."""
    taken, offered = series.truth("pv_kw"), series.truth("pv_available_kw")
    if taken is None or offered is None:
        return None
    less = near_any(offered - taken > max(SEEN_KW, 0.02 * float(np.nanmax(offered))))
    return np.where(less, offered, np.nan) if less.any() else None


def _rms(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.sqrt((known**2).mean())) if len(known) else np.nan


def _range(name: str, values: Floats | None, unit: str, decimals: int) -> str:
    if values is None:
        return f"{name} is unknown."
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    return f"{name} from {figure(low, decimals=decimals)} to {figure(high, unit, decimals)}."
