"""Figures for Prometheus, from the status document and the loop's histograms.

Base units and names as Prometheus recommends (https://prometheus.io/docs/practices/naming):
watts, joules, seconds, ratios. What is unknown is left out, never 0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from control.obedience import FLAGGED
from control.state import Mode
from firmware.histogram import Histogram
from firmware.loop import Telemetry, Timing
from firmware.store_records import COUNTERS, GAP_CYCLES
from firmware.web.http_request import Response

W_PER_KW = 1000.0
J_PER_KWH = 3.6e6
INDEX = b"figures for Prometheus are at /metrics\n"

Labelled = Mapping[Any, float | None]  # label values, as a tuple -> value


class Meter:
    """Publisher: the newest telemetry, and energy since the start of the process."""

    def __init__(self, period_s: float) -> None:
        self.latest: Telemetry | None = None
        self.joules = dict.fromkeys(COUNTERS, 0.0)
        self._gap_s = GAP_CYCLES * period_s

    def publish(self, telemetry: Telemetry) -> None:
        """Take one cycle; a time without cycles is unknown, and counts for nothing."""
        before, self.latest = self.latest, telemetry
        passed_s = telemetry.sample.t_s - before.sample.t_s if before else 0.0
        if not 0.0 < passed_s <= self._gap_s:
            return
        plant = telemetry.decision.state.estimate
        for name, (power, sign) in COUNTERS.items():
            power_kw = getattr(plant, power)
            if power_kw is not None and sign * power_kw > 0:
                self.joules[name] += W_PER_KW * sign * power_kw * passed_s

    def close(self) -> None:
        """Nothing is under way."""


class Figures(Collector):
    """Makes the metrics anew for each scrape."""

    def __init__(
        self,
        meter: Meter,
        document: Callable[[Telemetry], Mapping[str, Any]],
        timing: Timing,
        monotonic: Callable[[], float],
    ) -> None:
        self._meter, self._document = meter, document
        self._timing, self._monotonic = timing, monotonic

    def collect(self) -> Iterator[Metric]:
        """Yield what is known; nothing before the first cycle."""
        telemetry = self._meter.latest
        if telemetry is None:
            return
        status = self._document(telemetry)
        yield InfoMetricFamily(
            "nanogrid_build",
            "Version and site.",
            {name: status[name] for name in ("version", "site")},
        )
        age_s = max(0.0, self._monotonic() - telemetry.sample.t_s)
        yield _gauge("last_cycle_age_seconds", "Time since the last cycle.", age_s)
        yield from _plant(status)
        yield from _setpoints(status["setpoints"])
        yield from _devices(status["devices"])
        yield from _advice(status)
        yield from _link(status.get("link"))
        yield from _trading(status["trading"])
        yield _energy(self._meter.joules.copy())
        yield from _loop(self._timing)


class MetricsAnswer:
    """Answers a scrape, from a registry of its own."""

    def __init__(self, figures: Figures) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        ProcessCollector(registry=self._registry)

    def __call__(self, path: str) -> Response | None:
        """The answer to one path; None where there is nothing."""
        if path == "/":
            return Response(HTTPStatus.OK, INDEX)
        if path != "/metrics":
            return None
        return Response(HTTPStatus.OK, generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4)


def _gauge(name: str, about: str, value: float | None) -> GaugeMetricFamily:
    return _gauges(name, about, (), {(): value})


def _gauges(name: str, about: str, labels: Sequence[str], values: Labelled) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"nanogrid_{name}", about, labels=labels)
    for key, value in values.items():
        if value is not None:
            family.add_metric(key, float(value))
    return family


def _watts(kw: float | None) -> float | None:
    return None if kw is None else W_PER_KW * kw


def _plant(status: Mapping[str, Any]) -> Iterator[Metric]:
    mode, battery, grid = status["mode"]["name"], status["battery"] or {}, status["grid"] or {}
    powers = {(name,): _watts(kw) for name, kw in status["power_kw"].items()}
    about = "Power; sources above 0, battery charging and export below."
    yield _gauges("power_watts", about, ["at"], powers)
    about = "Energy in the battery, as a share of its capacity."
    yield _gauge("battery_state_of_charge_ratio", about, battery.get("soc_frac"))
    limits = {(way,): _watts(battery.get(f"{way}_limit_kw")) for way in ("charge", "discharge")}
    yield _gauges("battery_limit_watts", "The battery's own live limits.", ["direction"], limits)
    yield from _units(status)
    yield _gauge("grid_present", "1: the grid is there.", grid.get("present"))
    about = "Sunshine at the sensor."
    yield _gauge("irradiance_watts_per_square_meter", about, status["irradiance_w_m2"])
    about = "What a kWh costs and brings, in the site's currency."
    prices = {(way,): price for way, price in status["price_per_kwh"].items()}
    yield _gauges("price_per_kilowatt_hour", about, ["direction"], prices)
    states = {each.value: each.value == mode for each in Mode}
    yield StateSetMetricFamily("nanogrid_mode", "The mode that holds is 1.", states)
    yield _gauge("alarms", "Alarms that stand.", len(status["alarms"]))


def _units(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Each battery and each generator by itself, also where there is one."""
    batteries, sets = status["batteries"], status["generators"]
    powers = {(each["name"],): _watts(each["power_kw"]) for each in (*batteries, *sets)}
    yield _gauges("unit_power_watts", "Power of each battery and generator.", ["device"], powers)
    charges = {(each["name"],): each["soc_frac"] for each in batteries}
    about = "Energy in each battery, as a share of its capacity."
    yield _gauges("unit_state_of_charge_ratio", about, ["device"], charges)
    locked = {(each["name"],): bool(each["locked"]) for each in sets}
    yield _gauges("generator_locked", "1: no start is tried.", ["device"], locked)


def _setpoints(setpoints: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    powers = {
        (item["device"], item["quantity"].removesuffix("_kw")): _watts(item["commanded"])
        for item in setpoints
        if item["quantity"].endswith("_kw")
    }
    about = "Commanded power, or limit of it."
    yield _gauges("setpoint_watts", about, ["device", "quantity"], powers)
    runs = {(item["device"],): item["commanded"] for item in setpoints if item["quantity"] == "run"}
    yield _gauges("setpoint_run", "1: told to run.", ["device"], runs)
    ignored = {
        (item["device"], item["quantity"].removesuffix("_kw")): item["obeyed"]["status"] in FLAGGED
        for item in setpoints
        if item["obeyed"]
    }
    about = "1: the device does not acknowledge it, or the measured power does not follow."
    yield _gauges("setpoint_disobeyed", about, ["device", "quantity"], ignored)


def _devices(devices: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    online = {(each["name"],): each.get("online") for each in devices}
    yield _gauges("device_online", "1: the last exchange succeeded.", ["device"], online)
    good = {(each["name"],): each["quality"] == "good" for each in devices}
    yield _gauges("device_good", "1: its measurement is used.", ["device"], good)
    ages = {(each["name"],): each["age_s"] for each in devices}
    yield _gauges("device_measurement_age_seconds", "Age of what was read.", ["device"], ages)
    about = "Exchanges with a device that failed."
    failed = CounterMetricFamily("nanogrid_device_failed_exchanges", about, labels=["device"])
    for each in devices:
        if "failed_exchanges" in each:
            failed.add_metric([each["name"]], each["failed_exchanges"])
    yield failed


def _advice(status: Mapping[str, Any]) -> Iterator[Metric]:
    plan, forecast = status["plan"] or {}, status["forecast"] or {}
    yield _gauge("plan_age_seconds", "Time since the plan was made.", plan.get("age_s"))
    valid = bool(plan) and not plan["expired"]
    yield _gauge("plan_valid", "1: there is a plan that has not expired.", valid)
    yield _gauge("forecast_age_seconds", "Time since the forecast was made.", forecast.get("age_s"))


def _link(link: Mapping[str, Any] | None) -> Iterator[Metric]:
    if link is None:
        return
    yield _gauge("link_connected", "1: the MQTT broker is connected.", link["connected"])
    yield _gauge("link_waiting_messages", "Messages that wait for it.", link["waiting"])
    about = "Messages given up for want of room."
    yield CounterMetricFamily("nanogrid_link_dropped_messages", about, link["dropped"])


def _trading(trading: Mapping[str, Any] | None) -> Iterator[Metric]:
    if trading is None:
        return
    yield _gauge("trading_in_market", "1: nothing keeps it from trading.", not trading["problem"])
    now = trading["now"] or {}
    about = "Power of the trade that is delivered now; bought above 0."
    yield _gauge("traded_watts", about, _watts(now.get("bought_kw", 0.0)))
    about = "Price of the last trade, in the site's currency."
    price = trading["last_price_per_kwh"]
    yield _gauge("traded_price_per_kilowatt_hour", about, price)
    about = "Energy of committed trades since the start of the process."
    family = CounterMetricFamily("nanogrid_traded_joules", about, labels=["direction"])
    for way in ("bought", "sold"):
        family.add_metric([way], J_PER_KWH * trading[f"{way}_kwh"])
    yield family


def _energy(joules: Mapping[str, float]) -> Metric:
    about = "Energy since the start of the process."
    family = CounterMetricFamily("nanogrid_energy_joules", about, labels=["flow"])
    for name, value in joules.items():
        family.add_metric([name], value)
    return family


def _loop(timing: Timing) -> Iterator[Metric]:
    yield CounterMetricFamily("nanogrid_cycles", "Control cycles.", timing.cycles)
    about = "Ticks of the loop that no cycle was run at."
    yield CounterMetricFamily("nanogrid_cycles_missed", about, timing.missed)
    about = "How late cycles begin."
    late = HistogramMetricFamily("nanogrid_cycle_lateness_seconds", about)
    _add(late, (), timing.lateness)
    yield late
    about = "Where a cycle's time goes."
    stages = HistogramMetricFamily("nanogrid_cycle_stage_seconds", about, labels=["stage"])
    for name, stage in timing.stages.items():
        _add(stages, (name,), stage)
    yield stages


def _add(family: HistogramMetricFamily, labels: Sequence[str], found: Histogram) -> None:
    sum_s, counts = found.sum_s, found.cumulative()
    buckets = [(f"{edge_s:g}", count) for edge_s, count in counts]
    family.add_metric(labels, [*buckets, ("+Inf", max(found.count, counts[-1][1]))], sum_s)
