"""Charts over time as inline SVG that keeps its letters legible at any width.

The outer SVG is as wide as its place and positions letters in per cent and pixels; the curves lie
in an inner SVG that stretches to it (strokes do not). Colours and dashes are classes of the page's
style sheet: `pv`, `battery`, ... for what is shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np

from hil.report_series import Floats, extremes, mean_of_bins, near_any, runs
from hil.report_ticks import TimeTick, ValueScale, time_ticks

WIDTH = 1500.0  # of the inner SVG, in its own units
LONGEST_DAY_S = 90_000.0
MANY_MARKS = 12
LAST_FRAC = 0.97  # a tick further right has no room to its right
MARK_APART_SHARE = 0.002  # marks closer to each other than this look like one
MARK_GAP_SHARE = 0.022  # a fault's number needs so much of the width


@dataclass(frozen=True, slots=True)
class Key:
    """One entry of a legend; `reading` names the values that the pointer reads out."""

    shape: str  # line, area, span
    style: str
    label: str
    reading: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that every chart shows."""

    utc_s: float
    number: int
    text: str


@dataclass(frozen=True)
class TimeAxis:
    """What all charts of a page share: the points' times, the span, its ticks and marks."""

    times: Floats
    end_s: float
    zone: ZoneInfo
    marks: Sequence[Mark] = ()
    ticks: tuple[TimeTick, ...] = field(init=False)

    def __post_init__(self) -> None:
        ticks = tuple(time_ticks(self.start_s, self.end_s, self.zone))
        object.__setattr__(self, "ticks", ticks)

    @property
    def start_s(self) -> float:
        """UTC of the left edge."""
        return float(self.times[0])

    @property
    def dated(self) -> bool:
        """Whether times need their date; a day with a clock change does not."""
        return self.end_s - self.start_s > LONGEST_DAY_S

    def share(self, utc_s: float) -> float:
        """Where a moment lies: 0 at the left edge, 1 at the right one."""
        return (utc_s - self.start_s) / (self.end_s - self.start_s)

    def x(self, times: Floats) -> Floats:
        """Times in units of the inner SVG."""
        return (times - self.start_s) / (self.end_s - self.start_s) * WIDTH


class Chart:
    """Layers over one time axis and one value axis, drawn in the order in which they are added."""

    def __init__(
        self, name: str, axis: TimeAxis, scale: ValueScale, unit: str, height: int = 190
    ) -> None:
        self.name, self.axis, self.scale, self.unit = name, axis, scale, unit
        self.height = height
        self.keys: list[Key] = []
        self.readings: dict[str, Floats] = {}  # means on the points of the axis
        self._spans: list[str] = []
        self._curves: list[str] = []

    def line(
        self, values: Floats, style: str, label: str = "", times: Floats | None = None
    ) -> Self:
        """A curve; without a label it is not in the legend."""
        at, shown = extremes(self.axis.times if times is None else times, values)
        path = polyline(self.axis.x(at), self._y(shown))
        return self._add(f'<path class="line {style}" d="{path}"/>', "line", style, label, values)

    def steps(
        self, values: Floats, style: str, label: str = "", times: Floats | None = None
    ) -> Self:
        """A curve that keeps each value until the next point."""
        if times is None:
            at, shown = mean_of_bins(self.axis.times), mean_of_bins(values)
        else:
            at, shown = times, values
        path = staircase(self.axis.x(at), self._y(shown), WIDTH)
        return self._add(f'<path class="line {style}" d="{path}"/>', "line", style, label, values)

    def band(self, low: Floats, high: Floats, style: str, label: str = "") -> Self:
        """The area between two curves."""
        at = self.axis.x(mean_of_bins(self.axis.times))
        path = ribbon(at, self._y(mean_of_bins(low)), self._y(mean_of_bins(high)))
        return self._add(f'<path class="area {style}" d="{path}"/>', "area", style, label, None)

    def stack(self, layers: Sequence[tuple[Floats, str, str]]) -> Self:
        """Areas on each other: positive values upwards from 0, negative ones downwards."""
        at = self.axis.x(mean_of_bins(self.axis.times))
        base = {1.0: np.zeros(len(at)), -1.0: np.zeros(len(at))}
        for values, style, label in layers:
            means = np.nan_to_num(mean_of_bins(values))
            path = ""
            for sign, below in base.items():
                part = sign * np.maximum(sign * means, 0.0)
                above = below + part
                shown = np.where(near_any(part != 0.0), above, np.nan)
                path += ribbon(at, self._y(below), self._y(shown))
                base[sign] = above
            self._add(f'<path class="area {style}" d="{path}"/>', "area", style, label, values)
        return self

    def shade(self, spans: Sequence[tuple[float, float]], style: str, label: str = "") -> Self:
        """Times as stripes of the full height; the legend has them only when there are any."""
        for first, last in spans:
            left, right = self._percent(first), self._percent(last)
            self._spans.append(
                f'<rect class="span {style}" x="{left:.3f}%" y="0" width="{right - left:.3f}%"'
                f' height="{self.height}"/>'
            )
        return self._add("", "span", style, label if spans else "", None)

    def svg(self, title: str, description: str) -> str:
        """The chart; title and description are for those who cannot see it."""
        height = self.height
        return (
            f'<svg class="plot" width="100%" height="{height}" role="img"'
            f' aria-labelledby="{self.name}-t {self.name}-d">'
            f'<title id="{self.name}-t">{escape(title)}</title>'
            f'<desc id="{self.name}-d">{escape(description)}</desc>'
            f"{''.join(self._spans)}{self._value_grid()}{time_grid(self.axis, height)}"
            f'<svg class="curves" width="100%" height="{height}"'
            f' viewBox="0 0 {WIDTH:g} {height}" preserveAspectRatio="none">'
            f"{''.join(self._curves)}</svg>{marks(self.axis, height)}</svg>"
        )

    def _add(self, drawing: str, shape: str, style: str, label: str, values: Floats | None) -> Self:
        self._curves.append(drawing)
        if label:
            reading = ""
            if values is not None and len(values) == len(self.axis.times):
                reading = f"{self.name}.{len(self.readings)}"
                self.readings[reading] = mean_of_bins(values)
            self.keys.append(Key(shape, style, label, reading))
        return self

    def _y(self, values: Floats) -> Floats:
        share = (values - self.scale.low) / (self.scale.high - self.scale.low)
        return (1.0 - share) * self.height

    def _percent(self, utc_s: float) -> float:
        return 100.0 * min(max(self.axis.share(utc_s), 0.0), 1.0)

    def _value_grid(self) -> str:
        parts = []
        for value in self.scale.ticks():
            y = (1.0 - self.scale.share(value)) * self.height
            text = self.scale.label(value)
            style = "zero" if text.strip("0.") == "" else "grid"
            parts.append(
                f'<line class="{style}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="value" x="-8" y="{y + 4:.1f}">{text}</text>'
            )
        return "".join(parts)


def time_grid(axis: TimeAxis, height: int) -> str:
    """The ticks of the time axis below `height` pixels; those of class `minor` may be hidden."""
    parts = []
    for tick in axis.ticks:
        share = axis.share(tick.utc_s)
        x = f"{100.0 * share:.3f}%"
        style = ("time" if tick.major else "time minor") + (" last" if share > LAST_FRAC else "")
        parts.append(
            f'<line class="tick" x1="{x}" x2="{x}" y1="0" y2="{height + 4}"/>'
            f'<text class="{style}" x="{x}" y="{height + 17}">{tick.text}</text>'
        )
        if tick.date:
            parts.append(f'<text class="{style} date" x="{x}" y="{height + 31}">{tick.date}</text>')
    return "".join(parts)


def marks(axis: TimeAxis, height: int) -> str:
    """The axis' marks, in the order of time, as dashed lines, numbered where there is room."""
    parts = []
    style = "mark many" if len(axis.marks) > MANY_MARKS else "mark"
    drawn = labelled = -1.0
    for mark in axis.marks:
        share = axis.share(mark.utc_s)
        if not 0.0 <= share <= 1.0 or share - drawn < MARK_APART_SHARE:
            continue
        drawn = share
        x = f"{100.0 * share:.3f}%"
        parts.append(
            f'<g class="{style}"><title>{escape(mark.text)}</title>'
            f'<line x1="{x}" x2="{x}" y1="0" y2="{height}"/>'
        )
        if share - labelled >= MARK_GAP_SHARE:
            labelled = share
            parts.append(
                f'<circle cx="{x}" cy="-7" r="7"/><text x="{x}" y="-3.5">{mark.number}</text>'
            )
        parts.append("</g>")
    return "".join(parts)


def polyline(x: Floats, y: Floats) -> str:
    """Path through the points, broken at gaps; points on a level stretch are left out."""
    parts = []
    for first, last in runs(np.isfinite(y)):
        if last - first == 1:  # a lone point: a stroke of no length, round
            parts.append(f"M{x[first]:.1f} {y[first]:.1f}h0")
            continue
        rounded = np.round(y[first:last], 1)
        level = (rounded[1:-1] == rounded[:-2]) & (rounded[1:-1] == rounded[2:])
        keep = np.concatenate([[True], ~level, [True]])
        parts.append(f"M{_points(x[first:last][keep], rounded[keep])}")
    return "".join(parts)


def staircase(x: Floats, y: Floats, end_x: float) -> str:
    """Path that keeps each y until the next x, the last until `end_x`; broken at gaps."""
    parts = []
    ends = np.append(x, end_x)
    for first, last in runs(np.isfinite(y)):
        rounded = np.round(y[first:last], 1)
        changes = np.flatnonzero(np.diff(rounded)) + 1
        parts.append(f"M{x[first]:.1f} {rounded[0]:g}")
        parts += [f"H{x[first + at]:.1f}V{rounded[at]:g}" for at in changes]
        parts.append(f"H{ends[last]:.1f}")
    return "".join(parts)


def ribbon(x: Floats, low: Floats, high: Floats) -> str:
    """Closed path between two curves, one per stretch in which both are known."""
    parts = []
    for first, last in runs(np.isfinite(low) & np.isfinite(high)):
        there = _points(x[first:last], np.round(high[first:last], 1))
        back = _points(x[first:last][::-1], np.round(low[first:last][::-1], 1))
        parts.append(f"M{there}L{back}Z")
    return "".join(parts)


def _points(x: Floats, y: Floats) -> str:
    return " ".join(f"{a:g} {b:g}" for a, b in zip(np.round(x, 1), y, strict=True))
