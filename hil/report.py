"""One HTML file about one run on the bench: what an operator and an engineer ask of it."""

import json
import math
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from string import Template
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from hil import report_events, report_figures, report_tables
from hil.charts import TimeAxis
from hil.report_figures import Figure, Series
from hil.report_forecast import Target
from hil.report_series import mean_of_bins
from hil.report_words import Verdict, duration, figure, number, small_percent, span, verdict
from hil.result import Result

PAGE = Path(__file__).with_name("report_page.html")
SINGLE_POINT_S = 60.0

Builder = Callable[[Series], Figure | None]


def write_report(result: Result, path: Path) -> None:
    """Write the report of `result` to `path`: one file that needs nothing from outside."""
    path.write_text(page(result), encoding="utf-8")


def page(result: Result) -> str:
    """The report as HTML."""
    axis = _axis(result)
    said = verdict(result)
    readings: dict[str, object] = {}
    sections = [_summary(result)]
    if axis is None:
        sections.append('<p class="note">The run ended before its first point.</p>')
    else:
        sections += _charted(Series(result, axis), readings)
    sections.append(_section("timing", "Timing of cycles", report_tables.timing(result)))
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(result.title),
        site=escape(result.site_name),
        span=_span(result, axis),
        verdict=_verdict(said),
        tiles=_tiles(result),
        body="\n".join(sections),
        readings=json.dumps(readings, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _axis(result: Result) -> TimeAxis | None:
    """The shared time axis; None for a run without points."""
    if not result.utc_s:
        return None
    times = np.array(result.utc_s, float)
    step_s = float(np.median(np.diff(times))) if len(times) > 1 else SINGLE_POINT_S
    end_s = float(times[-1]) + max(step_s, 1e-3)
    return TimeAxis(times, end_s, _zone(result.timezone), report_events.fault_marks(result))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _charted(series: Series, readings: dict[str, object]) -> list[str]:
    """The sections that have charts; what the pointer reads out goes to `readings`."""
    result, axis = series.result, series.axis
    readings["times"] = [round(float(t), 1) for t in mean_of_bins(axis.times)]
    readings["start"], readings["end"] = axis.start_s, axis.end_s
    readings["zone"], readings["values"] = axis.zone.key, {}

    def drawn(*builders: Builder) -> str:
        return "\n".join(_drawn(builder(series), readings) for builder in builders)

    targets = [found for name in ("pv", "load") if (found := Target.of(series, name))]
    forecasts = "\n".join(_drawn(target.figure(), readings) for target in targets)
    scores = report_tables.scores([(target.title, target.scores()) for target in targets])
    figures = report_figures
    money = drawn(figures.cost_so_far)
    return [
        _section(
            "day",
            "What happened",
            drawn(figures.powers)
            + report_events.strip(result, axis)
            + drawn(figures.state_of_charge, figures.prices, figures.grid_power),
        ),
        _section("cost", "Cost", f"{report_tables.cost_parts(result)}{money}"),
        _section("forecast", "Forecast", f"{forecasts}{FORECAST_NOTE}{scores}"),
        _section(
            "setpoints",
            "Setpoints and what followed",
            drawn(figures.battery_power, figures.pv_power, figures.generator_power),
        ),
        _section("energy", "Energy", report_tables.energy(result)),
        _section("limits", "Limits", report_tables.violations(result)),
        _section("events", "Events and faults", report_events.event_table(result, axis)),
        _section("modes-table", "Modes", report_events.mode_table(result, axis)),
    ]


FORECAST_NOTE = (
    '<p class="note">Scores compare means over forecast steps; PV counts by day only.'
    " Of a calibrated band 80\N{NO-BREAK SPACE}% of the truth lies inside.</p>"
)


def _drawn(found: Figure | None, readings: dict[str, object]) -> str:
    if found is None:
        return ""
    values = readings["values"]
    assert isinstance(values, dict)
    for key, column in found.chart.readings.items():
        values[key] = [round(float(v), 3) if math.isfinite(v) else None for v in column]
    return found.html()


def _section(name: str, title: str, content: str) -> str:
    if not content.strip():
        return ""
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n{content}</section>'


def _summary(result: Result) -> str:
    tables = f"{report_tables.comparison(result)}{report_tables.figures(result)}"
    return _section("summary", "Summary", f'<div class="columns">{tables}</div>')


def _span(result: Result, axis: TimeAxis | None) -> str:
    if axis is None:
        return "no time passed"
    length = duration(axis.end_s - axis.start_s)
    return escape(f"{span(axis.start_s, axis.end_s, axis.zone)}, {length}")


def _verdict(said: Verdict) -> str:
    mark, style = ("\N{CHECK MARK}", "good") if said.content else ("!", "attention")
    return f'<p class="verdict {style}"><span aria-hidden="true">{mark}</span>{escape(said.text)}</p>'


def _tiles(result: Result) -> str:
    """The six figures that are looked at first."""
    summary = result.summary

    def of(key: str) -> float | None:
        return number(summary, key)

    def rules(key: str, unit: str) -> str:
        value = of(key)
        return "" if value is None else f"rule-based {figure(value, unit)}"

    error = of("energy_balance_error_frac")
    tiles: Sequence[tuple[str, str, str, bool | None]] = (
        ("Cost", figure(of("cost"), result.currency), rules("cost_rule_based", ""), None),
        ("Limit violations", figure(of("limit_violations"), decimals=0), "", _none(of("limit_violations"))),
        (
            "Load unserved",
            figure(of("unserved_kwh"), "kWh"),
            rules("unserved_rule_based_kwh", ""),
            _none(of("unserved_kwh")),
        ),
        (
            "Cycles missed",
            figure(of("cycles_missed"), decimals=0),
            f"of {figure(of('cycles'), decimals=0)}",
            _none(of("cycles_missed")),
        ),
        ("Fuel", figure(of("fuel_l"), "l"), rules("fuel_rule_based_l", ""), None),
        (
            "Energy balance",
            small_percent(error),
            "open",
            None if error is None else error <= report_tables.BALANCED_FRAC,
        ),
    )
    return "".join(_tile(*tile) for tile in tiles)


def _none(value: float | None) -> bool | None:
    return None if value is None else value < 0.005


def _tile(title: str, value: str, below: str, good: bool | None) -> str:
    style = {None: "", True: " good", False: " attention"}[good]
    return (
        f'<li class="tile{style}"><span class="name">{escape(title)}</span>'
        f'<span class="value">{escape(value)}</span><span class="below">{escape(below)}</span></li>'
    )
