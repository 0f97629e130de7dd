"""An evening on the bench, and `nanogrid why` about it: every reason of every change is looked up.

What a reason claims is compared with what the recording holds besides: measurements, prices, plan,
limits. Nothing of the code that gives the reasons is used. A reason that no row here knows fails.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from control.records import GridMeasurement, Plan, Quantity
from control.site import SiteParameters
from firmware.recording import Cycle, Recording
from hil.inputs import write_history
from hil.lockstep import run_lockstep
from hil.observer import Observer
from hil.scenario import LoadedScenario
from hil.world import World

SITE = Path(__file__).parents[2] / "hil" / "scenarios" / "sites" / "clinic.toml"
PERIOD_S = 30.0
NEAR_KW = 0.06
CLOSE_KW = 0.3  # where what is measured moves between a reading and its use
IDLE_KW = 0.02
CHARGE_MAX_KW = 4.0
ALL_PV_KW = 5.9  # a wish for so much is one for PV: the battery has 4 kW
SCENARIO = """
[scenario]
title = "an evening"
site = "site.toml"
start = "2026-05-13T13:30:00Z" # 15:30 on the site's clock
duration_h = 6.5
seed = 5
history_days = 3
plan_iterations = 2
[weather]
kind = "broken"
[load]
kind = "clinic"
kwh_per_day = 75.0
[[outage]]
from_h = 3.5
to_h = 6.0
[plant.battery]
initial_soc_frac = 0.4
"""


@dataclass(frozen=True)
class Facts:
    """One cycle as recorded, apart from every reason; one change of it."""

    site: SiteParameters
    cycle: Cycle
    before: float | None
    after: float | None
    wanted: float
    since_run_s: float  # since the last change of the generator's run setpoint
    grid_for_s: float  # since the meter shows voltage and frequency; < 0: it does not

    @property
    def grid_kw(self) -> float:
        grid = self.cycle.sample.grid
        assert grid
        assert grid.good
        return grid.good.power_kw or 0.0

    @property
    def grid_there(self) -> bool:
        return self.grid_for_s >= 0.0

    @property
    def island(self) -> bool:
        """A grid that has come back this moment is not relied on."""
        return self.grid_for_s <= 0.0

    @property
    def battery_kw(self) -> float:
        battery = self.cycle.sample.batteries[0].good
        assert battery
        return battery.power_kw or 0.0

    @property
    def soc_frac(self) -> float:
        battery = self.cycle.sample.batteries[0].good
        assert battery
        assert battery.soc_frac is not None
        return battery.soc_frac

    @property
    def generator_kw(self) -> float:
        generator = self.cycle.sample.generators[0].good
        return generator.power_kw or 0.0 if generator else 0.0

    @property
    def generator_runs(self) -> bool:
        generator = self.cycle.sample.generators[0].good
        return generator is not None and generator.phase == "running"

    @property
    def generator_starts(self) -> bool:
        asked = any(s.quantity is Quantity.RUN and s.value for s in self.cycle.command.setpoints)
        return self.island and asked and not self.generator_runs

    @property
    def pv_kw(self) -> float:
        return sum(pv.good.power_kw or 0.0 for pv in self.cycle.sample.pv if pv.good)

    @property
    def net_kw(self) -> float:
        """Load less PV: what the other three give together."""
        return self.battery_kw + self.grid_kw + self.generator_kw

    @property
    def plan(self) -> Plan | None:
        plan, now_s = self.cycle.advice.plan, self.cycle.sample.t_s
        if plan is None or now_s >= plan.expires_t_s:
            return None
        return plan if 0 <= self.slot < len(plan.battery_kw) else None

    @property
    def slot(self) -> int:
        plan = self.cycle.advice.plan
        return int((self.cycle.sample.t_s - plan.start_t_s) // plan.step_s) if plan else -1


def in_band(grid: GridMeasurement) -> bool:
    """Voltage and frequency of a utility, EN 50549-1."""
    volts, hertz = grid.voltage_v or 0.0, grid.frequency_hz or 0.0
    return 195.5 <= volts <= 253.0 and 47.5 <= hertz <= 51.5


def near(a: float, b: float, tolerance: float = NEAR_KW) -> bool:
    return abs(a - b) <= tolerance


def planned(f: Facts, column: str) -> Any:
    assert f.plan
    return getattr(f.plan, column)[f.slot]


def beside_grid(f: Facts) -> float:
    """Net load for battery and grid, beside a grid that is there."""
    assert f.grid_there
    return f.net_kw - f.generator_kw


Check = Callable[[Facts, "re.Match[str]"], bool]
REASONS: dict[str, Check] = {
    # battery, by plan
    r"plan: the battery covers the load": lambda f, m: (
        planned(f, "cover_deficit") and beside_grid(f) > 0 and near(f.wanted, beside_grid(f))
    ),
    r"plan: store the surplus": lambda f, m: (
        planned(f, "store_surplus") and beside_grid(f) <= 0 and near(f.wanted, beside_grid(f))
    ),
    r"plan: keep the energy for later": lambda f, m: (
        not planned(f, "cover_deficit")
        and beside_grid(f) > 0
        and near(f.wanted, max(0.0, min(planned(f, "battery_kw"), beside_grid(f))))
    ),
    r"plan: sell the surplus; of what it did not foresee (\d+)% stored": lambda f, m: (
        not planned(f, "store_surplus")
        and beside_grid(f) <= 0
        and near(f.wanted, sold(f, int(m[1]) / 100.0))
    ),
    r"plan: charge from the grid": lambda f, m: (
        planned(f, "battery_kw") < -IDLE_KW
        and planned(f, "grid_kw") > IDLE_KW
        and beside_grid(f) > f.wanted  # so the grid gives the difference
        and near(f.wanted, planned(f, "battery_kw"))
    ),
    r"plan: charge from the surplus": lambda f, m: (
        planned(f, "battery_kw") < -IDLE_KW
        and planned(f, "grid_kw") > IDLE_KW
        and beside_grid(f) <= planned(f, "battery_kw")
        and near(f.wanted, beside_grid(f))
    ),
    r"plan: export from the battery": lambda f, m: (
        planned(f, "grid_kw") < -IDLE_KW and near(f.wanted, planned(f, "battery_kw"))
    ),
    r"plan: hold the generator at (\S+) kW": lambda f, m: (
        f.island
        and f.generator_runs
        and planned(f, "generator_on")
        and near(planned(f, "generator_kw"), float(m[1]), 0.006)
        and near(f.wanted, f.net_kw - float(m[1]))
    ),
    # battery, by rule
    r"charge beside the generator": lambda f, m: (
        f.island and f.generator_runs and f.wanted <= f.net_kw
    ),
    r"island: the battery forms the grid": lambda f, m: (
        f.island and not f.generator_runs and near(f.wanted, f.net_kw)
    ),
    r"self-consumption; of the surplus (\d+)% stored": lambda f, m: (
        f.plan is None and near(f.wanted, int(m[1]) / 100.0 * beside_grid(f), CLOSE_KW)
    ),
    r"self-consumption": lambda f, m: f.plan is None and near(f.wanted, max(0.0, beside_grid(f))),
    # PV
    r"no limit needed": lambda f, m: near(f.wanted, f.site.pv_rated_kw),
    # generator
    r"the grid serves": lambda f, m: f.grid_there and f.wanted == 0.0,
    r"plan: run": lambda f, m: bool(planned(f, "generator_on")) and f.wanted == 1.0,
    r"plan: rest": lambda f, m: not planned(f, "generator_on") and f.wanted == 0.0,
    r"island whose battery is nearly empty: (\d+)%": lambda f, m: (
        f.island
        and near(f.soc_frac, int(m[1]) / 100.0, 0.006)
        and f.site.battery is not None
        and f.soc_frac < f.site.battery.soc_min_frac + 0.04
    ),
}
CLIPS: dict[str, Check] = {
    r"export limit (\S+) kW": lambda f, m: exports(f, float(m[1])),
    r"import limit (\S+) kW": lambda f, m: (
        bool(f.site.grid) and beside_grid(f) - f.wanted > 0.9 * float(m[1])
    ),
    r"limit rises slowly": lambda f, m: (
        f.before is not None and f.after is not None and f.before < f.after < f.wanted
    ),
    r"island: the battery can charge no faster": lambda f, m: (
        f.island and not f.generator_runs and f.after is not None and f.after < f.wanted
    ),
    r"generator's minimum load": lambda f, m: (
        f.generator_runs and (pv_or(f, f.net_kw - f.wanted) < least_kw(f) + CLOSE_KW)
    ),
    r"minimum load of the generator that starts": lambda f, m: (
        f.generator_starts and f.after is not None and f.after < f.wanted
    ),
    r"the load may fall between two cycles": lambda f, m: (
        f.site.period_s > 2.0
        and (f.generator_runs or f.generator_starts)
        and f.after is not None
        and f.after < f.wanted
    ),
    r"generator's rating": lambda f, m: (
        f.generator_runs
        and f.site.generator is not None
        and f.net_kw - f.wanted > 0.9 * f.site.generator.rated_kw
    ),
    r"ceiling of the state of charge (\d+)%": lambda f, m: (
        charged_at_most(f) > 0 and charges_to(f, int(m[1]) / 100.0) <= charged_at_most(f)
    ),
    r"floor of the state of charge (\d+)%": lambda f, m: (
        f.wanted > 0 and near(f.soc_frac, int(m[1]) / 100.0, 0.03)
    ),
    r"the battery's own limit": lambda f, m: own_limit(f),
    r"rating": lambda f, m: (
        f.site.battery is not None
        and not -f.site.battery.charge_max_kw <= f.wanted <= f.site.battery.discharge_max_kw
    ),
    r"plan: reserve of (\d+)% for a bad day": lambda f, m: (
        f.soc_frac <= int(m[1]) / 100.0 and f.wanted > 0
    ),
    r"ramp": lambda f, m: ramps(f),
    r"minimum run, (\d+) s left": lambda f, m: (
        f.site.generator is not None
        and near(f.site.generator.min_run_s - f.since_run_s, float(m[1]), 1.0)
    ),
}


def sold(f: Facts, share: float) -> float:
    """What is stored of a surplus that is sold: the plan's part, and a share of the rest."""
    stored_kw, net_kw = min(planned(f, "battery_kw"), 0.0), beside_grid(f)
    foreseen_kw = max(0.0, -planned(f, "battery_kw") - planned(f, "grid_kw"))
    return max(net_kw, stored_kw - share * max(0.0, -net_kw - foreseen_kw))


def exports(f: Facts, limit_kw: float) -> bool:
    """With what was wanted, more than the limit could flow: from the battery, or from PV."""
    assert f.after is not None
    if f.wanted < ALL_PV_KW:
        held = any(pv.good and (pv.good.limit_kw or 0.0) < ALL_PV_KW for pv in f.cycle.sample.pv)
        return held or f.wanted - beside_grid(f) > 0.9 * limit_kw
    load_kw = f.net_kw + f.pv_kw
    return f.after < f.wanted and f.after <= load_kw + CHARGE_MAX_KW + limit_kw


def least_kw(f: Facts) -> float:
    assert f.site.generator
    return f.site.generator.min_kw + 0.05 * f.site.generator.rated_kw


def pv_or(f: Facts, generator_kw: float) -> float:
    """What the generator would carry: with the battery as wanted, or with all PV as wanted."""
    return generator_kw if f.wanted < ALL_PV_KW else f.net_kw + f.pv_kw - f.wanted


def charged_at_most(f: Facts) -> float:
    """What was wanted, or the more that an export limit has made of it before the ceiling."""
    return max(0.0, -f.wanted, -(f.after or 0.0))


def charges_to(f: Facts, ceiling_frac: float) -> float:
    """The most charge so near to the ceiling: what fills the rest in three minutes."""
    assert f.site.battery
    return max(0.0, ceiling_frac - f.soc_frac) * f.site.battery.capacity_kwh / 0.05 - NEAR_KW


def ramps(f: Facts) -> bool:
    """As far as the ramp goes from the setpoint before; at first from where the battery is."""
    assert f.site.battery
    assert f.after is not None
    reach_kw = 0.0 if f.before is None else f.site.battery.ramp_kw_per_s * PERIOD_S
    start_kw = f.battery_kw if f.before is None else f.before
    return near(abs(f.after - start_kw), reach_kw) and near(
        abs(f.wanted - f.after) + abs(f.after - start_kw), abs(f.wanted - start_kw)
    )


def own_limit(f: Facts) -> bool:
    battery = f.cycle.sample.batteries[0].good
    assert battery
    charge_kw, discharge_kw = battery.charge_limit_kw, battery.discharge_limit_kw
    assert charge_kw is not None
    assert discharge_kw is not None
    return not -charge_kw <= f.wanted <= discharge_kw


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evening: sun, a ceiling, a tariff that changes, an outage with the generator."""
    folder = tmp_path_factory.mktemp("evening")
    site = SITE.read_text().replace("period_s = 5.0", f"period_s = {PERIOD_S}")
    site = site.replace("stale_after_s = 16.0", "stale_after_s = 60.0\n[safety]\nlease_s = 90.0")
    site = site.replace("capacity_kwh = 14.0", "capacity_kwh = 4.0")
    (folder / "site.toml").write_text(site)
    (folder / "scenario.toml").write_text(SCENARIO)
    loaded = LoadedScenario(folder / "scenario.toml")
    start_utc_s = loaded.scenario.scenario.start_utc_s
    world = World(loaded, start_utc_s)
    history, path = folder / "history.csv", folder / "cycles.jsonl.gz"
    try:
        arrays = world.parameters.pv
        write_history(history, loaded, arrays, world.weather, world.load, start_utc_s)
        run_lockstep(world, Observer(world), path, history, None, lambda *_: None)
    finally:
        world.close()
    return path


@pytest.fixture(scope="module")
def told(recording: Path) -> list[dict[str, Any]]:
    """What `nanogrid why` says of every change."""
    command = [sys.executable, "-m", "firmware", "why", "--changes", "--json"]
    result = subprocess.run(
        [*command, "--recording", str(recording)], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


def facts(recording: Path, changes: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Facts]]:
    """Each change with its cycle as recorded."""
    read, left = Recording(recording), list(changes)
    switched_s, grid_since_s = float("-inf"), float("-inf")
    for cycle in read:
        now_s = cycle.sample.t_s
        grid = cycle.sample.grid
        if not (grid and grid.good and in_band(grid.good)):
            grid_since_s = float("inf")
        elif grid_since_s == float("inf"):
            grid_since_s = now_s
        while left and left[0]["cycle"] == cycle.sample.cycle:
            change = left.pop(0)
            target = (change["device"], change["quantity"])
            why = {(item.device, item.quantity.value): item for item in cycle.command.why}
            meant = why[target].wanted if target in why else float("nan")
            two = change["before"], change["after"]
            passed_s = now_s - switched_s
            yield change, Facts(read.site, cycle, *two, meant, passed_s, now_s - grid_since_s)
            if change["quantity"] == Quantity.RUN:
                switched_s = now_s
    assert not left


def confirmed(rows: dict[str, Check], text: str, f: Facts) -> bool:
    """Whether the recording bears out a text; one that no row knows does not count."""
    for pattern, check in rows.items():
        if match := re.fullmatch(pattern, text):
            return check(f, match)
    return False


def test_every_reason_is_borne_out_by_the_recording(
    recording: Path, told: list[dict[str, Any]]
) -> None:
    wrong, seen = [], set()
    for change, f in facts(recording, told):
        texts = [(REASONS, change["reason"]), *((CLIPS, clip) for clip in change["clips"])]
        for rows, text in texts:
            seen.add(re.sub(r"[\d.]+", "#", text))
            if not confirmed(rows, text, f):
                net = f"net {f.net_kw:.2f}, PV {f.pv_kw:.2f}, wanted {f.wanted:.2f}"
                wrong.append(f"{change['utc']} {change['device']}: {text} ({net})")
    assert not wrong, f"{len(wrong)} of {len(told)}:\n" + "\n".join(wrong[:40])
    assert len(told) > 500
    for needed in ("plan: the battery covers the load", "the grid serves", "export limit # kW"):
        assert needed in seen, "\n".join(sorted(seen))
    assert any("generator" in text for text in seen), "\n".join(sorted(seen))


def test_no_change_is_left_out(recording: Path, told: list[dict[str, Any]]) -> None:
    """Every setpoint of every cycle follows from the changes that were told."""
    changes = iter(told)
    change = next(changes, None)
    held: dict[tuple[str, str], float] = {}
    for cycle in Recording(recording):
        while change is not None and change["cycle"] == cycle.sample.cycle:
            target = (change["device"], change["quantity"])
            assert held.get(target) == change["before"]
            held[target] = change["after"]
            change = next(changes, None)
        now = {(s.device, s.quantity.value): s.value for s in cycle.command.setpoints}
        assert now == {target: value for target, value in held.items() if value is not None}
    assert change is None
