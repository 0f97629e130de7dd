"""Nothing pushes power into a set that holds an island's bus, whatever the load does meanwhile."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from control.arbiter import arbitrate
from control.propose import propose
from control.records import Advice, Orders, Quantity
from control.safety import guard
from control.site import BatteryParameters, GeneratorParameters, PvParameters, SiteParameters
from control.state import Mode, State
from hil.baseline import perfectly_seen
from hil.blank_sample import blank_sample
from hil.plant import Controls, Plant, PlantParameters, PlantState, Weather

NIGHT = Weather(0.0, 0.0, 15.0, 0.0, grid_present=False)
NOON = replace(NIGHT, ghi_w_m2=950.0, plane_w_m2=950.0)
SITE = SiteParameters(
    period_s=1.0,
    lease_s=60.0,
    hold_s=40.0,
    start_up_s=60.0,
    pv=(PvParameters("roof", 8.0),),
    battery=BatteryParameters("battery", 14.0, 6.0, 6.0, 0.15, 0.95, 0.25, 2.0, True),
    generator=GeneratorParameters(
        "genset", True, 8.0, 0.3, 1800.0, 600.0, 60.0, 120.0, 36000.0, 120.0
    ),
)
TABLES = {
    "pv": [{"name": "roof", "rated_kw": 8.0}],
    "battery": [
        {
            "name": "battery",
            "capacity_kwh": 14.0,
            "charge_max_kw": 6.0,
            "discharge_max_kw": 6.0,
            "soc_min_frac": 0.15,
        }
    ],
    "generator": [{"name": "genset", "rated_kw": 8.0}],
}


@dataclass
class Island:
    """The plant in steps of a second; the controller looks, and is obeyed, once a period."""

    period_s: int
    weather: Weather = NIGHT
    load_kw: float = 1.0
    soc_frac: float = 0.2
    charge_max_kw: float = 6.0
    throttles: bool = True
    offset_s: int = 0  # of the cycles: what happens falls anywhere between two of them
    age_s: int = 0  # of the readings

    def __post_init__(self) -> None:
        battery = SITE.battery
        assert battery is not None
        battery = replace(battery, charge_max_kw=self.charge_max_kw)
        self._site = replace(SITE, period_s=float(self.period_s), battery=battery)
        tables = {
            **TABLES,
            "battery": [{**TABLES["battery"][0], "charge_max_kw": self.charge_max_kw}],
        }
        truth = {
            "exact": True,
            "battery": {"initial_soc_frac": self.soc_frac},
            "pv": {"roof": {"throttles": self.throttles}},
        }
        parameters = PlantParameters.from_site(tables, truth)
        self.plant = Plant(parameters, self.weather, self.load_kw)
        self._state = State(mode=Mode.AUTO)
        self._told, self._t_s = Controls(), 0
        self._seen = [self.plant.state] * (self.age_s + 1)

    def live(self, seconds: float, until: Callable[[PlantState], bool] | None = None) -> None:
        """Go on; ends early when `until` says so."""
        for _ in range(round(seconds)):
            if self._t_s == 0 or self._t_s % self.period_s == self.offset_s:
                self._told = self._decide(float(self._t_s))
            self._t_s += 1
            seen = self.plant.step(1.0, self.weather, self.load_kw, self._told)
            self._seen = [*self._seen[1:], seen]
            assert seen.generator is not None
            assert seen.generator.alarm == "", (self._t_s, seen.generator.power_kw, self._told)
            if until is not None and until(seen):
                return
        assert until is None

    def _decide(self, now_s: float) -> Controls:
        site = self._site
        state = replace(self._state, estimate=perfectly_seen(site, self._seen[0]))
        wishes = propose(
            site, state, blank_sample(now_s, 1_778_000_000.0 + now_s), Advice(), Orders()
        )
        verdicts, generator = guard(site, state, arbitrate(wishes, now_s), now_s)
        limit_kw = verdicts["roof", Quantity.LIMIT_KW].value
        battery_kw = verdicts["battery", Quantity.POWER_KW].value
        self._state = replace(
            state, t_s=now_s, generator=generator, battery_kw=battery_kw, pv_limit_kw=limit_kw
        )
        return Controls(
            pv_limit_kw={"roof": limit_kw}, battery_kw=battery_kw, generator_run=generator.run
        )


def carries(seen: PlantState) -> bool:
    return seen.generator is not None and seen.generator.phase == "running"


def switch_often(island: Island, high_kw: float, low_kw: float) -> None:
    """At all moments within a cycle."""
    for _ in range(20):
        island.load_kw = high_kw
        island.live(37)
        island.load_kw = low_kw
        island.live(41)


PERIODS = [(1, 0), (2, 0), (2, 1), *((period_s, 3) for period_s in (5, 10, 20)), (5, 1), (20, 8)]
each_period = pytest.mark.parametrize(("period_s", "offset_s"), PERIODS)
each_throttling = pytest.mark.parametrize("throttles", [True, False])


@each_period
def test_a_load_that_falls_as_the_set_takes_the_bus_pushes_nothing_into_it(
    period_s: int, offset_s: int
) -> None:
    island = Island(period_s, load_kw=7.0, offset_s=offset_s)
    island.live(600, carries)
    island.load_kw = 1.4
    island.live(600)


@each_period
def test_a_load_beside_the_set_may_fall_at_once(period_s: int, offset_s: int) -> None:
    island = Island(period_s, load_kw=7.5, offset_s=offset_s)
    island.live(600, carries)
    switch_often(island, 7.5, 0.3)


@pytest.mark.parametrize(("period_s", "age_s"), [(1, 0), (1, 1), (2, 0), (2, 2)])
def test_a_load_beyond_the_rating_may_fall_at_once(period_s: int, age_s: int) -> None:
    """With longer cycles it may not: `nanogrid check` says so."""
    island = Island(period_s, load_kw=11.7, age_s=age_s)
    island.live(600, carries)
    switch_often(island, 11.7, 1.4)


@each_throttling
@each_period
def test_strong_sun_pushes_nothing_into_a_set_whose_battery_charges_slowly(
    period_s: int, offset_s: int, throttles: bool
) -> None:
    island = Island(
        period_s, load_kw=1.5, charge_max_kw=3.0, throttles=throttles, offset_s=offset_s
    )
    island.live(600, carries)
    island.weather = NOON
    island.live(600)
    island.load_kw = 0.4
    island.live(600)


@each_throttling
@each_period
def test_a_set_that_takes_the_bus_under_strong_sun_finds_its_least_load(
    period_s: int, offset_s: int, throttles: bool
) -> None:
    sun = replace(NOON, plane_w_m2=600.0)
    island = Island(period_s, sun, 1.5, 0.2, 3.0, throttles=throttles, offset_s=offset_s)
    island.live(600, carries)
    island.live(600)
