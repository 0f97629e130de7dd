"""The real loop with two batteries and two generators in virtual time, one set lost on the way."""

import json
from pathlib import Path

from control.records import Event
from firmware.recording import Recording
from firmware.replay import replay
from hil.run import Speed, run_scenario
from hil.scenario import LoadedScenario

SCENARIOS = Path(__file__).parents[2] / "hil" / "scenarios"


def test_the_other_set_takes_over_and_the_report_tells_each_unit(tmp_path: Path) -> None:
    text = (SCENARIOS / "fleet.toml").read_text()
    for old, new in (
        ('site = "sites/fleet.toml"', f'site = "{SCENARIOS}/sites/fleet.toml"'),
        ('start = "2026-03-03T23:00:00Z"', 'start = "2026-03-04T05:00:00Z"'),
        ("duration_h = 24.0", "duration_h = 0.6\nhistory_days = 1\nplan_iterations = 1"),
        ("at_h = 7.0", "at_h = 0.15"),
        ("at_h = 12.0", "at_h = 0.4"),
        ("initial_soc_frac = 0.35", "initial_soc_frac = 0.17"),
        ("initial_soc_frac = 0.75", "initial_soc_frac = 0.17"),
    ):
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "short.toml"
    path.write_text(text)
    run_scenario(LoadedScenario(path), tmp_path / "report", Speed(), lambda *_: None)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert set(summary["units"]) == {"hall", "shed", "diesel", "spare"}
    assert summary["units"]["diesel"]["starts"] == summary["units"]["spare"]["starts"] == 1
    assert summary["unserved_kwh"] < 0.01
    assert summary["energy_balance_error_frac"] < 1e-6
    page = (tmp_path / "report" / "report.html").read_text()
    assert "Charge at the end" in page
    told = [event.text for event in events(tmp_path / "report" / "cycles.jsonl.gz")]
    assert any(text.startswith("diesel: start") for text in told)
    assert "diesel: locked: the set stopped by itself" in told
    assert "spare: takes load" in told
    assert any("shed" in text for text in told)  # its bus hangs


def events(path: Path) -> list[Event]:
    found: list[Event] = []
    for each in replay(Recording(path)):
        assert not each.differs
        found += each.cycle.events
    return found
