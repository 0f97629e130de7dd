"""Long random lives of a fleet: every battery in its limits, every set in its times, sums exact."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.battery_limits import RAMP
from control.cycle import Decision
from control.fleet import counting
from control.records import Advice, Level, Orders, Proposal, Quantity
from control.state import Mode, State
from tests.control.tiny_fleet import TinyFleet, fleet_site

CHANGES_PER_LIFE = 30
LEVELS = [Level.SUPERVISOR, Level.LOCAL_OPERATOR, Level.GRID_OPERATOR]
NAMES = ["bat-a", "bat-b", "gen-a", "gen-b", "roof", "grid"]


class Life:
    """One fleet and its controller; every cycle is checked."""

    def __init__(self, build: Any, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.build = build
        with_grid = bool(self.rng.random() < 0.5)
        self.site = fleet_site(build, grid=build.grid() if with_grid else None)
        self.world = TinyFleet(self.site, mains=with_grid)
        for unit in self.world.batteries:
            unit.soc_frac = self.pick([0.05, 0.15, 0.2, 0.5, 0.95, 1.0])
        self.orders, self.advice = Orders(), Advice()
        self.switched_s: dict[str, float] = {}
        self.seen: set[str] = set()

    def pick(self, choices: list[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def change(self) -> None:
        world, rng = self.world, self.rng
        what = self.pick(["weather"] * 3 + ["mains", "bms", "silence", "trouble", "order", "plan"])
        if what == "weather":
            world.load_kw = self.pick([0.0, 0.5, rng.uniform(0, 11), 11.0])
            world.sun_kw = self.pick([0.0, rng.uniform(0, 6)])
        elif what == "mains":
            world.mains = self.site.grid is not None and not world.mains
        elif what == "bms":
            unit = self.pick(world.batteries)
            unit.charge_limit_kw = self.pick([2.0, 1.0, 0.0])
            unit.discharge_limit_kw = self.pick([2.5, 1.0, 0.0])
        elif what == "silence":
            world.silent = set(rng.choice(NAMES, rng.integers(0, 3)))
        elif what == "trouble":
            unit = self.pick(world.sets)
            unit.cranks, unit.available = self.pick([(True, True), (False, True), (True, False)])
        elif what == "order":
            self.orders = self.order()
        else:
            self.advice = Advice(plan=self.plan())

    def order(self) -> Orders:
        kind = self.pick(["none", "none", "unit", "all", "manual", "stop", "acknowledge"])
        if kind in ("unit", "all"):
            battery = bool(self.rng.random() < 0.5)
            devices = ["bat-a", "bat-b"] if battery else ["gen-a", "gen-b"]
            alls = "all batteries" if battery else "all generators"
            value = float(self.rng.uniform(-6, 6)) if battery else self.pick([0.0, 1.0])
            quantity = Quantity.POWER_KW if battery else Quantity.RUN
            device = self.pick(devices) if kind == "unit" else alls
            wish = Proposal(self.pick(LEVELS), device, quantity, "an order", value)
            return Orders(proposals=(wish,))
        return Orders(
            manual=kind == "manual", stop=kind == "stop", acknowledge=kind == "acknowledge"
        )

    def plan(self) -> Any:
        powers = [float(self.rng.uniform(-4, 4)) for _ in range(2)]
        on = [bool(self.rng.random() < 0.5) for _ in range(2)]
        grid_kw = float(self.rng.uniform(-3, 6)) if self.world.mains else 0.0
        return self.build.plan(
            start_t_s=self.world.t_s,
            expires_t_s=self.world.t_s + 1200.0,
            battery_kw=(sum(powers),) * 2,
            generator_on=(any(on),) * 2,
            generator_kw=(3.0 * sum(on),) * 2,
            grid_kw=(grid_kw,) * 2,
            battery_units_kw=tuple((kw, kw) for kw in powers),
            generator_units_on=tuple((each, each) for each in on),
        )

    def live(self) -> None:
        for _ in range(CHANGES_PER_LIFE):
            self.change()
            step_s = self.pick([0.0, 0.2, 1.0, 1.0, 5.0, 60.0])
            for _ in range(int(self.rng.integers(1, 30))):
                before = self.world.state
                made = self.world.step(step_s, self.orders, self.advice)
                self.check_sets(before, made)
                if made.state.mode not in (Mode.STARTING, Mode.STOPPED):
                    self.check_batteries(before, made)

    def check_batteries(self, before: State, made: Decision) -> None:
        told, plant = self.world.told(made), made.state.estimate
        assert list(told)[:4] == ["gen-a", "gen-b", "bat-a", "bat-b"]
        counts = counting(plant)
        why = {item.device: item for item in made.command.why}
        for battery, known, counted in zip(
            self.site.batteries, plant.batteries, counts, strict=True
        ):
            kw = told[battery.name]
            assert -battery.charge_max_kw <= kw <= battery.discharge_max_kw
            assert known.charge_limit_kw is None or kw >= -known.charge_limit_kw
            assert known.discharge_limit_kw is None or kw <= known.discharge_limit_kw
            if known.soc_frac is not None:
                assert known.soc_frac > battery.soc_min_frac or kw <= 0.0
                assert known.soc_frac < battery.soc_max_frac or kw >= 0.0
            if any(counts) and not counted:
                assert kw == 0.0
                self.seen.add("lost")
            if kw:
                self.seen.add("gives" if kw > 0.0 else "takes")
        assert made.state.battery_units_kw == (told["bat-a"], told["bat-b"])
        assert made.state.battery_kw == pytest.approx(sum(made.state.battery_units_kw))
        self.check_ramps(before, made, why)
        if made.state.mode is not Mode.MANUAL and not self.orders.proposals:
            assert not (told["bat-a"] > 1e-6 and told["bat-b"] < -1e-6 and self.settled(before))

    def settled(self, before: State) -> bool:
        """Nothing is still on its way back from the other direction."""
        was = before.battery_units_kw
        return (
            len(was) == 2 and was[0] >= 0.0 >= was[1] and self.world.t_s - (before.t_s or 0) > 4.0
        )

    def check_ramps(self, before: State, made: Decision, why: dict[str, Any]) -> None:
        """Faster than its ramp only where a limit says why."""
        was, now = before.battery_units_kw, made.state.battery_units_kw
        if len(was) < 2 or before.t_s is None:
            return
        step_kw = 2.0 * (self.world.t_s - before.t_s)
        for battery, before_kw, after_kw in zip(self.site.batteries, was, now, strict=True):
            if abs(after_kw - before_kw) > step_kw + 1e-6:
                clips = why[battery.name].clips
                assert any(clip != RAMP and "its share" not in clip for clip in clips), clips

    def check_sets(self, before: State, made: Decision) -> None:
        """Minimum run and rest, longest run, for each: only stops, faults and orders interrupt."""
        state = made.state
        stopped = state.mode in (Mode.STOPPED, Mode.STARTING)
        was_all = before.generators or (before.generator,) * 2
        now_all = state.generators or was_all
        for unit, was, now in zip(self.site.generators, was_all, now_all, strict=True):
            now_s = self.world.t_s
            if was.run == now.run:
                assert not now.run or now_s - now.since_s < unit.max_run_s
                continue
            self.seen.add("run" if now.run else "rest")
            excused = bool(now.locked) or now.attempts > was.attempts or stopped
            last_s = self.switched_s.get(unit.name)
            if now.run:
                assert last_s is None or now_s - last_s >= unit.min_rest_s
            elif not excused:
                assert now_s - was.since_s >= unit.min_run_s
            self.switched_s[unit.name] = now_s
        assert state.generator.run == any(each.run for each in state.generators)
        if sum(each.run for each in state.generators) == 2:
            self.seen.add("both")
        if state.generators and not stopped and all(each.locked for each in state.generators):
            assert state.generator.locked


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_long_random_life(build: Any, seed: int) -> None:
    Life(build, seed).live()


def test_such_lives_go_through_everything(build: Any) -> None:
    """The checks above are worth what their lives are."""
    seen: set[str] = set()
    for seed in range(4):
        life = Life(build, seed)
        life.live()
        seen |= life.seen
    assert seen == {"run", "rest", "both", "lost", "gives", "takes"}
