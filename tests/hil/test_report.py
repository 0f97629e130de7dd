import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hil.report import page, write_report
from hil.report_forecast import Target
from hil.report_words import against, duration, figure, small_percent, verdict
from hil.result import ForecastShot, Happening, Result

START = 1_778_623_200.0  # 2026-05-13, midnight in Madrid
VOID = {"meta", "link", "br", "hr", "img", "input"}
NBSP = "\N{NO-BREAK SPACE}"


def run(points: int = 288, step_s: float = 300.0) -> Result:
    """A day of a house with everything."""
    utc_s = [START + step_s * index for index in range(points)]
    hours = np.arange(points) * step_s / 3600.0 % 24.0
    available = 5.0 * np.clip(np.sin((hours - 6.0) / 12.0 * np.pi), 0.0, None)
    load = 1.0 + 0.5 * np.sin(hours)
    pv = np.minimum(available, 4.0)
    battery = np.clip(load - pv, -3.0, 3.0)
    soc = 0.5 + 0.3 * np.sin(hours / 24.0 * 2.0 * np.pi)
    truth = {
        "load_kw": load,
        "unserved_kw": np.where(np.abs(hours - 20.0) < 0.5, 0.4, 0.0),
        "pv_kw": pv,
        "pv_available_kw": available,
        "wind_kw": 0.2 + 0.0 * hours,
        "battery_kw": battery,
        "generator_kw": np.where(hours < 2.0, 3.0, 0.0),
        "grid_kw": load - pv - battery,
        "soc_frac": soc,
        "price_buy_per_kwh": np.where(hours < 7.0, 0.1, 0.3),
        "price_sell_per_kwh": 0.05 + 0.0 * hours,
    }
    controller = {
        "battery_setpoint_kw": battery + 0.1,
        "pv_limit_kw": 4.0 + 0.0 * hours,
        "generator_run": (hours < 2.0).astype(float),
        "plan_battery_kw": battery,
        "plan_soc_frac": soc,
        "plan_grid_kw": load - pv - battery,
        "cost": np.linspace(0.0, 3.0, points),
    }
    for name, middle in (("pv", available), ("load", load)):
        controller |= {
            f"{name}_p10_kw": 0.8 * middle,
            f"{name}_p50_kw": middle,
            f"{name}_p90_kw": 1.2 * middle,
        }
    shot = tuple((value,) * 96 for value in (0.5, 1.0, 1.5))
    quantiles = (shot[0], shot[1], shot[2])
    return Result(
        title="A day",
        site_name="house-1",
        currency="EUR",
        timezone="Europe/Madrid",
        summary={
            "cost": 3.0,
            "cost_rule_based": 4.0,
            "cycles": 17280,
            "cycles_missed": 0,
            "limit_violations": 0,
            "unserved_kwh": 0.0,
            "fuel_l": 1.5,
            "generator_starts": 1,
            "energy_balance_error_frac": 2e-5,
            "energy_kwh": {"pv": 20.0, "grid_import": 5.0, "served": 24.0, "grid_export": 1.0},
            "sim_s": 86400.0,
            "wall_s": 60.0,
            "recording": "out/cycles.jsonl.gz",
            "answer": 42,
        },
        utc_s=utc_s,
        truth={name: list(values) for name, values in truth.items()},
        controller={name: list(values) for name, values in controller.items()},
        rule_based={
            "soc_frac": list(soc * 0.9),
            "battery_kw": list(battery),
            "generator_kw": [0.0] * points,
            "grid_kw": list(load - pv - battery),
            "cost": list(np.linspace(0.0, 4.0, points)),
        },
        modes=[(START, "auto", "all devices answer"), (START + 3600, "degraded", "no roof")],
        happenings=[
            Happening(START + 3600, "fault", "hang", "roof: hang for 60 s"),
            Happening(START + 3605, "alarm", "obedience", "roof is disobeyed"),
            Happening(START + 3610, "info", "mode", "degraded: no roof"),
        ],
        forecasts=[ForecastShot(START, 900.0, quantiles, quantiles, "gru 1", "mean of 28 days")],
        lateness_ms={},
        stages_ms={"sample": {"count": 10, "p50": 0.1, "p99": 0.2, "p999": 0.3, "max": 0.4}},
        violations={"battery floor": 0, "grid import": 2},
        cost_parts={"grid": (2.5, 3.0), "battery wear": (0.5, 1.0)},
    )


class Balance(HTMLParser):
    """Checks that tags close in the order in which they were opened; collects what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag


def checked(html: str) -> Balance:
    """The page, if it is sound: balanced, self-contained, drawings that are XML and described."""
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert len(set(parser.ids)) == len(parser.ids)
    for tag, attributes in parser.seen:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, name, value)
    assert "url(" not in html
    assert "@import" not in html
    assert "://" not in html
    drawings = re.findall(r'<svg class="plot".*?</svg>(?=</div>)', html, re.DOTALL)
    assert len(drawings) == sum(a.get("class") == "plot" for t, a in parser.seen if t == "svg")
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        title, description = root.find("title"), root.find("desc")
        assert title is not None
        assert title.text
        assert description is not None
        assert description.text
    assert "nan" not in re.sub(r"[a-z]*nano[a-z]*", "", " ".join(drawings)).lower()
    return parser


def readings(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="readings">(.*?)</script>', html)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def figures(html: str) -> set[str]:
    return set(re.findall(r'<figure id="([^"]+)"', html))


ALL = {
    *("powers", "modes", "soc", "prices", "grid", "cost-so-far", "battery", "pv", "generator"),
    *("forecast-pv", "forecast-load"),
}


def test_a_full_run_has_every_figure_and_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(run(), path)
    html = path.read_text(encoding="utf-8")
    checked(html)
    assert figures(html) == ALL
    for text in ("A day", "house-1", "Wednesday 13 May 2026, 00:00", "lateness does not apply"):
        assert text in html
    for text in ("roof: hang for 60 s", "no roof", "gru 1", "mean of 28 days", "answer", "42"):
        assert text in html


def test_what_the_pointer_reads_is_what_was_measured() -> None:
    result = run()
    html = page(result)
    content = readings(html)
    key = re.search(r'PV<output data-reading="([^"]+)"', html)
    assert key is not None
    assert content["values"][key[1]] == pytest.approx(result.truth["pv_kw"], abs=1e-3)
    assert len(content["times"]) == len(result.utc_s)
    assert content["zone"] == "Europe/Madrid"
    for name in re.findall(r'data-reading="([^"]+)"', html):
        assert len(content["values"][name]) == len(content["times"])


@pytest.mark.parametrize("points", [0, 1, 2, 7])
def test_short_runs(points: int) -> None:
    checked(page(run(points)))


def test_a_run_of_which_nothing_is_known() -> None:
    empty = Result("", "", "", "", {}, [], {}, {}, {}, [], [], [], {}, {})
    html = page(empty)
    checked(html)
    assert "The run ended before its first point." in html
    assert "is unknown" in html
    timed = replace(empty, utc_s=[START, START + 60.0])
    assert figures(page(timed)) == {"modes"}
    checked(page(timed))


def test_a_month_stays_small(tmp_path: Path) -> None:
    path = tmp_path / "month.html"
    result = run(31 * 1440, 60.0)
    noise = np.random.default_rng(1).normal(size=len(result.utc_s))
    noisy = {name: list(np.array(column) + noise) for name, column in result.truth.items()}
    shots = [replace(result.forecasts[0], start_utc_s=START + 21_600.0 * i) for i in range(124)]
    events = [
        Happening(START + 60.0 * i, ("info", "warning", "fault")[i % 3], "k", f"event {i}")
        for i in range(20_000)
    ]
    write_report(replace(result, truth=noisy, forecasts=shots, happenings=events), path)
    assert path.stat().st_size < 5e6
    html = path.read_text(encoding="utf-8")
    checked(html)
    assert "all 124 kept" in html
    assert "more are in the recording" in html


def test_a_day_stays_small() -> None:
    assert len(page(run(1440, 60.0)).encode()) < 2e6


values = st.one_of(
    st.none(), st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0])
)


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_any_gaps_lengths_and_absences_leave_a_sound_page(data: st.DataObject) -> None:
    full = run(12, 1800.0)

    def damaged(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        names = data.draw(st.sets(st.sampled_from(sorted(columns))))
        return {name: data.draw(st.lists(values, max_size=14)) for name in sorted(names)}

    result = replace(
        full,
        truth=damaged(full.truth),
        controller=damaged(full.controller),
        rule_based=damaged(full.rule_based),
        forecasts=full.forecasts if data.draw(st.booleans()) else [],
        summary={key: data.draw(values) for key in full.summary},
    )
    checked(page(result))


def test_texts_from_outside_stay_texts() -> None:
    evil = "</script><script>alert(1)</script>$title\"'&"
    happening = Happening(START + 60.0, "fault", evil, evil)
    odd = Happening(START + 60.0, evil, evil, evil)
    result = replace(
        run(),
        title=evil,
        site_name=evil,
        currency=evil,
        modes=[(START, evil, evil)],
        happenings=[happening, odd],
        violations={evil: 1},
        cost_parts={evil: (1.0, 2.0)},
        stages_ms={evil: {"p50": 1.0}},
        summary={evil: evil, "recording": evil},
    )
    html = page(result)
    parser = checked(html)
    assert sum(tag == "script" for tag, _ in parser.seen) == 2
    assert "<script>alert" not in html
    assert readings(html)["values"]


def test_an_unknown_time_zone_falls_back_to_utc() -> None:
    assert "UTC" in page(replace(run(), timezone="Mars/Olympus"))


def test_real_time_shows_lateness() -> None:
    late = {"count": 6000.0, "p50": 0.061, "p99": 0.312, "p999": 1.2, "max": 4.25}
    html = page(replace(run(), lateness_ms=late))
    assert "lateness does not apply" not in html
    assert "4.250" in html


def test_faults_are_numbered_in_charts_as_in_the_table() -> None:
    first = Happening(START + 7200.0, "fault", "hang", "roof: hang")
    second = Happening(START + 36_000.0, "fault", "dark", "sky: dark")
    html = page(replace(run(), happenings=[first, second]))
    assert "fault 2</span></td><td>dark</td>" in html
    assert "<title>2: sky: dark</title>" in html


def test_limits_of_the_state_of_charge_are_drawn_when_known() -> None:
    assert "line limit" not in page(run())
    result = run()
    known = replace(result, summary={**result.summary, "soc_min_frac": 0.2, "soc_max_frac": 0.9})
    assert page(known).count('class="line limit" d="M0 ') == 2


SUMMARY = run().summary


@pytest.mark.parametrize(
    ("changes", "text", "content"),
    [
        ({}, "The run cost 3.00 EUR, 1.00 EUR (25 %) less than with the rule-based", True),
        ({"cost": 5.0}, "1.00 EUR (25 %) more than", False),
        ({"cost": 4.0}, "the same as with the rule-based controller", True),
        ({"cost": -2.0, "cost_rule_based": -1.0}, "earned 2.00 EUR, 1.00 EUR (100 %) more", True),
        ({"cost": -1.0, "cost_rule_based": -2.0}, "earned 1.00 EUR, 1.00 EUR (50 %) less", False),
        ({"cost": 1.0, "cost_rule_based": 0.0}, "1.00 EUR, 1.00 EUR more than", False),
        ({"cost": None}, "What the run cost is unknown", False),
        ({"limit_violations": 1}, "limits were violated once", False),
        ({"limit_violations": 3}, "limits were violated 3 times", False),
        ({"unserved_kwh": 0.5}, "0.50 kWh of load went unserved", False),
        ({"cycles_missed": 1}, "1 of 17 280 cycles was missed", False),
    ],
)
def test_verdict(changes: dict[str, object], text: str, content: bool) -> None:
    said = verdict(replace(run(2), summary={**SUMMARY, **changes}))
    plain = said.text.replace(NBSP, " ").replace("\N{NARROW NO-BREAK SPACE}", " ")
    assert text in plain
    assert said.content is content


def test_numbers_as_people_write_them() -> None:
    assert figure(-0.001, "kW") == f"0.00{NBSP}kW"
    assert figure(12345.678) == "12\N{NARROW NO-BREAK SPACE}345.68"
    assert figure(-1.0, "EUR", 1, signed=True) == f"\N{MINUS SIGN}1.0{NBSP}EUR"
    assert figure(math.nan) == figure(None) == "\N{EN DASH}"
    assert small_percent(3e-16) == f"<{NBSP}0.001{NBSP}%"
    assert small_percent(0.00123) == f"0.12{NBSP}%"
    assert duration(86_400.0) == f"1{NBSP}d"
    assert duration(3599.9) == f"1{NBSP}h"
    assert duration(95.0) == f"1{NBSP}min 35{NBSP}s"
    assert duration(0.25) == f"0.2{NBSP}s"
    assert against(3.0, 4.0) == f"\N{MINUS SIGN}25{NBSP}%"
    assert against(3.0, 0.0) == against(4.0, 4.0) == ""


def target(result: Result, name: str) -> Target:
    from zoneinfo import ZoneInfo

    from hil.charts import TimeAxis
    from hil.report_figures import Series

    times = np.array(result.utc_s)
    axis = TimeAxis(times, float(times[-1]) + 300.0, ZoneInfo(result.timezone))
    found = Target.of(Series(result, axis), name)
    assert found is not None
    return found


def test_forecast_scores() -> None:
    result = run()
    load = [1.0] * 144 + [2.0] * 144
    low = [0.9] * 288
    shot = replace(result.forecasts[0], load_kw=((0.5,) * 96, (1.0,) * 96, (1.5,) * 96))
    changed = replace(
        result,
        truth={**result.truth, "load_kw": load},
        controller={
            **result.controller,
            "load_p10_kw": low,
            "load_p50_kw": [1.5] * 288,
            "load_p90_kw": [1.6] * 288,
        },
        forecasts=[shot],
    )
    newest, kept = target(changed, "load").scores()
    assert newest.steps == kept.steps == 96
    assert newest.inside_frac == kept.inside_frac == 0.5
    assert newest.rmse_kw == pytest.approx(0.5)
    assert newest.bias_kw == pytest.approx(0.0)
    assert kept.rmse_kw == pytest.approx(math.sqrt(0.5))
    assert kept.bias_kw == pytest.approx(-0.5)
    # One step in 96 was not what the step before was: persistence errs by 1 kW there alone.
    assert newest.skill_frac == pytest.approx(1 - 0.5 * math.sqrt(95) / 1.0)
    assert kept.skill_frac is None  # nothing is known of the step before the run


def test_the_nowcast_is_scored_minute_by_minute() -> None:
    result = run()
    times = np.array(result.utc_s)
    pv = np.array(result.truth["pv_available_kw"])
    ahead = np.interp(times - 20.0 + 5 * 60.0 + 30.0, times + 150.0, pv)  # steps of five minutes
    columns = {"p10_kw": ahead - 0.5, "p50_kw": ahead, "p90_kw": ahead + 0.5}
    made = {f"nowcast5_{name}": list(values) for name, values in columns.items()}
    made |= {name.replace("5", "1", 1): values for name, values in made.items()}
    made |= {f"nowcast{minute}_age_s": [20.0] * len(times) for minute in (1, 5)}
    changed = replace(result, controller={**result.controller, **made})
    [found] = [score for score in target(changed, "pv").scores() if "nowcast" in score.name]
    assert found.name == "nowcast, minute 5"
    assert found.source == "irradiance sensor"
    assert found.inside_frac > 0.95
    assert found.skill_frac is not None
    assert found.skill_frac > 0.3


def test_pv_is_scored_by_day_against_what_was_available() -> None:
    newest = target(run(), "pv").scores()[0]
    assert 44 <= newest.steps <= 49  # quarters of an hour between six and six
    assert newest.rmse_kw == pytest.approx(0.0, abs=1e-9)
    assert newest.inside_frac == 1.0
