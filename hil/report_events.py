"""Modes, events and faults of a run: a strip along the time axis, and tables."""

from collections import Counter
from collections.abc import Sequence
from html import escape

from control.state import Mode
from hil.charts import Mark, TimeAxis, marks, time_grid
from hil.report_tables import table
from hil.report_words import clock, duration
from hil.result import Happening, Result

MODES = tuple(mode.value for mode in Mode)
SEVERITIES = ("fault", "alarm", "warning", "info")
MOST_ROWS = 400
NAMED_FRAC = 0.09  # a stretch of the strip this wide holds its mode's name
ROW_PX = 20


def fault_marks(result: Result) -> list[Mark]:
    """What the scenario did, numbered in the order of time."""
    faults = [item for item in result.happenings if item.severity == "fault"]
    return [
        Mark(item.utc_s, number, f"{number}: {item.text}")
        for number, item in enumerate(sorted(faults, key=lambda item: item.utc_s), 1)
    ]


def strip(result: Result, axis: TimeAxis) -> str:
    """Modes as coloured stretches, alarms, warnings and notes as ticks below."""
    rows = [name for name in SEVERITIES[1:] if any(h.severity == name for h in result.happenings)]
    height = ROW_PX + 8 + ROW_PX * len(rows)
    parts = [_stretch(axis, *stretch) for stretch in _stretches(result, axis)]
    for index, name in enumerate(rows):
        y = ROW_PX + 8 + ROW_PX * index
        parts.append(f'<text class="value" x="-8" y="{y + 14}">{name}</text>')
        parts += _ticks(axis, [item for item in result.happenings if item.severity == name], y)
    used = sorted({mode for _, _, mode, _ in _stretches(result, axis)}, key=_mode_order)
    keys = "".join(f'<li><span class="dot mode-{_mode(m)}"></span>{escape(m)}</li>' for m in used)
    said = ", ".join(f"{mode} for {text}" for mode, text in _mode_times(result, axis))
    return (
        f'<figure id="modes"><figcaption><h3>Modes and events</h3><ul class="keys">{keys}</ul>'
        f'</figcaption><div class="frame"><svg class="plot" width="100%" height="{height}"'
        f' role="img" aria-labelledby="modes-t modes-d">'
        f'<title id="modes-t">Modes and events</title>'
        f'<desc id="modes-d">{escape(said or "No mode is known")}.</desc>{time_grid(axis, height)}'
        f"{''.join(parts)}{marks(axis, height)}</svg></div></figure>"
    )


def mode_table(result: Result, axis: TimeAxis) -> str:
    """Each mode, when, for how long, why."""
    stretches = _stretches(result, axis)
    rows = [
        (
            clock(first, axis.zone, dated=axis.dated),
            f'<span class="dot mode-{_mode(mode)}"></span>{escape(mode)}',
            duration(last - first),
            escape(reason),
        )
        for first, last, mode, reason in stretches[:MOST_ROWS]
    ]
    return f"{table(('From', 'Mode', 'For', 'Reason'), rows, 'events')}{_left(len(stretches))}"


def event_table(result: Result, axis: TimeAxis) -> str:
    """Events and faults in the order of time; of very many, the most severe."""
    if not result.happenings:
        return '<p class="note">Nothing happened.</p>'
    by_weight = sorted(result.happenings, key=lambda item: _weight(item.severity))
    chosen = sorted(by_weight[:MOST_ROWS], key=lambda item: item.utc_s)
    count = Counter(item.severity for item in result.happenings)
    total = ", ".join(_counted(count[name], name) for name in sorted(count, key=_weight))
    rows = []
    faults = 0
    for item in chosen:
        faults += item.severity == "fault"
        name = f"fault {faults}" if item.severity == "fault" else item.severity
        rows.append(
            (
                clock(item.utc_s, axis.zone, dated=axis.dated),
                f'<span class="badge {_severity(item.severity)}">{escape(name)}</span>',
                escape(item.key),
                escape(item.text),
            )
        )
    head = ("Time", "Severity", "About", "Text")
    note = f'<p class="note">{escape(total)}.</p>'
    return f"{note}{table(head, rows, 'events')}{_left(len(result.happenings))}"


def _stretches(result: Result, axis: TimeAxis) -> list[tuple[float, float, str, str]]:
    """First, last, mode, reason, within the axis."""
    changes = sorted(result.modes, key=lambda item: item[0])
    ends = [*(since for since, _, _ in changes), axis.end_s][1:]
    found = [
        (max(since, axis.start_s), min(end, axis.end_s), mode, reason)
        for (since, mode, reason), end in zip(changes, ends, strict=True)
    ]
    return [item for item in found if item[1] > item[0]]


def _stretch(axis: TimeAxis, first: float, last: float, mode: str, reason: str) -> str:
    left, width = 100.0 * axis.share(first), 100.0 * (axis.share(last) - axis.share(first))
    name = ""
    if width >= 100.0 * NAMED_FRAC:
        x = left + width / 2.0
        name = f'<text class="mode-name" x="{x:.3f}%" y="14">{escape(mode)}</text>'
    told = escape(f"{mode}: {reason}" if reason else mode)
    return (
        f'<g><title>{told}</title><rect class="mode-{_mode(mode)}" x="{left:.3f}%" y="0"'
        f' width="{max(width, 0.1):.3f}%" height="{ROW_PX}"/>{name}</g>'
    )


def _ticks(axis: TimeAxis, items: Sequence[Happening], y: int) -> list[str]:
    """One tick per place, however many happenings share it."""
    places: dict[float, list[str]] = {}
    for item in items:
        share = axis.share(item.utc_s)
        if 0.0 <= share <= 1.0:
            places.setdefault(round(100.0 * share, 1), []).append(item.text)
    return [
        f'<line class="event {_severity(items[0].severity)}" x1="{x}%" x2="{x}%" y1="{y + 3}"'
        f' y2="{y + ROW_PX - 3}"><title>{escape(_several(texts))}</title></line>'
        for x, texts in places.items()
    ]


def _several(texts: Sequence[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} (and {len(texts) - 1} more)"


def _mode_times(result: Result, axis: TimeAxis) -> list[tuple[str, str]]:
    total: Counter[str] = Counter()
    for first, last, mode, _ in _stretches(result, axis):
        total[mode] += round(last - first)
    return [(mode, duration(float(total[mode]))) for mode in sorted(total, key=_mode_order)]


def _counted(count: int, severity: str) -> str:
    return f"{count} {severity}{'' if count == 1 or severity == 'info' else 's'}"


def _left(count: int) -> str:
    if count <= MOST_ROWS:
        return ""
    return f'<p class="note">{count - MOST_ROWS} more are in the recording.</p>'


def _mode(mode: str) -> str:
    return mode if mode in MODES else "other"


def _severity(severity: str) -> str:
    return severity if severity in SEVERITIES else "info"


def _mode_order(mode: str) -> int:
    return MODES.index(mode) if mode in MODES else len(MODES)


def _weight(severity: str) -> int:
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)
