"""A few real cycles of the example site, for what records, replays and publishes them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from control.cycle import decide
from control.records import (
    Ack,
    Advice,
    Applied,
    BatteryMeasurement,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Observed,
    Orders,
    Quality,
    Sample,
)
from control.site import SiteParameters
from control.state import State
from firmware.config import Site, load_site
from firmware.loop import Telemetry
from firmware.parameters import site_parameters

EXAMPLE = Path(__file__).parents[2] / "examples" / "site.toml"
START_T_S = 5000.0
START_UTC_S = 1_760_000_000.0


@pytest.fixture(scope="session")
def site() -> Site:
    """The example."""
    return load_site(EXAMPLE)


@pytest.fixture(scope="session")
def parameters(site: Site) -> SiteParameters:
    """What decisions know of the example."""
    return site_parameters(site)


def good(value: object) -> Observed[object]:
    return Observed(value, 0.1, Quality.GOOD, "")


def sample(cycle: int, load_kw: float = 1.2, pv_kw: float = 2.0) -> Sample:
    """A fair day beside the grid, a second per cycle; the grid takes what is left."""
    return Sample(
        cycle=cycle,
        t_s=START_T_S + cycle,
        utc_s=START_UTC_S + cycle,
        irradiance_w_m2=good(500.0),
        emergency_stop=good(False),
        pv=(good(InverterMeasurement(pv_kw, 5.0, state="running")),),
        wind=(),
        batteries=(good(BatteryMeasurement(0.0, 0.5, 4.0, 4.0, state="running")),),
        generators=(good(GeneratorMeasurement(0.0, "stopped", "auto")),),
        grid=good(GridMeasurement(load_kw - pv_kw, 230.0, 50.0)),
        sun_elevation_deg=30.0,
        hour_local=11.0,
        price_buy_per_kwh=0.3,
        price_sell_per_kwh=0.06,
    )


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    """`sample` above."""
    return sample


@pytest.fixture(scope="session")
def run_cycles(parameters: SiteParameters) -> Callable[..., list[Telemetry]]:
    """Decide on `count` samples; whoever commands is obeyed, and the advice changes once."""

    def run(count: int) -> list[Telemetry]:
        state, applied, found = State(), Applied(), []
        advice = Advice(detail="no advice yet")
        for cycle in range(count):
            if cycle == count // 2:
                advice = Advice(detail="the planning process died")
            orders = Orders(acknowledge=cycle == 3)
            seen = sample(cycle, load_kw=1.0 + 0.1 * (cycle % 7), pv_kw=2.0 / (1 + cycle % 3))
            decision = decide(parameters, state, seen, applied, advice, orders)
            found.append(Telemetry(state, seen, applied, advice, orders, decision))
            state = decision.state
            applied = tuple(
                Ack(s.device, s.quantity, s.value, s.value, seen.t_s)
                for s in decision.command.setpoints
            )
        return found

    return run


@pytest.fixture
def bare(site: Site) -> Site:
    """The example without Pi: no converter, no pins, a generator that is started over its bus."""
    generators = tuple(g.model_copy(update={"start": "gencomm"}) for g in site.generator)
    return site.model_copy(
        update={
            "irradiance": None,
            "gpio": type(site.gpio)(),
            "generator": generators,
        }
    )
