"""Bars side by side as inline SVG, for figures without a time axis; letters stay legible.

Positions along the width are per cent, heights are pixels; colours are classes of the page's style
sheet, as in `hil.charts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from hil.charts import Key
from hil.report_figures import legend_entry
from hil.report_series import Floats
from hil.report_ticks import ValueScale
from hil.report_words import figure

GAP_FRAC = 0.3  # of a group's width is empty
STRIP = "display:grid;grid-template-columns:7.5rem 1fr;align-items:center;margin:.15rem 0"
FRAME = "position:relative;padding:18px 12px 40px 54px"
MANY = 30  # bars; beyond, values are only read by pointing at them
ROW_HEIGHT = 44


@dataclass(frozen=True, slots=True)
class Bars:
    """Values of one name, one per group; NaN leaves a gap."""

    label: str
    style: str
    values: Floats


@dataclass(frozen=True, slots=True)
class BarFigure:
    """Groups of bars with what is written above and below them."""

    name: str
    title: str
    unit: str
    groups: Sequence[str]
    series: Sequence[Bars]
    note: str = ""
    decimals: int = 2
    height: int = 190

    def html(self) -> str:
        """Caption with legend, chart, note; empty without a finite value."""
        known = np.concatenate([bars.values[np.isfinite(bars.values)] for bars in self.series])
        if not known.size:
            return ""
        scale = ValueScale.of([float(known.min()), float(known.max()), 0.0])
        return _figure(self, self._svg(scale))

    def _svg(self, scale: ValueScale) -> str:
        parts = [_grid(scale, self.height)]
        width = 100.0 / len(self.groups)
        bar = width * (1.0 - GAP_FRAC) / len(self.series)
        labelled = len(self.groups) * len(self.series) <= MANY
        for index, group in enumerate(self.groups):
            left = index * width + width * GAP_FRAC / 2
            for place, bars in enumerate(self.series):
                value = float(bars.values[index])
                if np.isfinite(value):
                    said = f"{group}, {bars.label}: {figure(value, self.unit, self.decimals)}"
                    at = (left + place * bar, bar)
                    text = figure(value, "", self.decimals) if labelled else ""
                    parts.append(_bar(scale, self.height, at, value, bars.style, said, text))
            at_x, at_y = f"{index * width + width / 2:.2f}%", self.height + 18
            parts.append(f'<text class="time" x="{at_x}" y="{at_y}">{escape(group)}</text>')
        return _svg(self.title, self.height, "".join(parts))


@dataclass(frozen=True, slots=True)
class Rows:
    """A strip of bars per group, all to one scale: what each house did day by day."""

    name: str
    title: str
    unit: str
    groups: Sequence[str]
    columns: Sequence[str]
    values: Floats  # (groups, columns); > 0 in the first style, < 0 in the second
    styles: tuple[str, str]
    labels: tuple[str, str]
    note: str = ""

    def html(self) -> str:
        """Caption with legend, one strip per group, note."""
        most = float(np.nanmax(np.abs(self.values), initial=0.0)) or 1.0
        scale = ValueScale(-most, most, most)
        strips = "".join(self._strip(scale, index) for index in range(len(self.groups)))
        keys = [
            Key("area", style, label) for style, label in zip(self.styles, self.labels, strict=True)
        ]
        return _wrapped(self.name, self.title, self.unit, keys, strips, self.note)

    def _strip(self, scale: ValueScale, index: int) -> str:
        width = 100.0 / len(self.columns)
        parts = [
            f'<line class="zero" x1="0" x2="100%" y1="{ROW_HEIGHT / 2}" y2="{ROW_HEIGHT / 2}"/>'
        ]
        for place, column in enumerate(self.columns):
            value = float(self.values[index, place])
            style = self.styles[value < 0]
            said = f"{self.groups[index]}, {column}: {figure(value, self.unit)}"
            at = (place * width + 0.1 * width, 0.8 * width)
            parts.append(_bar(scale, ROW_HEIGHT, at, value, style, said, ""))
        name = escape(self.groups[index])
        drawing = _svg(f"{self.title}: {self.groups[index]}", ROW_HEIGHT, "".join(parts))
        return f'<div style="{STRIP}"><span class="unit">{name}</span>{drawing}</div>'


def _figure(bars: BarFigure, drawing: str) -> str:
    keys = [Key("area", each.style, each.label) for each in bars.series]
    framed = f'<div style="{FRAME}">{drawing}</div>'
    return _wrapped(bars.name, bars.title, bars.unit, keys, framed, bars.note)


def _wrapped(name: str, title: str, unit: str, keys: Sequence[Key], drawing: str, note: str) -> str:
    entries = "".join(legend_entry(key) for key in keys) if len(keys) > 1 else ""
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<figure id="{name}"><figcaption><h3>{escape(title)}'
        f' <span class="unit">{escape(unit)}</span></h3><ul class="keys">{entries}</ul>'
        f"</figcaption>{drawing}{below}</figure>"
    )


def _svg(title: str, height: int, content: str) -> str:
    return (
        f'<svg class="plot" width="100%" height="{height}" role="img"'
        f' aria-label="{escape(title)}">{content}</svg>'
    )


def _grid(scale: ValueScale, height: int) -> str:
    parts = []
    for value in scale.ticks():
        y = (1.0 - scale.share(value)) * height
        style = "zero" if abs(value) < 1e-12 else "grid"
        parts.append(
            f'<line class="{style}" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="value" x="-8" y="{y + 4:.1f}">{scale.label(value)}</text>'
        )
    return "".join(parts)


def _bar(
    scale: ValueScale,
    height: int,
    at: tuple[float, float],
    value: float,
    style: str,
    said: str,
    text: str,
) -> str:
    """One bar from 0 to its value; `at` is left edge and width in per cent."""
    left, width = at
    zero, end = ((1.0 - scale.share(v)) * height for v in (0.0, value))
    top, tall = min(zero, end), abs(end - zero)
    middle, above = left + width / 2, top - 4 if value >= 0 else top + tall + 13
    label = f'<text class="time" x="{middle:.2f}%" y="{above:.1f}">{text}</text>' if text else ""
    return (
        f'<g><title>{escape(said)}</title><rect class="area {style}" x="{left:.2f}%"'
        f' y="{top:.1f}" width="{width:.2f}%" height="{tall:.1f}"/>{label}</g>'
    )
