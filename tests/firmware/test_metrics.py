"""What Prometheus is told."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from control.site import SiteParameters
from control.state import Mode
from drivers.station import DeviceImage
from firmware.loop import Telemetry, Timing
from firmware.metrics import Figures, Meter, MetricsAnswer
from firmware.status import Machine, Moment, status

Run = Callable[[int], list[Telemetry]]
UNITS = ("_watts", "_ratio", "_seconds", "_joules", "_info", "_per_kilowatt_hour", "_square_meter")
PLAIN = (
    "nanogrid_generator_locked",  # counts and flags have no unit
    *("nanogrid_mode", "nanogrid_alarms", "nanogrid_cycles", "nanogrid_cycles_missed"),
    *("nanogrid_grid_present", "nanogrid_plan_valid", "nanogrid_setpoint_run"),
    *("nanogrid_setpoint_disobeyed", "nanogrid_device_online", "nanogrid_device_good"),
    *("nanogrid_device_failed_exchanges", "nanogrid_build", "nanogrid_link_connected"),
    *("nanogrid_link_waiting_messages", "nanogrid_link_dropped_messages"),
)
PERIOD_S = 1.0


class Scraped:
    """A few cycles, and what a scrape finds of them."""

    def __init__(self, parameters: SiteParameters, cycles: list[Telemetry]) -> None:
        self.meter, self.timing = Meter(PERIOD_S), Timing()
        self.parameters = parameters
        self.change: Callable[[dict[str, Any]], None] = lambda _: None
        self._now_s = cycles[-1].sample.t_s + 0.25
        for telemetry in cycles:
            self.meter.publish(telemetry)
            self.timing.cycles += 1
        figures = Figures(self.meter, self.document, self.timing, lambda: self._now_s)
        self.answer = MetricsAnswer(figures)

    def document(self, seen: Telemetry) -> Mapping[str, Any]:
        state, command = seen.decision.state, seen.decision.command
        moment = Moment(seen.sample, seen.applied, seen.advice, state, command)
        images = {"battery": DeviceImage("battery", online=True, errors=3)}
        made = status("site", "1.2", self.parameters, moment, Machine(images, {}))
        self.change(made)
        return made

    def families(self) -> dict[str, Metric]:
        response = self.answer("/metrics")
        assert response is not None
        assert response.kind.startswith("text/plain; version=0.0.4")
        return {each.name: each for each in text_string_to_metric_families(response.body.decode())}

    def samples(self) -> dict[tuple[str, tuple[str, ...]], float]:
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in self.families().values()
            for sample in family.samples
        }


@pytest.fixture
def scraped(parameters: SiteParameters, run_cycles: Run) -> Scraped:
    return Scraped(parameters, run_cycles(20))


def test_the_plant_in_base_units(scraped: Scraped) -> None:
    found, plant = scraped.samples(), scraped.meter.latest
    assert plant is not None
    estimate = plant.decision.state.estimate
    assert estimate.load_kw is not None
    assert found["nanogrid_power_watts", ("load",)] == pytest.approx(1000 * estimate.load_kw)
    assert found["nanogrid_battery_state_of_charge_ratio", ()] == 0.5
    assert found["nanogrid_last_cycle_age_seconds", ()] == pytest.approx(0.25)
    assert found["nanogrid_build_info", ("site", "1.2")] == 1.0
    assert found["nanogrid_device_online", ("battery",)] == 1.0
    assert found["nanogrid_device_failed_exchanges_total", ("battery",)] == 3.0
    assert found["nanogrid_cycles_total", ()] == 20.0
    assert found["nanogrid_plan_valid", ()] == 0.0


def test_names_end_with_their_units(scraped: Scraped) -> None:
    for name, family in scraped.families().items():
        assert family.documentation
        if not name.startswith("process_"):
            assert name in PLAIN or name.endswith(UNITS), name


def test_exactly_one_mode_holds(scraped: Scraped) -> None:
    modes = {key[1][0]: value for key, value in scraped.samples().items() if "mode" in key[0]}
    assert set(modes) == {mode.value for mode in Mode}
    assert sum(modes.values()) == 1.0


def test_what_is_unknown_is_left_out(scraped: Scraped) -> None:
    def forget(document: dict[str, Any]) -> None:
        document["power_kw"]["load"] = None
        document["battery"]["soc_frac"] = None
        document["irradiance_w_m2"] = None

    scraped.change = forget
    names = {key[0] for key in scraped.samples()}
    assert ("nanogrid_power_watts", ("load",)) not in scraped.samples()
    assert "nanogrid_battery_state_of_charge_ratio" not in names
    assert "nanogrid_irradiance_watts_per_square_meter" not in names
    assert "nanogrid_plan_age_seconds" not in names


def test_energy_is_power_times_time(parameters: SiteParameters, run_cycles: Run) -> None:
    cycles = run_cycles(20)
    found = Scraped(parameters, cycles).samples()
    powers_kw = [cycle.decision.state.estimate.load_kw or 0.0 for cycle in cycles[1:]]
    total = found["nanogrid_energy_joules_total", ("load",)]
    assert total == pytest.approx(1000.0 * sum(powers_kw) * PERIOD_S)


def test_a_gap_counts_for_nothing(parameters: SiteParameters, run_cycles: Run) -> None:
    first, *_, last = run_cycles(20)
    found = Scraped(parameters, [first, last]).samples()
    assert found["nanogrid_energy_joules_total", ("load",)] == 0.0


def test_histograms_add_up(scraped: Scraped) -> None:
    for seconds in (0.0, 2e-5, 0.003, 0.3, 500.0):
        scraped.timing.lateness.add(seconds)
        scraped.timing.stages["decide"].add(seconds)
    family = scraped.families()["nanogrid_cycle_lateness_seconds"]
    buckets = [s for s in family.samples if s.name.endswith("_bucket")]
    edges = [float(s.labels["le"]) for s in buckets]
    counts = [s.value for s in buckets]
    assert edges == sorted(edges)
    assert counts == sorted(counts)
    assert dict(zip(edges, counts, strict=True))[0.005] == 3
    assert edges[-1] == float("inf")
    assert counts[-1] == 5
    found = scraped.samples()
    assert found["nanogrid_cycle_lateness_seconds_count", ()] == 5
    assert found["nanogrid_cycle_lateness_seconds_sum", ()] == pytest.approx(500.30302)
    assert found["nanogrid_cycle_stage_seconds_count", ("decide",)] == 5


def test_the_link_is_there_when_it_is_wanted(scraped: Scraped) -> None:
    assert not any("link" in name for name, _ in scraped.samples())
    link = {"connected": False, "waiting": 7, "dropped": 2}
    scraped.change = lambda document: document.update(link=link)
    found = scraped.samples()
    assert found["nanogrid_link_connected", ()] == 0.0
    assert found["nanogrid_link_waiting_messages", ()] == 7.0
    assert found["nanogrid_link_dropped_messages_total", ()] == 2.0


def test_before_the_first_cycle_there_is_only_the_process(parameters: SiteParameters) -> None:
    meter = Meter(PERIOD_S)
    answer = MetricsAnswer(Figures(meter, lambda _: {}, Timing(), lambda: 0.0))
    response = answer("/metrics")
    assert response is not None
    assert b"process_" in response.body
    assert b"nanogrid_" not in response.body
    assert answer("/else") is None
