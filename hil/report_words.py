"""Numbers, moments and the verdict of a run in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from hil.report_ticks import DAY_S, local
from hil.result import Result

LEAST_PERCENT = 0.001
CENT = 0.005  # what rounds to no money, and to no energy in kWh
DEARER_FRAC = 0.01  # so much dearer than the rules is not content
UNKNOWN = "\N{EN DASH}"


def number(figures: Mapping[str, object], key: str) -> float | None:
    """A figure that is a finite number, else None."""
    value = figures.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def figure(value: float | None, unit: str = "", decimals: int = 2, *, signed: bool = False) -> str:
    """A number with its unit: thousands apart, a real minus sign, never a negative zero."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value:+,.{decimals}f}" if signed else f"{value:,.{decimals}f}"
    if not text.strip("+-0.,"):
        text = text.lstrip("+-")
    text = text.replace(",", "\N{NARROW NO-BREAK SPACE}").replace("-", "\N{MINUS SIGN}")
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def small_percent(share: float | None) -> str:
    """A share near 0, to two significant digits."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    percent = 100.0 * share
    if abs(percent) < LEAST_PERCENT:
        return f"<\N{NO-BREAK SPACE}{figure(LEAST_PERCENT, '%', 3)}"
    decimals = max(0, 1 - math.floor(math.log10(abs(percent))))
    return figure(percent, "%", decimals)


def duration(seconds: float | None) -> str:
    """A time span as people say it."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 60.0:
        return figure(seconds, "s", 0 if seconds >= 10.0 or seconds == int(seconds) else 1)
    whole = round(seconds) if seconds < 3600.0 else round(seconds / 60.0) * 60
    days, rest = divmod(whole, DAY_S)
    parts = ((days, "d"), (rest // 3600, "h"), (rest % 3600 // 60, "min"), (rest % 60, "s"))
    return " ".join(f"{count}\N{NO-BREAK SPACE}{unit}" for count, unit in parts if count)


def clock(utc_s: float, zone: ZoneInfo, *, dated: bool) -> str:
    """Local time to the second, with the date where a run has several days."""
    moment = local(utc_s, zone)
    return f"{moment.day} {moment:%b %H:%M:%S}" if dated else f"{moment:%H:%M:%S}"


def span(start_s: float, end_s: float, zone: ZoneInfo) -> str:
    """From when to when, local time."""
    first, last = local(start_s, zone), local(end_s, zone)
    begin = f"{first:%A} {first.day} {first:%B %Y}, {first:%H:%M}"
    same = first.date() == last.date()
    end = f"{last:%H:%M}" if same else f"{last:%A} {last.day} {last:%B %Y}, {last:%H:%M}"
    return f"{begin} to {end} ({first:%Z})"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence, and whether an operator may be content."""

    text: str
    content: bool


def verdict(result: Result) -> Verdict:
    """The run in one sentence."""
    summary = result.summary
    judged = (_limits(summary), _unserved(summary), _cycles(summary))
    said = [text for text, _ in judged if text]
    rest = f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else "".join(said)
    text = "; ".join(part for part in (_cost(result), rest) if part)
    known = number(summary, "cost") is not None
    content = known and cheap(summary) is not False and all(content for _, content in judged)
    return Verdict(f"{text[:1].upper()}{text[1:]}.", content)


def cheap(summary: Mapping[str, object]) -> bool | None:
    """Whether the run was about as cheap as the rules or cheaper; None where nobody knows."""
    cost, rules = number(summary, "cost"), number(summary, "cost_rule_based")
    if cost is None or rules is None:
        return None
    return cost - rules < max(CENT, DEARER_FRAC * abs(rules))


def against(ours: float | None, other: float | None) -> str:
    """A difference in per cent of the other; empty where that means nothing."""
    if ours is None or other is None or abs(other) < CENT or abs(ours - other) < CENT:
        return ""
    return figure(100.0 * (ours - other) / abs(other), "%", 0, signed=True)


def _cost(result: Result) -> str:
    cost, rules = number(result.summary, "cost"), number(result.summary, "cost_rule_based")
    if cost is None:
        return "what the run cost is unknown"
    verb = "cost" if cost >= 0.0 else "earned"
    text = f"the run {verb} {figure(abs(cost), result.currency)}"
    if rules is None:
        return text
    difference = (cost - rules) if cost >= 0.0 else (rules - cost)
    if abs(difference) < CENT:
        return f"{text}, the same as with the rule-based controller"
    percent = against(cost, rules).lstrip("+\N{MINUS SIGN}")
    share = f" ({percent})" if percent else ""
    word = "more" if difference > 0.0 else "less"
    amount = figure(abs(difference), result.currency)
    return f"{text}, {amount}{share} {word} than with the rule-based controller"


def _limits(summary: Mapping[str, object]) -> tuple[str, bool]:
    count = number(summary, "limit_violations")
    if count is None:
        return "", True
    if count == 0:
        return "no limit was violated", True
    often = "once" if count == 1 else f"{figure(count, decimals=0)} times"
    return f"limits were violated {often}", False


def _unserved(summary: Mapping[str, object]) -> tuple[str, bool]:
    unserved, rules = number(summary, "unserved_kwh"), number(summary, "unserved_rule_based_kwh")
    if unserved is None:
        return "", True
    if unserved < CENT:
        return "all load was served", True
    other = "" if rules is None else f" (rule-based: {figure(rules, 'kWh')})"
    return f"{figure(unserved, 'kWh')} of load went unserved{other}", False


def _cycles(summary: Mapping[str, object]) -> tuple[str, bool]:
    missed, cycles = number(summary, "cycles_missed"), number(summary, "cycles")
    if missed is None:
        return "", True
    if missed == 0:
        return "no cycle was missed", True
    of = "" if cycles is None else f" of {figure(cycles, decimals=0)}"
    were = "was" if missed == 1 else "were"
    return f"{figure(missed, decimals=0)}{of} cycles {were} missed", False
