"""The tables of a report as HTML."""

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from hil.report_figures import SOC_LIMITS
from hil.report_forecast import Score
from hil.report_words import CENT, UNKNOWN, against, duration, figure, number, small_percent
from hil.result import Result

COMPARED = (
    # title, unit, decimals, key, key of the rule-based controller
    ("Cost", None, 2, "cost", "cost_rule_based"),
    ("Load unserved", "kWh", 2, "unserved_kwh", "unserved_rule_based_kwh"),
    ("Fuel", "l", 2, "fuel_l", "fuel_rule_based_l"),
    ("Generator starts", "", 0, "generator_starts", "generator_starts_rule_based"),
)
TOLD = {  # keys that the page shows elsewhere
    *(key for row in COMPARED for key in row[3:]),
    *("title", "currency", "violations", "cost_parts", "cost_parts_rule_based", "energy_kwh"),
    *("cycles", "cycles_missed", "limit_violations", "energy_balance_error_frac"),
    *SOC_LIMITS,
    *("curtailed_kwh", "sim_s", "wall_s", "recording", "units"),
}
SOURCES = (
    ("pv", "PV", "pv"),
    ("wind", "Wind", "wind"),
    ("generator", "Generator", "generator"),
    ("grid_import", "Grid import", "grid-power"),
    ("battery_discharge", "Battery discharge", "battery"),
)
SINKS = (
    ("served", "Load served", "load"),
    ("battery_charge", "Battery charging", "battery"),
    ("grid_export", "Grid export", "grid-power"),
    ("dumped", "Dump load", "wind"),
    ("generator_reverse", "Into the generator", "generator"),
)
BESIDE = (
    ("load", "Load wanted"),
    ("unserved", "Load unserved"),
    ("curtailed", "PV and wind curtailed"),
    ("battery_loss", "Lost in the battery"),
    ("import_excess", "Import beyond the limit"),
    ("export_excess", "Export beyond the limit"),
)
SCORED = (
    "Compared are means over forecast steps, of PV by day only. Of a calibrated band,"
    " 80\N{NO-BREAK SPACE}% of the truth lies inside. Persistence: the last step before the"
    " forecast goes on; better by 0\N{NO-BREAK SPACE}% is as good, by 100\N{NO-BREAK SPACE}%"
    " perfect."
)
FAST = 1.5  # a run that was faster than real time
BALANCED_FRAC = 1e-3
LATENESS = (("p50", "p50"), ("p99", "p99"), ("p999", "p99.9"), ("max", "longest"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], style: str = "") -> str:
    """A table of texts that are HTML already; the first cell of a row is its heading."""
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    header = f"<thead><tr>{titles}</tr></thead>" if head else ""
    return f'<div class="scroll"><table class="{style}">{header}<tbody>{body}</tbody></table></div>'


def comparison(result: Result) -> str:
    """This controller beside the rule-based one."""
    rows = []
    for title, unit, decimals, key, other_key in COMPARED:
        unit = result.currency if unit is None else unit
        ours, rules = number(result.summary, key), number(result.summary, other_key)
        if ours is None and rules is None:
            continue
        name = f'{title} <span class="unit">{escape(unit)}</span>' if unit else title
        rows.append(_compared(name, ours, rules, decimals))
    if not rows:
        return ""
    return table(("", "This controller", "Rule-based", "Difference", ""), rows, "figures")


def figures(result: Result) -> str:
    """What concerns this controller alone."""
    summary = result.summary
    cycles, missed = number(summary, "cycles"), number(summary, "cycles_missed")
    sim_s, wall_s = number(summary, "sim_s"), number(summary, "wall_s")
    speed = ""
    if sim_s and wall_s and sim_s > FAST * wall_s:
        speed = f" ({figure(sim_s / wall_s, decimals=0)} times real time)"
    rows = [
        ("Cycles", f"{figure(cycles, decimals=0)}, {figure(missed, decimals=0)} missed"),
        ("Limit violations", figure(number(summary, "limit_violations"), decimals=0)),
        ("Energy balance open by", small_percent(number(summary, "energy_balance_error_frac"))),
        ("PV and wind curtailed", figure(number(summary, "curtailed_kwh"), "kWh")),
        ("Time simulated", duration(sim_s)),
        ("Time it took", f"{duration(wall_s)}{speed}"),
        ("Recording", f"<code>{escape(str(summary.get('recording', UNKNOWN)))}</code>"),
    ]
    rows += [
        (f"<code>{escape(str(key))}</code>", escape(_plain(value)))
        for key, value in summary.items()
        if key not in TOLD
    ]
    return table((), rows, "figures")


def cost_parts(result: Result) -> str:
    """What the money went to, under both controllers."""
    if not result.cost_parts:
        return _nothing("No parts of the cost are known.")
    rows = [
        _compared(escape(_title(name)), ours, rules)
        for name, (ours, rules) in result.cost_parts.items()
        if abs(ours) >= CENT or abs(rules) >= CENT
    ]
    summary = result.summary
    total = number(summary, "cost"), number(summary, "cost_rule_based")
    rows.append(_compared("Total", *total))
    currency = escape(result.currency)
    head = (currency, "This controller", "Rule-based", "Difference", "")
    return table(head, rows, "figures total")


def energy(result: Result) -> str:
    """Where energy came from and where it went, as bars and in figures."""
    books = result.summary.get("energy_kwh")
    if not isinstance(books, Mapping) or not books:
        return _nothing("No energy books are known.")
    came = [(name, number(books, key) or 0.0, style) for key, name, style in SOURCES]
    went = [(name, number(books, key) or 0.0, style) for key, name, style in SINKS]
    bars = f"{_bar('Came from', came)}{_bar('Went to', went)}"
    error = number(result.summary, "energy_balance_error_frac")
    closed = error is not None and error <= BALANCED_FRAC
    verdict = "closed" if closed else "<strong>not closed</strong>"
    note = f'<p class="note">The books are {verdict}: open by {small_percent(error)}.</p>'
    rows = [
        (escape(name), figure(number(books, key), "kWh"))
        for key, name in BESIDE
        if (number(books, key) or 0.0) >= CENT or key == "load"
    ]
    return f"{bars}{note}{table((), rows, 'figures')}"


def violations(result: Result) -> str:
    """How often each limit was violated."""
    if not result.violations:
        return _nothing("The site has no limits to watch.")
    rows = [
        (escape(_title(limit)), f"<strong>{count}</strong>" if count else "0")
        for limit, count in result.violations.items()
    ]
    return table(("Limit", "Violations"), rows, "figures")


def scores(pairs: Sequence[tuple[str, Sequence[Score]]]) -> str:
    """How good the forecasts were."""
    rows = [
        (
            escape(f"{title}, {item.name}"),
            figure(100.0 * item.inside_frac, "%", 0),
            figure(item.rmse_kw),
            UNKNOWN if item.skill_frac is None else figure(100.0 * item.skill_frac, "%", 0),
            figure(item.bias_kw, signed=True),
            str(item.steps),
            escape(item.source) or UNKNOWN,
        )
        for title, found in pairs
        for item in found
    ]
    if not rows:
        return _nothing("No forecast was made.")
    told = ("Inside p10 to p90", "RMSE of p50, kW", "Better than persistence")
    head = ("Forecast", *told, "Bias, kW", "Steps", "Source")
    return f'<p class="note">{SCORED}</p>{table(head, rows, "figures worded")}'


def timing(result: Result) -> str:
    """How late cycles were, and how long their stages took."""
    late = [("Late by", *_times(result.lateness_ms))] if result.lateness_ms else []
    rows = [*late, *((escape(_title(name)), *_times(t)) for name, t in result.stages_ms.items())]
    note = "" if late else _nothing("Virtual time: lateness does not apply.")
    if not rows:
        return note
    head = ("Milliseconds", "Count", *(title for _, title in LATENESS))
    return f"{note}{table(head, rows, 'figures')}"


def _compared(
    title: str, ours: float | None, rules: float | None, decimals: int = 2
) -> tuple[str, ...]:
    difference = None if ours is None or rules is None else ours - rules
    return (
        title,
        figure(ours, decimals=decimals),
        figure(rules, decimals=decimals),
        figure(difference, decimals=decimals, signed=True),
        against(ours, rules),
    )


def _bar(title: str, parts: Sequence[tuple[str, float, str]]) -> str:
    total = sum(kwh for _, kwh, _ in parts)
    shown = [(name, kwh, style) for name, kwh, style in parts if kwh >= CENT]
    pieces = "".join(
        f'<span class="piece {style}" style="flex-grow:{kwh:.4f}"></span>'
        for _, kwh, style in shown
    )
    entries = "".join(
        f'<li><span class="dot {style}"></span>{escape(name)} <b>{figure(kwh, "kWh")}</b>'
        f" {figure(100.0 * kwh / total, '%', 0)}</li>"
        for name, kwh, style in shown
    )
    return (
        f'<div class="bar"><p>{title} <b>{figure(total, "kWh")}</b></p>'
        f'<div class="pieces" aria-hidden="true">{pieces}</div>'
        f'<ul class="keys">{entries}</ul></div>'
    )


def _times(histogram: Mapping[str, float]) -> list[str]:
    count = figure(number(histogram, "count"), decimals=0)
    return [count, *(figure(number(histogram, key), decimals=3) for key, _ in LATENESS)]


def _title(name: str) -> str:
    words = name.replace("_", " ")
    return f"{words[:1].upper()}{words[1:]}"


def _plain(value: object) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def _nothing(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
