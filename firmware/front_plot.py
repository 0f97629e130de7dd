"""The front of a day's possible plans as an SVG picture, drawn without a library."""

import math
from collections.abc import Sequence

from control.planning_pareto import Point

WIDTH, HEIGHT, MARGIN = 430, 330, 64  # of one panel, in px
PANELS = (("pollution", 2), ("equipment", 1))  # against the cost
TICKS = 5
INK, GRID, DOT = "#333", "#ddd", "#1f6f8b"
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


def front_svg(points: Sequence[Point]) -> str:
    """Two panels: pollution over cost and equipment over cost, one dot for each plan."""
    costs = [point.objectives[0] for point in points]
    parts = [
        _panel(n * WIDTH, name, costs, [point.objectives[k] for point in points])
        for n, (name, k) in enumerate(PANELS)
    ]
    width = WIDTH * len(PANELS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" '
        f'width="{width}" height="{HEIGHT}" font-family="sans-serif" font-size="11" fill="{INK}">\n'
        f'<rect width="{width}" height="{HEIGHT}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(left: float, name: str, costs: Sequence[float], others: Sequence[float]) -> str:
    """Axes, grid and dots of one panel."""
    across, up = _ticks(costs), _ticks(others)

    def x(value: float) -> float:
        return left + MARGIN + _frac(value, across) * (WIDTH - 1.4 * MARGIN)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - _frac(value, up) * (HEIGHT - 1.6 * MARGIN)

    low, high = x(across[0]), x(across[-1])
    bottom, top = y(up[0]), y(up[-1])
    lines = [f'<g stroke="{GRID}">']
    lines += [f'<path d="M{x(v):.1f} {bottom:.1f}V{top:.1f}"/>' for v in across]
    lines += [f'<path d="M{low:.1f} {y(v):.1f}H{high:.1f}"/>' for v in up]
    lines += ["</g>"]
    lines += [_text(x(v), bottom + 16, f"{v:g}", "middle") for v in across]
    lines += [_text(low - 6, y(v) + 4, f"{v:g}", "end") for v in up]
    lines += [_text((low + high) / 2, bottom + 36, "cost", "middle")]
    lines += [_text(low - 50, top - 12, name, "start")]
    dots = zip(costs, others, strict=True)
    lines += [f'<circle cx="{x(a):.1f}" cy="{y(b):.1f}" r="4" fill="{DOT}"/>' for a, b in dots]
    return "\n".join(lines)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _frac(value: float, ticks: Sequence[float]) -> float:
    return (value - ticks[0]) / (ticks[-1] - ticks[0])


def _ticks(values: Sequence[float]) -> list[float]:
    """Round numbers from below the least to above the greatest value."""
    low, high = min(values), max(values)
    raw = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-6) / TICKS
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(nice * power for nice in NICE if nice * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(n * step, 12) for n in range(first, max(last, first + 1) + 1)]
