"""The month in one picture: what has been saved so far, and a week of it.

An SVG without matplotlib, in the colours of the bench's report.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from bench.month_sites import CURRENCY, ZONE, Place
from hil.charts import polyline, ribbon
from hil.report_ticks import ValueScale, time_ticks

Floats = NDArray[np.float64]
WIDTH, LEFT, RIGHT = 900.0, 56.0, 120.0
HEIGHTS = (190.0, 150.0, 120.0)
GAP, TOP = 62.0, 34.0
WEEK_SLOTS = 7 * 96
COLOURS = {
    "pv": "#e69f00",
    "battery": "#009e73",
    "generator": "#b5470a",
    "grid": "#0072b2",
    "load": "#1b1d1f",
    "foresight": "#a1478a",
    "rules": "#85898d",
}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#5d6266}.title{fill:#1b1d1f;font-weight:600}"
    ".line{fill:none;stroke-width:1.6;stroke-linejoin:round}.rule{stroke:#dcdcd4}"
)
Columns = Mapping[str, Sequence[float]]


def draw(place: Place, loop: Columns, plain: Mapping[str, Columns], path: Path) -> None:
    """Write the picture: what is saved against the rules, a week's powers and charge."""
    times = np.array(loop["utc_s"])
    week = slice(0, min(WEEK_SLOTS, len(times)))
    ours = {name: np.array(loop[f"nanogrid.{name}"])[week] for name in _powers(place)}
    rules = np.array(plain["rules"]["cost"])
    panels = [
        _Panel(
            f"{place.name}: saved against the rules so far, {CURRENCY}",
            times,
            {
                "foresight": np.array(plain["rules"]["cost"])
                - np.array(plain["foresight"]["cost"]),
                "battery": rules - np.array(loop["nanogrid.cost"]),
            },
            {"foresight": "with foresight", "battery": "nanogrid"},
        ),
        _Panel("its first week, kW", times[week], _shown(ours), {k: k for k in _shown(ours)}),
        _Panel(
            "state of charge, %",
            times[week],
            {
                "rules": 100.0 * np.array(plain["rules"]["soc_frac"])[week],
                "battery": 100.0 * np.array(loop["nanogrid.soc_frac"])[week],
            },
            {"rules": "rules", "battery": "nanogrid"},
        ),
    ]
    path.write_text(_svg(panels), encoding="utf-8")


def _powers(place: Place) -> tuple[str, ...]:
    source = "generator_kw" if place.has_generator else "grid_kw"
    return ("pv_kw", source, "battery_kw", "load_kw")


def _shown(columns: Mapping[str, Floats]) -> dict[str, Floats]:
    return {name.removesuffix("_kw"): values for name, values in columns.items()}


class _Panel:
    """Curves over one time axis."""

    def __init__(
        self, title: str, times: Floats, curves: Mapping[str, Floats], names: Mapping[str, str]
    ) -> None:
        self.title, self.times, self.curves, self.names = title, times, curves, names
        self.scale = ValueScale.of(np.concatenate([*curves.values(), [0.0]]).tolist())

    def svg(self, top: float, height: float) -> str:
        """The panel, its axes and its legend."""
        drawn = [f'<text class="title" x="{LEFT:g}" y="{top - 12:g}">{self.title}</text>']
        for value in self.scale.ticks():
            y = top + height * (1.0 - self.scale.share(value))
            drawn.append(
                f'<path class="rule" d="M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}"/>'
                f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">'
                f"{self.scale.label(value)}</text>"
            )
        drawn += self._time_axis(top + height)
        for number, (name, values) in enumerate(self.curves.items()):
            levels = top + height * (1.0 - self._share(values))
            zero = top + height * (1.0 - self.scale.share(0.0))
            drawn.append(self._path(name, levels, zero))
            drawn.append(
                f'<text x="{WIDTH - RIGHT + 10:g}" y="{top + 14 + 18 * number:g}"'
                f' style="fill:{COLOURS[name]}">{self.names[name]}</text>'
            )
        return "".join(drawn)

    def _share(self, values: Floats) -> Floats:
        return (values - self.scale.low) / (self.scale.high - self.scale.low)

    def _x(self, times: Floats) -> Floats:
        span = self.times[-1] - self.times[0]
        return np.asarray(LEFT + (WIDTH - LEFT - RIGHT) * (times - self.times[0]) / span)

    def _path(self, name: str, y: Floats, zero: float) -> str:
        colour = COLOURS[name]
        if name == "pv":
            area = ribbon(self._x(self.times), np.full(len(y), zero), y)
            return f'<path d="{area}" style="fill:{colour};opacity:.5"/>'
        return f'<path class="line" d="{polyline(self._x(self.times), y)}" stroke="{colour}"/>'

    def _time_axis(self, y: float) -> list[str]:
        zone = ZoneInfo(ZONE)
        ticks = time_ticks(float(self.times[0]), float(self.times[-1]), zone, count=11)
        return [
            f'<text x="{self._x(np.array([tick.utc_s]))[0]:.1f}" y="{y + 18:.1f}"'
            f' text-anchor="middle">{_day(tick.utc_s, zone)}</text>'
            for tick in ticks
        ]


def _day(utc_s: float, zone: ZoneInfo) -> str:
    moment = datetime.fromtimestamp(utc_s, UTC).astimezone(zone)
    return f"{moment.day} {moment:%b}"


def _svg(panels: Sequence[_Panel]) -> str:
    drawn, top = [], TOP
    for panel, height in zip(panels, HEIGHTS, strict=True):
        drawn.append(panel.svg(top, height))
        top += height + GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {top - GAP + 30:g}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fcfcfa"/>'
        f"{''.join(drawn)}</svg>\n"
    )
