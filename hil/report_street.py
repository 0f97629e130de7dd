"""One HTML file about one run of a street."""

import json
import math
from collections.abc import Mapping
from html import escape
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from hil import report_street_figures as figures
from hil.charts import TimeAxis
from hil.report import Section, Top, assembled, tile, zone_of
from hil.report_figures import Figure
from hil.report_series import mean_of_bins
from hil.report_tables import table
from hil.report_words import CENT, Verdict, against, duration, figure, number, span
from hil.street_result import Outcome, StreetResult

PERCENT = 100.0
MEASURED = (
    "No trade and the run itself had devices and their losses; the others are computed by"
    " slot means, with batteries of nominal efficiency, and know each slot before it is over."
)


def write_street_report(result: StreetResult, summary: Mapping[str, object], path: Path) -> None:
    """Write the report of `result` to `path`: one file that needs nothing from outside."""
    path.write_text(page(result, summary), encoding="utf-8")


def page(result: StreetResult, summary: Mapping[str, object]) -> str:
    """The report as HTML."""
    zone = zone_of(result.timezone)
    given = result.given
    step_s = 3600.0 * given.step_h
    times = given.start_utc_s + step_s * np.arange(given.slots, dtype=np.float64)
    axis = TimeAxis(times, float(times[-1]) + step_s, zone)
    power, prices = figures.traded_power(result, axis), figures.prices(result, axis)
    drawn = [each for each in (power, prices) if each is not None]
    by_day = figures.traded_by_day(result, zone)
    traded = [figures.traded_by_house(result, zone).html(), "" if by_day is None else by_day.html()]
    profiles = [figures.profile(result, zone, charging=charging) for charging in (True, False)]
    sections = [
        Section("traded-section", "Trade", "".join([*traded, *(each.html() for each in drawn)])),
        Section("bills-section", "Bills", figures.bills(result).html() + _bills(result)),
        Section("storage", "Storage", "".join([figures.averages(result).html(), *profiles])),
        Section("gain-section", "What there was to gain", _gain(result)),
        Section("houses", "Houses", _houses(result, summary)),
        Section("ledgers", "Ledgers", _ledgers(result)),
    ]
    length = duration(axis.end_s - axis.start_s)
    span_text = escape(f"{span(axis.start_s, axis.end_s, zone)}, {length}")
    names = f"{len(given.names)} houses"
    top = Top(result.title, names, span_text, verdict(result, summary), _tiles(result, summary))
    return assembled(top, sections, _readings(axis, drawn, zone))


def verdict(result: StreetResult, summary: Mapping[str, object]) -> Verdict:
    """The run in one sentence."""
    ran, alone = result.ran, result.alone
    saved = alone.cost - ran.cost
    verb = "cost" if ran.cost >= 0.0 else "earned"
    text = f"The street's energy {verb} {figure(abs(ran.cost), result.currency)}"
    if abs(saved) >= CENT:
        word = "less" if saved > 0 else "more"
        text += f", {figure(abs(saved), result.currency)} {word} than with every house for itself"
    text += f"; {figure(float(ran.traded_kwh().sum()), 'kWh', 1)} were traded"
    content = saved > -CENT
    if result.verdict.ledgers:
        sound = result.verdict.sound
        content &= sound
        text += (
            ", all ledgers are sound and agree" if sound else ", and the ledgers are not in order"
        )
    for key, said in (("limit_violations", "limits violated"), ("cycles_missed", "cycles missed")):
        count = number(summary, key)
        if count:
            content = False
            text += f"; {figure(count, decimals=0)} {said}"
    return Verdict(f"{text}.", content)


def _tiles(result: StreetResult, summary: Mapping[str, object]) -> str:
    ran, alone, given = result.ran, result.alone, result.given
    money = result.currency
    share = result.share_of_gain(ran)
    by_trade = float((ran.bills_untraded - ran.bills).sum())
    tiles = [
        tile("Energy bill", figure(ran.cost, money), f"alone {figure(alone.cost)}", None),
        tile("Saved by trading", figure(by_trade, money), "at the same powers", None),
        tile("Traded", figure(float(ran.traded_kwh().sum()), "kWh", 1), "", None),
        tile(
            "Self-sufficiency",
            figure(PERCENT * ran.self_sufficiency_frac(given), "%", 0),
            f"alone {figure(PERCENT * alone.self_sufficiency_frac(given), '%', 0)}",
            None,
        ),
        tile("Of the possible gain", _percent(share), "", None),
    ]
    violations = number(summary, "limit_violations")
    if violations is not None:
        tiles.append(tile("Limit violations", figure(violations, decimals=0), "", violations == 0))
    return "".join(tiles)


def _bills(result: StreetResult) -> str:
    ran, alone = result.ran, result.alone
    rows = [
        _bill(escape(name), *values)
        for name, *values in zip(
            result.given.names, alone.bills, ran.bills_untraded, ran.bills, strict=True
        )
    ]
    rows.append(_bill("Street", alone.cost, float(ran.bills_untraded.sum()), ran.cost))
    head = (escape(result.currency), "Alone, by rules", "Not traded", "Traded", "By trading", "")
    return table(head, rows, "figures total")


def _bill(name: str, alone: float, untraded: float, traded: float) -> tuple[str, ...]:
    gained = figure(traded - untraded, signed=True)
    figures_ = (figure(alone), figure(untraded), figure(traded), gained)
    return (name, *figures_, against(traded, untraded))


def _gain(result: StreetResult) -> str:
    has = result.given.has_battery
    rows = [_outcome(result, outcome, has) for outcome in (*result.others, result.ran)]
    rows.append(
        ("All houses as one, with foresight", figure(result.bound_cost), "", "", "", "", "100 %")
    )
    head = (
        "",
        f"Cost, {escape(result.currency)}",
        "Traded, kWh",
        "Charging, kW",
        "Discharging, kW",
        "Self-sufficiency",
        "Share of gain",
    )
    drawn = figures.gain(result).html() + figures.self_sufficiency(result).html()
    note = f'<p class="note">{MEASURED}</p>' if result.verdict.ledgers else ""
    return drawn + table(head, rows, "figures") + note


def _outcome(result: StreetResult, outcome: Outcome, has: NDArray[np.bool_]) -> tuple[str, ...]:
    return (
        escape(outcome.title),
        figure(outcome.cost),
        figure(float(outcome.traded_kwh().sum()), "", 1),
        figure(float(outcome.charging_kw(has).mean()), "", 3),
        figure(float(outcome.discharging_kw(has).mean()), "", 3),
        figure(PERCENT * outcome.self_sufficiency_frac(result.given), "%", 0),
        _percent(result.share_of_gain(outcome)),
    )


def _houses(result: StreetResult, summary: Mapping[str, object]) -> str:
    """Every house's own figures, and where its own report is."""
    houses = summary.get("houses")
    if not isinstance(houses, Mapping):
        return ""
    rows = []
    for name in result.given.names:
        own = houses.get(name)
        if not isinstance(own, Mapping) or "report" not in own:
            return ""
        link = f'<a href="{escape(str(own["report"]))}">{escape(name)}</a>'
        numbers = [
            figure(number(own, key), "", decimals)
            for key, decimals in (
                ("cost", 2),
                ("cost_rule_based", 2),
                ("unserved_kwh", 2),
                ("fuel_l", 2),
                ("limit_violations", 0),
                ("cycles", 0),
                ("cycles_missed", 0),
            )
        ]
        rows.append((link, *numbers))
    head = ("", "Cost", "Rule-based", "Unserved, kWh", "Fuel, l", "Violations", "Cycles", "Missed")
    note = (
        f'<p class="note">Costs in {escape(result.currency)} with fuel, wear and upkeep. Each house'
        " has a report of its own.</p>"
    )
    return note + table(head, rows, "figures")


def _ledgers(result: StreetResult) -> str:
    found = result.verdict
    if not found.ledgers:
        return ""
    rows = [
        (
            escape(ledger.house),
            f"<code>{escape(ledger.peer)}</code>",
            figure(float(ledger.entries), "", 0),
            figure(float(ledger.countersigned), "", 0),
            escape(ledger.fault) or "sound",
        )
        for ledger in found.ledgers
    ]
    text = (
        f"{found.trades} trades; {len(found.disagreements)} on which two ledgers differ;"
        f" {found.in_doubt} in doubt; the accounts of houses, grid and fee add up to"
        f" {'zero' if found.money_left == 0 else found.money_left}."
    )
    differing = "".join(f'<p class="note">{escape(line)}</p>' for line in found.disagreements)
    head = ("", "Member", "Entries", "Countersigned up to", "")
    return f'<p class="note">{text}</p>{differing}' + table(head, rows, "figures worded")


def _percent(share: float) -> str:
    return figure(PERCENT * share, "%", 0) if math.isfinite(share) else figure(None)


def _readings(axis: TimeAxis, drawn: list[Figure], zone: ZoneInfo) -> str:
    """What the pointer reads out of the charts over time."""
    values = {
        key: [round(float(v), 3) if math.isfinite(v) else None for v in column]
        for each in drawn
        for key, column in each.chart.readings.items()
    }
    content = {
        "start": axis.start_s,
        "end": axis.end_s,
        "zone": zone.key,
        "dated": axis.dated,
        "times": [round(float(t), 1) for t in mean_of_bins(axis.times)],
        "values": values,
    }
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")
