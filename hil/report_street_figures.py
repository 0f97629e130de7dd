"""The pictures of a street's report: what was traded, the three settings, bills, prices, gain."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from hil.bars import BarFigure, Bars, Rows
from hil.charts import Chart, TimeAxis
from hil.report_figures import Figure
from hil.report_series import Floats
from hil.report_ticks import ValueScale, local
from hil.street_result import Outcome, StreetResult

HOUSE_STYLES = ("pv", "grid-power", "generator", "battery", "wind", "quantiles")
SETTING_STYLES = ("rules", "grid-power", "battery")
DAY_S = 86_400.0
SETTINGS_NOTE = (
    "Without trade every battery follows its own house. With trade a surplus goes to the neighbours"
    " first, the seller's battery helps out, and what is left charges (Qayyum 2023; Algorithm 1 is"
    " that paper's swarm)."
)


def days(result: StreetResult, zone: ZoneInfo) -> tuple[list[str], NDArray[np.int64]]:
    """The local days of the run, and for each slot which of them it is in."""
    given = result.given
    starts = given.start_utc_s + 3600.0 * given.step_h * np.arange(given.slots)
    dates = [local(float(start), zone).date() for start in starts]
    names = sorted(set(dates))
    index = np.array([names.index(date) for date in dates], dtype=np.int64)
    return [f"{name.day} {name:%b}" for name in names], index


def traded_by_house(result: StreetResult, zone: ZoneInfo) -> BarFigure:
    """Sold and bought per house and day."""
    names, _ = days(result, zone)
    sold = np.maximum(-result.ran.bought_kwh, 0.0).sum(axis=0) / len(names)
    bought = np.maximum(result.ran.bought_kwh, 0.0).sum(axis=0) / len(names)
    series = [Bars("sold", "battery", sold), Bars("bought", "grid-power", -bought)]
    return BarFigure(
        "traded-by-house",
        "Energy traded per house and day",
        "kWh",
        result.given.names,
        series,
        "Above zero: sold to neighbours. Below zero: bought from them.",
    )


def traded_by_day(result: StreetResult, zone: ZoneInfo) -> Rows | None:
    """Net trade of every house on every day; None for a single one."""
    names, index = days(result, zone)
    if len(names) < 2:
        return None
    net = np.zeros((len(result.given.names), len(names)))
    np.add.at(net.T, index, -result.ran.bought_kwh)
    return Rows(
        "traded-by-day",
        f"Day by day, {names[0]} to {names[-1]}",
        "kWh",
        result.given.names,
        names,
        net,
        ("battery", "grid-power"),
        ("sold", "bought"),
        "Net trade of each house on each day; all strips have the same scale.",
    )


def traded_power(result: StreetResult, axis: TimeAxis) -> Figure | None:
    """Who gave and who took, over time."""
    power_kw = -result.ran.bought_kwh / result.given.step_h
    if not np.any(power_kw):
        return None
    total = np.maximum(power_kw, 0.0).sum(axis=1)
    scale = ValueScale.of([float(total.max()), -float(total.max())])
    chart = Chart("traded", axis, scale, "kW", 210)
    if len(result.given.names) <= len(HOUSE_STYLES):
        layers = zip(power_kw.T, HOUSE_STYLES, result.given.names, strict=False)
        chart.stack([(values, style, name) for values, style, name in layers])
    else:
        chart.stack([(total, "battery", "Traded")])
    note = "Above zero: sold to neighbours. Below zero: bought from them. Both add up to nothing."
    return Figure("Power traded", note, chart, f"Up to {total.max():.1f} kW changed hands.")


def prices(result: StreetResult, axis: TimeAxis) -> Figure:
    """What a kWh costs among neighbours and at the grid."""
    given, paid = result.given, result.ran.price_per_kwh
    known = [given.buy_per_kwh, given.sell_per_kwh, paid[np.isfinite(paid)]]
    scale = ValueScale.of([float(v) for values in known for v in values])
    chart = Chart("street-prices", axis, scale, f"{result.currency} per kWh", 150)
    chart.steps(given.buy_per_kwh, "grid-power", "From the grid")
    chart.steps(given.sell_per_kwh, "sell", "To the grid")
    if np.isfinite(paid).any():
        chart.steps(paid, "battery", "Among neighbours")
    note = f"Buyers pay it; sellers receive {given.fee_per_kwh:g} less, the community's fee."
    return Figure("Prices", note, chart, "Prices of the grid and among neighbours.")


def settings(result: StreetResult) -> tuple[Outcome, Outcome, Outcome]:
    """Without trade, with trade, with trade and planned storage."""
    return result.alone, result.others[1], result.ran


def profile(result: StreetResult, zone: ZoneInfo, *, charging: bool) -> str:
    """Mean charging or discharging over the hours of a day, under the three settings."""
    has = result.given.has_battery
    outcomes = settings(result)
    series = [o.charging_kw(has) if charging else o.discharging_kw(has) for o in outcomes]
    word = "charging" if charging else "discharging"
    hourly = [_by_hour(result, zone, values) for values in series]
    bars = [
        Bars(outcome.title, style, values)
        for outcome, style, values in zip(outcomes, SETTING_STYLES, hourly, strict=True)
    ]
    hours = [f"{hour}" for hour in range(24)]
    title = f"Mean {word} of a battery by the hour"
    return BarFigure(f"mean-{word}", title, "kW", hours, bars, height=150).html()


def averages(result: StreetResult) -> BarFigure:
    """The same over the whole run."""
    has = result.given.has_battery
    outcomes = settings(result)
    charging = np.array([o.charging_kw(has).mean() for o in outcomes])
    discharging = np.array([o.discharging_kw(has).mean() for o in outcomes])
    return BarFigure(
        "mean-power",
        "Mean power of a battery",
        "kW",
        [outcome.title for outcome in outcomes],
        [Bars("charging", "battery", charging), Bars("discharging", "pv", discharging)],
        SETTINGS_NOTE,
        decimals=3,
    )


def bills(result: StreetResult) -> BarFigure:
    """Every house's bill: for itself, and as it ran with and without its trades."""
    return BarFigure(
        "bills",
        "Bills",
        result.currency,
        result.given.names,
        [
            Bars("alone, by rules", "rules", result.alone.bills),
            Bars("the same powers, not traded", "grid-power", result.ran.bills_untraded),
            Bars("traded", "battery", result.ran.bills),
        ],
        "Energy only: bought and sold, what stayed in the batteries taken off. Below zero: earned.",
    )


def gain(result: StreetResult) -> BarFigure:
    """How much of what is there to gain each way of running the street gained."""
    outcomes = (*result.others, result.ran)
    shares = np.array([100.0 * result.share_of_gain(outcome) for outcome in outcomes])
    return BarFigure(
        "gain",
        "Share of the possible gain",
        "%",
        [outcome.title for outcome in outcomes],
        [Bars("share", "battery", shares)],
        "0: every house for itself by rules. 100: all houses as one, with foresight.",
        decimals=0,
        height=150,
    )


def self_sufficiency(result: StreetResult) -> BarFigure:
    """The share of the load that no grid supplied."""
    outcomes = (*result.others, result.ran)
    shares = [100.0 * outcome.self_sufficiency_frac(result.given) for outcome in outcomes]
    return BarFigure(
        "self-sufficiency",
        "Self-sufficiency",
        "%",
        [outcome.title for outcome in outcomes],
        [Bars("share", "pv", np.array(shares))],
        "The share of the street's load that did not come from the grid.",
        decimals=0,
        height=150,
    )


def _by_hour(result: StreetResult, zone: ZoneInfo, values: Floats) -> Floats:
    given = result.given
    starts = given.start_utc_s + 3600.0 * given.step_h * np.arange(given.slots)
    hours = np.array([local(float(start), zone).hour for start in starts])
    means: Sequence[float] = [
        float(values[hours == hour].mean()) if (hours == hour).any() else np.nan
        for hour in range(24)
    ]
    return np.array(means)
