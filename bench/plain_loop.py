"""The controller's judgement on the bench's plant, without buses, processes and their delays.

A day takes seconds: for questions to which a month of cycles through the real loop is too slow, and
for what cannot be had there, such as forecasts that are right.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from control.arbiter import arbitrate
from control.dispatch_fleet import Fleet
from control.dispatch_instance import Instance
from control.propose import low_soc, propose
from control.records import Advice, Forecast, Orders, Plan, Quantity, Sample, Series
from control.safety import guard
from control.state import Mode, State
from control.strain import strained_since
from firmware.day_plan import (
    Situation,
    build_instance,
    day_units,
    plan_day,
    slot_start,
    to_plan,
)
from firmware.day_units import Units
from firmware.minutes import Minute, Minutes
from firmware.parameters import site_parameters
from firmware.tariff import Tariff
from firmware.worker import Worker
from hil.baseline import RuleBased, perfectly_seen
from hil.blank_sample import blank_sample
from hil.inputs import load_source, weather_source
from hil.plant import Controls, Plant, PlantParameters, PlantState
from hil.scenario import LoadedScenario
from hil.score import Ledger
from hil.sources import LoadSource, WeatherSource, pv_means_kw

Floats = NDArray[np.float64]
Advise = Callable[[Situation, list[Minute]], Advice]
STEP_S = 10.0
SLOT_S = 900.0
SLOTS_PER_DAY = 96


class World:
    """Weather, load and the true parameters of a scenario's plant."""

    def __init__(self, loaded: LoadedScenario) -> None:
        """Read what the scenario names; raises ScenarioError."""
        self.loaded, head = loaded, loaded.scenario.scenario
        self.start_utc_s, self.duration_s = head.start_utc_s, head.duration_h * 3600.0
        truth = {"seed": head.seed, **loaded.scenario.plant}
        self.parameters = PlantParameters.from_site(loaded.site_table, truth)
        self.weather: WeatherSource = weather_source(loaded, self.parameters.pv, self.start_utc_s)
        self.load: LoadSource = load_source(loaded, self.start_utc_s)

    def plant(self) -> Plant:
        """A plant at its first moment."""
        first = self.start_utc_s
        return Plant(self.parameters, self.weather.at(first), self.load.at(first))

    def drive(
        self, plant: Plant, decide: Callable[[float], Controls]
    ) -> Iterator[tuple[PlantState, float]]:
        """Go through the scenario: the plant's state after each step, and its UTC."""
        for t_s in np.arange(0.0, self.duration_s, STEP_S).tolist():
            utc_s = self.start_utc_s + t_s
            weather, load_kw = self.weather.at(utc_s), self.load.at(utc_s)
            yield plant.step(STEP_S, weather, load_kw, decide(t_s)), utc_s + STEP_S


@dataclass
class Run:
    """What a run cost and did; one point per slot."""

    cost: list[float] = field(default_factory=list)
    soc_frac: list[float] = field(default_factory=list)
    battery_kw: list[float] = field(default_factory=list)
    generator_kw: list[float] = field(default_factory=list)
    grid_kw: list[float] = field(default_factory=list)
    parts: dict[str, float] = field(default_factory=dict)
    fuel_l: float = 0.0
    unserved_kwh: float = 0.0
    starts: int = 0

    def add(self, states: list[PlantState], ledger: Ledger) -> None:
        """Add a slot."""
        last = states[-1]
        self.cost.append(ledger.cost)
        self.soc_frac.append(last.battery.soc_frac if last.battery else 0.0)
        for name in ("battery", "generator"):
            powers = [p.power_kw for s in states if (p := getattr(s, name)) is not None]
            getattr(self, f"{name}_kw").append(float(np.mean(powers or [0.0])))
        self.grid_kw.append(float(np.mean([s.grid_kw for s in states])))

    def end(self, state: PlantState, ledger: Ledger) -> None:
        """Take the totals."""
        self.parts = dict(ledger.parts)
        self.fuel_l, self.unserved_kwh = state.energy.fuel_l, state.energy.unserved_kwh
        self.starts = state.generator.starts if state.generator else 0


def play(world: World, plant: Plant, decide: Callable[[float], Controls]) -> Run:
    """Go through the scenario with one way to decide."""
    run, ledger = Run(), Ledger(world.loaded.site)
    states: list[PlantState] = []
    for state, utc_s in world.drive(plant, decide):
        ledger.update(state, utc_s, STEP_S)
        states.append(state)
        if utc_s % SLOT_S < 1e-6:
            run.add(states, ledger)
            states.clear()
    run.end(plant.state, ledger)
    return run


def play_rules(world: World) -> Run:
    """The rule-based controller."""
    plant = world.plant()
    return play(world, plant, RuleBased(site_parameters(world.loaded.site), plant).controls)


def play_planned(world: World, advise: Advise) -> Run:
    """The controller with this advice."""
    plant = world.plant()
    return play(world, plant, Planned(world, plant, advise).controls)


class Planned:
    """Steers a plant as the loop does, once a step; asks for advice once a slot."""

    def __init__(self, world: World, plant: Plant, advise: Advise) -> None:
        """Begin in automatic mode."""
        self._world, self._plant, self._advise_now = world, plant, advise
        site = world.loaded.site
        self._site = site_parameters(site)
        self._tariff = Tariff(site.prices, site.site.timezone)
        self._zone = ZoneInfo(site.site.timezone)
        self._state = State(mode=Mode.AUTO)
        self._minutes, self._recent = Minutes(), list[Minute]()
        self._advice, self._slot, self._price = Advice(), -1, (0.0, 0.0)

    def controls(self, now_s: float) -> Controls:
        """Decide for the plant as it is now."""
        site, utc_s = self._site, self._world.start_utc_s + now_s
        seen = self._plant.state
        state = replace(self._state, estimate=perfectly_seen(site, seen))
        saving = replace(
            state.generator,
            low_soc=low_soc(site, state),
            strained_since_s=strained_since(site, state, now_s),
        )
        state = replace(state, generator=saving)
        available_kw = sum(inverter.available_kw for inverter in seen.pv)
        minute = self._minutes.add(utc_s, available_kw, seen.load_kw)
        self._recent += [minute] if minute else []
        if int(utc_s // SLOT_S) != self._slot:
            self._slot = int(utc_s // SLOT_S)
            self._price = self._tariff.price_at(utc_s)
            self._advice = self._advise_now(self._situation(state, now_s), self._recent)
            self._recent = []
        proposals = propose(site, state, self._sample(now_s, utc_s), self._advice, Orders())
        verdicts, generator = guard(site, state, arbitrate(proposals, now_s), now_s)
        limits = {pv.name: verdicts[pv.name, Quantity.LIMIT_KW].value for pv in site.pv}
        battery = site.battery
        battery_kw = verdicts[battery.name, Quantity.POWER_KW].value if battery else None
        self._state = replace(
            state,
            t_s=now_s,
            generator=generator,
            battery_kw=battery_kw,
            pv_limit_kw=sum(limits.values()) if limits else None,
        )
        return Controls(pv_limit_kw=limits, battery_kw=battery_kw, generator_run=generator.run)

    def _situation(self, state: State, now_s: float) -> Situation:
        plant, generator = state.estimate, state.generator
        return Situation(
            t_s=now_s,
            utc_s=self._world.start_utc_s + now_s,
            soc_frac=plant.soc_frac,
            wind_kw=plant.wind_kw or 0.0,
            grid_present=plant.grid_present,
            generator_run=generator.run,
            generator_for_s=min(1e9, now_s - generator.since_s),
            generator_usable=not plant.grid_present and plant.generator_available,
        )

    def _sample(self, now_s: float, utc_s: float) -> Sample:
        """What proposals look at beside the estimate."""
        local = datetime.fromtimestamp(utc_s, self._zone)
        hour_local = local.hour + local.minute / 60.0
        return blank_sample(now_s, utc_s, hour_local, self._price)


def forecasting(world: World, history: str, iterations: int) -> Advise:
    """The service's own forecasters and planner."""
    site = world.loaded.site
    settings = site.forecast.model_copy(update={"history": history})
    worker = Worker(site.model_copy(update={"forecast": settings}))
    return lambda situation, minutes: worker.advise(situation, minutes, iterations)


@dataclass(frozen=True)
class Foreseen:
    """A planning problem in which the forecast is the truth."""

    forecast: Forecast
    instance: Instance
    units: Units

    @property
    def fleet(self) -> Fleet:
        """What a solver is given."""
        return self.units.fleet(self.instance)


def foresee(world: World, situation: Situation, horizon_h: float) -> Foreseen:
    """The situation's problem with the true means of the slots to come, so far ahead."""
    site = world.loaded.site
    start_t_s, start_utc_s = slot_start(situation, SLOT_S)
    left = int((world.start_utc_s + world.duration_s - start_utc_s) // SLOT_S)
    count = min(round(horizon_h * 3600.0 / SLOT_S), left)
    pv_kw = pv_means_kw(world.parameters.pv, world.weather.means(start_utc_s, count, SLOT_S))
    load_kw = world.load.means(start_utc_s, count, SLOT_S)
    forecast = Forecast(situation.t_s, start_t_s, SLOT_S, _exactly(pv_kw), _exactly(load_kw))
    tariff = Tariff(site.prices, site.site.timezone)
    instance = build_instance(site, tariff, forecast, situation)
    return Foreseen(forecast, instance, day_units(site, situation))


def _exactly(kw: Floats) -> Series:
    exact = tuple(float(value) for value in kw)
    return Series(exact, exact, exact, "the truth")


def foreseeing(
    world: World,
    iterations: int,
    horizon_h: float,
    tell: Callable[[Foreseen], None] = lambda _: None,
) -> Advise:
    """The service's planner with the true means; `tell` is told of each problem."""
    site = world.loaded.site

    def advise(situation: Situation, _: list[Minute]) -> Advice:
        known = foresee(world, situation, horizon_h)
        tell(known)
        found = plan_day(site, known.fleet, None, spent=lambda _: False, iterations=iterations)
        plan: Plan = to_plan(site, known.forecast, known.instance, *found, known.units)
        return Advice(known.forecast, plan)

    return advise
