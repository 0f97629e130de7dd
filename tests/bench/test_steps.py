"""Between two plans the battery follows the load and does not hunt, however slow it is."""

from pathlib import Path

import pytest

from bench.steps import responses, switches, trace, turns

SITE = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "steps.toml"
SCENARIO = """
[scenario]
title = "a kettle"
site = "{site}"
start = "2016-12-14T02:05:00Z" # in the evening, while energy is dear
duration_h = 0.06
seed = 1
history_days = 7
plan_iterations = 3
[weather]
kind = "clear"
[load]
kind = "home"
kwh_per_day = 0.1
[[step]]
at_s = 0
for_s = 1000
kw = 0.6
[[step]]
at_s = 100
for_s = 40
kw = 2.0
[[step]]
at_s = 180
for_s = 3
kw = 2.0
[[step]]
at_s = 186
for_s = 3
kw = 2.0
[plant.battery]
initial_soc_frac = 0.8
response_s = {response_s}
"""


@pytest.mark.parametrize("response_s", [0.5, 4.0])
def test_a_kettle_is_followed_without_hunting(tmp_path: Path, response_s: float) -> None:
    path = tmp_path / "kettle.toml"
    path.write_text(SCENARIO.format(site=SITE, response_s=response_s), encoding="utf-8")
    seen = trace(path)
    assert abs(seen.grid_kw[99]) < 0.05  # the plan lets the battery carry the load
    on, off = responses(seen)[:2]
    assert (round(on.step_kw), round(off.step_kw)) == (2, -2)
    for answer in (on, off):
        assert answer.rise <= 3 + 4 * response_s
        assert answer.overshoot_kw < 0.1
        assert answer.settling <= 4 + 5 * response_s
        assert answer.turns == 0
    assert turns(seen.setpoint_kw) <= len(switches(seen.load_kw))
