"""The answer of the battery to load that is switched, as an SVG in the colours of the report."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil.charts import staircase
from hil.report_ticks import ValueScale

Floats = NDArray[np.float64]
WIDTH, HEIGHT = 900.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 110.0, 30.0, 40.0
COLOURS = {"load": "#1b1d1f", "battery": "#009e73", "grid": "#0072b2"}
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#5d6266}"
    "path{fill:none;stroke-width:1.6}.rule{stroke:#dcdcd4;stroke-width:1}"
)
TICK_S = 120


def draw(load_kw: Floats, battery_kw: Floats, grid_kw: Floats, path: Path) -> None:
    """Write the picture; one value per second each."""
    curves = {"load": load_kw, "battery": battery_kw, "grid": grid_kw}
    scale = ValueScale.of(np.concatenate([load_kw, battery_kw, grid_kw]).tolist())
    seconds = np.arange(len(load_kw), dtype=float)
    x = LEFT + (WIDTH - LEFT - RIGHT) * seconds / len(seconds)
    drawn = [_level(scale, value) for value in scale.ticks()]
    for second in range(0, len(seconds), TICK_S):
        drawn.append(
            f'<text x="{x[second]:.1f}" y="{HEIGHT - BOTTOM + 20:g}" text-anchor="middle">'
            f"{second} s</text>"
        )
    for number, (name, values) in enumerate(curves.items()):
        share = (values - scale.low) / (scale.high - scale.low)
        y = np.asarray(TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share))
        curve = staircase(x, y, WIDTH - RIGHT)
        colour = COLOURS[name]
        drawn.append(f'<path d="{curve}" stroke="{colour}"/>')
        drawn.append(
            f'<text x="{WIDTH - RIGHT + 10:g}" y="{TOP + 14 + 18 * number:g}"'
            f' style="fill:{colour}">{name}, kW</text>'
        )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {HEIGHT:g}">'
        f'<style>{STYLE}</style><rect width="100%" height="100%" fill="#fcfcfa"/>'
        f"{''.join(drawn)}</svg>\n",
        encoding="utf-8",
    )


def _level(scale: ValueScale, value: float) -> str:
    y = TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - scale.share(value))
    return (
        f'<path class="rule" d="M{LEFT:g} {y:.1f}H{WIDTH - RIGHT:g}"/>'
        f'<text x="{LEFT - 6:g}" y="{y + 4:.1f}" text-anchor="end">{scale.label(value)}</text>'
    )
