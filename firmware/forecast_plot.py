"""One forecast as a picture: the band, its middle, and what came, in SVG by hand."""

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np

from models.forecaster import Forecasts
from models.history import DAY_S, Floats, History

WIDTH, HEIGHT = 900, 300
LEFT, TOP, RIGHT, BOTTOM = 60, 34, 16, 40
BACK_S = DAY_S  # of measurements before the origin
MOST = 6  # origins in one picture
STYLE = (
    "text{font:13px sans-serif;fill:#333}.band{fill:#9ecae1;opacity:.7}.p50{stroke:#08519c}"
    ".truth{stroke:#d94801}path.p50,path.truth{fill:none;stroke-width:1.8}line{stroke:#bbb}"
)


def draw(history: History, origins_utc_s: Sequence[int], made: Forecasts, title: str) -> str:
    """SVG of up to six of the forecasts, spread over the origins, one below the other."""
    rows = np.unique(np.linspace(0, len(origins_utc_s) - 1, MOST).astype(int))
    parts = [_panel(history, made, int(row), n * HEIGHT) for n, row in enumerate(rows)]
    height = HEIGHT * len(rows) + 30
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}">',
            f"<title>{escape(title)}</title><style>{STYLE}</style>",
            '<rect width="100%" height="100%" fill="white"/>',
            *parts,
            f'<text x="{LEFT}" y="{height - 10}">{escape(title)}: p10..p90 shaded, p50 blue, '
            "measured red</text></svg>\n",
        ]
    )


def _panel(history: History, made: Forecasts, row: int, y: int) -> str:
    step_s, steps, start = made.step_s, made.p50.shape[1], int(made.start_utc_s[row])
    back = BACK_S // step_s
    truth = history.window(start - BACK_S, start + steps * step_s)
    most = max(float(np.nan_to_num(truth).max()), float(made.p90[row].max()), 1e-9)
    scale_x = (WIDTH - LEFT - RIGHT) / max(back + steps, 1)
    scale_y = (HEIGHT - TOP - BOTTOM) / most

    def points(values: Floats, first: int) -> list[str]:
        return [
            f"{LEFT + (first + n + 0.5) * scale_x:.1f},{y + HEIGHT - BOTTOM - v * scale_y:.1f}"
            for n, v in enumerate(values)
            if np.isfinite(v)
        ]

    band = points(made.p90[row], back) + points(made.p10[row], back)[::-1]
    at = LEFT + back * scale_x
    floor = y + HEIGHT - BOTTOM
    moment = datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return "\n".join(
        [
            f'<polygon class="band" points="{" ".join(band)}"/>',
            f'<path class="truth" d="{_line(points(truth, 0))}"/>',
            f'<path class="p50" d="{_line(points(made.p50[row], back))}"/>',
            f'<line x1="{LEFT}" y1="{floor}" x2="{WIDTH - RIGHT}" y2="{floor}"/>',
            f'<line x1="{at:.1f}" y1="{y + TOP}" x2="{at:.1f}" y2="{floor}"/>',
            f'<text x="{at:.1f}" y="{floor + 18}" text-anchor="middle">{moment}</text>',
            f'<text x="{LEFT - 6}" y="{y + TOP + 4}" text-anchor="end">{most:.3g}</text>',
            f'<text x="{LEFT - 6}" y="{floor}" text-anchor="end">0</text>',
            f'<text x="{LEFT}" y="{y + 20}">{escape(made.sources[row])}</text>',
        ]
    )


def _line(points: list[str]) -> str:
    return "M" + "L".join(points) if points else "M0,0"
