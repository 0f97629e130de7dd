"""Long random lives of a small plant: weather, outages, silent devices, orders, stops."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from control.cycle import Decision
from control.records import Advice, Level, Orders
from control.state import Mode, State

DEVICES = ["roof", "battery", "genset", "grid", "sun", "stop"]
LEVELS = [Level.SUPERVISOR, Level.LOCAL_OPERATOR, Level.GRID_OPERATOR]
CHANGES_PER_LIFE = 60


class Life:
    """One plant and its controller; every cycle is checked."""

    def __init__(self, build: Any, plant: Any, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.build = build
        battery = build.battery(charge_from_grid=bool(self.pick([True, False])))
        generator = build.generator(max_run_s=self.pick([36000.0, 2400.0]))
        self.site = build.site(battery=battery, generator=generator)
        self.world = plant(
            self.site,
            soc_frac=self.pick([0.05, 0.16, 0.2, 0.5, 0.94, 1.0]),
            mains=self.pick([True, False]),
            silent={"roof"} if seed % 2 else set(),
        )
        self.orders, self.advice = Orders(), Advice()
        self.switched_s: float | None = None
        self.broken_s = {"export": 0.0, "reverse power": 0.0}
        self.seen: set[str] = set()

    def pick(self, choices: list[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def change(self) -> None:
        """Something happens, or is over."""
        world, rng = self.world, self.rng
        what = self.pick(["weather"] * 4 + ["mains"] * 2 + ["bms", "silence", "trouble", "order"])
        if what == "weather":
            world.load_kw = self.pick([0.0, 0.3, rng.uniform(0, 7), 7.0])
            world.sun_kw = self.pick([0.0, rng.uniform(0, 6), 6.0])
        elif what == "mains":
            world.mains = not world.mains
        elif what == "bms":
            world.charge_limit_kw = self.pick([4.0, 4.0, 1.0, 0.0])
            world.discharge_limit_kw = self.pick([4.0, 4.0, 1.0, 0.0])
        elif what == "silence":
            world.silent = (
                set(rng.choice(DEVICES, rng.integers(0, 3))) if rng.random() < 0.5 else set()
            )
        elif what == "trouble":
            world.stubborn = {"battery"} if rng.random() < 0.3 else set()
            world.cranks = rng.random() < 0.7
        else:
            self.order()

    def order(self) -> None:
        kind = self.pick(["none", "none", "value", "manual", "stop", "plan", "plan", "button"])
        self.orders = Orders(manual=kind == "manual", stop=kind == "stop")
        if kind == "value":
            device = self.pick(["battery", "roof", "genset"])
            value = float(self.rng.uniform(-5, 5))
            self.orders = Orders(proposals=(self.build.order(self.pick(LEVELS), device, value),))
        elif kind == "plan":
            self.advice = Advice(plan=self.plan())
        elif kind == "button":
            self.press()

    def plan(self) -> Any:
        on, battery_kw = bool(self.rng.random() < 0.5), float(self.rng.uniform(-4, 4))
        grid_kw = float(self.rng.uniform(-3, 6)) if self.world.mains else 0.0
        return self.build.plan(
            start_t_s=self.world.t_s,
            expires_t_s=self.world.t_s + 1200.0,
            generator_on=(on, on),
            generator_kw=(3.0 * on, 3.0 * on),
            battery_kw=(battery_kw, battery_kw),
            grid_kw=(grid_kw, grid_kw),
        )

    def press(self) -> None:
        """The emergency stop, its release, and in the end somebody who acknowledges."""
        self.orders, self.world.silent = Orders(), set()
        self.world.stop_pressed = True
        self.cycle(1.0)
        assert self.world.state.mode is Mode.SAFE
        self.world.stop_pressed = False
        self.cycle(1.0)
        assert self.world.state.mode is Mode.SAFE
        self.orders = Orders(acknowledge=True)
        self.cycle(1.0)
        assert not self.world.state.emergency_latched
        self.orders = Orders()

    def live(self) -> None:
        for _ in range(CHANGES_PER_LIFE):
            self.change()
            step_s = self.pick([0.0, 0.2, 1.0, 1.0, 1.0, 5.0, 60.0])
            for _ in range(int(self.rng.integers(1, 40))):
                self.cycle(step_s)

    def cycle(self, step_s: float) -> None:
        before = self.world.state
        made = self.world.step(step_s, self.orders, self.advice)
        self.build.check(self.site, made)
        self.check_moves(before, made)
        self.check_generator(before, made)
        self.check_plant(step_s)
        self.check_told(made)

    def check_plant(self, step_s: float) -> None:
        """With every device answering and obeying, limits are left behind within seconds."""
        world, mode = self.world, self.world.state.mode
        calm = not (world.silent or world.stubborn) and step_s <= 5.0
        calm = calm and mode not in (Mode.STARTING, Mode.STOPPED)
        for name, broken in (
            ("export", world.mains and world.grid_kw < -3.05),
            ("reverse power", not world.mains and world.generator_kw < -0.05),
        ):
            lasts = calm and broken
            self.broken_s[name] = self.broken_s[name] + step_s if lasts else 0.0
            assert self.broken_s[name] <= 15.0, name
            if broken:
                self.seen.add(name)

    def check_moves(self, before: State, made: Decision) -> None:
        """Faster than its ramp only where a limit says why."""
        state = made.state
        if before.battery_kw is None or state.battery_kw is None or before.t_s is None:
            return
        step_kw = 2.0 * (self.world.t_s - before.t_s)
        why = next(why for why in made.command.why if why.device == "battery")
        if abs(state.battery_kw - before.battery_kw) > step_kw + 1e-9:
            assert why.clips
            assert why.clips[-1] != "ramp"

    def check_generator(self, before: State, made: Decision) -> None:
        """Minimum run and rest, longest run: only stops, faults and orders to stop interrupt."""
        assert self.site.generator is not None
        was, now = before.generator, made.state.generator
        if was.run == now.run:
            ran_s = self.world.t_s - now.since_s
            assert not now.run or ran_s < self.site.generator.max_run_s
            return
        self.seen.add("run" if now.run else "rest")
        stopped = made.state.emergency_latched or made.state.estimate.emergency_stop
        excused = stopped or now.locked or now.attempts > was.attempts
        excused = excused or made.state.mode in (Mode.STOPPED, Mode.STARTING)
        if now.run:
            assert not stopped
            assert self.switched_s is None or self.world.t_s - self.switched_s >= 600.0
        elif not excused:
            assert self.world.t_s - was.since_s >= 1800.0
        self.switched_s = self.world.t_s

    def check_told(self, made: Decision) -> None:
        state = made.state
        self.seen.add(state.mode.value)
        assert state.mode is Mode.SAFE or not state.emergency_latched
        if state.mode in (Mode.SAFE, Mode.DEGRADED) or state.generator.locked:
            assert made.command.alarm or state.mode in (Mode.STOPPED, Mode.STARTING)


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_long_random_life(build: Any, plant: Any, seed: int) -> None:
    Life(build, plant, seed).live()


def test_such_lives_go_through_everything(build: Any, plant: Any) -> None:
    """The checks above are worth what their lives are."""
    seen: set[str] = set()
    for seed in range(6):
        life = Life(build, plant, seed)
        life.live()
        seen |= life.seen
    assert seen == {mode.value for mode in Mode} | {"run", "rest", "export", "reverse power"}
