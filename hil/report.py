"""One HTML file about one run on the bench: what an operator and an engineer ask of it."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from hil import report_events, report_figures, report_tables, report_units
from hil.charts import TimeAxis
from hil.report_figures import Figure, Series
from hil.report_forecast import Target
from hil.report_series import mean_of_bins
from hil.report_words import (
    CENT,
    Verdict,
    cheap,
    duration,
    figure,
    number,
    small_percent,
    span,
    verdict,
)
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
    drawing = Drawing(None if axis is None else Series(result, axis))
    top = Top(result.title, result.site_name, _span(axis), verdict(result), _tiles(result))
    return assembled(top, _sections(result, drawing), drawing.json())


@dataclass(frozen=True, slots=True)
class Top:
    """What stands above the sections of a page; span and tiles are HTML."""

    title: str
    site: str
    span: str
    verdict: Verdict
    tiles: str


def assembled(top: Top, sections: Sequence["Section"], readings: str) -> str:
    """A whole page; sections without content are left out."""
    shown = [section for section in sections if section.content.strip()]
    links = "".join(f'<a href="#{section.name}">{section.title}</a>' for section in shown)
    return Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=escape(top.title),
        site=escape(top.site),
        span=top.span,
        verdict=_verdict(top.verdict),
        tiles=top.tiles,
        links=links,
        body="\n".join(section.html() for section in shown),
        readings=readings,
    )


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page, under a heading of its own."""

    name: str
    title: str
    content: str

    def html(self) -> str:
        """Heading and content."""
        return f'<section id="{self.name}"><h2>{self.title}</h2>\n{self.content}</section>'


class Drawing:
    """Draws figures of a series, if there is one, and keeps what the pointer reads out of them."""

    def __init__(self, series: Series | None) -> None:
        self.series = series
        self._values: dict[str, list[float | None]] = {}

    def __call__(self, *builders: Builder) -> str:
        """The figures for which there is data."""
        if self.series is None:
            return ""
        return "\n".join(self.html(builder(self.series)) for builder in builders)

    def html(self, found: Figure | None) -> str:
        """One figure."""
        if found is None:
            return ""
        for key, column in found.chart.readings.items():
            self._values[key] = [round(float(v), 3) if math.isfinite(v) else None for v in column]
        return found.html()

    def json(self) -> str:
        """The values under the pointer, fit to stand in a page."""
        if self.series is None:
            return "{}"
        axis = self.series.axis
        content = {
            "start": axis.start_s,
            "end": axis.end_s,
            "zone": axis.zone.key,
            "dated": axis.dated,
            "times": [round(float(t), 1) for t in mean_of_bins(axis.times)],
            "values": self._values,
        }
        return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _axis(result: Result) -> TimeAxis | None:
    """The shared time axis; None for a run without points."""
    if not result.utc_s:
        return None
    times = np.array(result.utc_s, float)
    step_s = float(np.median(np.diff(times))) if len(times) > 1 else SINGLE_POINT_S
    end_s = float(times[-1]) + max(step_s, 1e-3)
    return TimeAxis(times, end_s, zone_of(result.timezone), report_events.fault_marks(result))


def zone_of(name: str) -> ZoneInfo:
    """The zone, or UTC where nobody knows it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return ZoneInfo("UTC")


def _sections(result: Result, draw: Drawing) -> list[Section]:
    tables = f"{report_tables.comparison(result)}{report_tables.figures(result)}"
    costs = f"{draw(report_figures.cost_so_far)}{report_tables.cost_parts(result)}"
    return [
        Section("summary", "Summary", f'<div class="columns">{tables}</div>'),
        Section("day", "What happened", _day(draw)),
        Section("cost", "Cost", costs),
        Section("forecast", "Forecast", _forecast(draw)),
        Section(
            "setpoints",
            "Setpoints and what followed",
            draw(
                report_figures.battery_power,
                report_figures.pv_power,
                report_figures.generator_power,
            ),
        ),
        Section("energy", "Energy", report_tables.energy(result) + report_units.units(result)),
        Section("limits", "Limits", report_tables.violations(result)),
        *_events(draw),
        Section("timing", "Timing of cycles", report_tables.timing(result)),
    ]


def _day(draw: Drawing) -> str:
    if draw.series is None:
        return '<p class="note">The run ended before its first point.</p>'
    strip = report_events.strip(draw.series.result, draw.series.axis)
    others = draw(report_figures.state_of_charge, report_figures.prices, report_figures.grid_power)
    return f"{draw(report_figures.powers)}{strip}{others}"


def _forecast(draw: Drawing) -> str:
    if draw.series is None:
        return ""
    targets = [found for name in ("pv", "load") if (found := Target.of(draw.series, name))]
    figures = "".join(draw.html(target.figure()) for target in targets)
    return figures + report_tables.scores([(item.title, item.scores()) for item in targets])


def _events(draw: Drawing) -> list[Section]:
    if draw.series is None:
        return []
    result, axis = draw.series.result, draw.series.axis
    return [
        Section("events", "Events and faults", report_events.event_table(result, axis)),
        Section("mode-list", "Modes", report_events.mode_table(result, axis)),
    ]


def _span(axis: TimeAxis | None) -> str:
    if axis is None:
        return "no time passed"
    length = duration(axis.end_s - axis.start_s)
    return escape(f"{span(axis.start_s, axis.end_s, axis.zone)}, {length}")


def _verdict(said: Verdict) -> str:
    mark, style = ("\N{CHECK MARK}", "good") if said.content else ("!", "attention")
    return (
        f'<p class="verdict {style}"><span aria-hidden="true">{mark}</span>{escape(said.text)}</p>'
    )


def _tiles(result: Result) -> str:
    """The six figures that are looked at first."""
    summary = result.summary

    def of(key: str) -> float | None:
        return number(summary, key)

    def rules(key: str) -> str:
        value = of(key)
        return "" if value is None else f"rule-based {figure(value)}"

    error = of("energy_balance_error_frac")
    tiles: Sequence[tuple[str, str, str, bool | None]] = (
        ("Cost", figure(of("cost"), result.currency), rules("cost_rule_based"), cheap(summary)),
        (
            "Limit violations",
            figure(of("limit_violations"), decimals=0),
            "",
            _none(of("limit_violations")),
        ),
        (
            "Load unserved",
            figure(of("unserved_kwh"), "kWh"),
            rules("unserved_rule_based_kwh"),
            _none(of("unserved_kwh")),
        ),
        (
            "Cycles missed",
            figure(of("cycles_missed"), decimals=0),
            "" if of("cycles") is None else f"of {figure(of('cycles'), decimals=0)}",
            _none(of("cycles_missed")),
        ),
        ("Fuel", figure(of("fuel_l"), "l"), rules("fuel_rule_based_l"), None),
        (
            "Energy balance",
            small_percent(error),
            "" if error is None else "open",
            None if error is None else error <= report_tables.BALANCED_FRAC,
        ),
    )
    return "".join(tile(*each) for each in tiles)


def _none(value: float | None) -> bool | None:
    return None if value is None else value < CENT


def tile(title: str, value: str, below: str, good: bool | None) -> str:
    """A figure that is looked at first; `good` colours it."""
    style = {None: "", True: " good", False: " attention"}[good]
    return (
        f'<li class="tile{style}"><span class="name">{escape(title)}</span>'
        f'<span class="value">{escape(value)}</span><span class="below">{escape(below)}</span></li>'
    )
