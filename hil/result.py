"""What a run on the bench leaves behind for its summary and its report."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of the controller, or one fault of the scenario, at its time."""

    utc_s: float
    severity: str  # info, warning, alarm; fault for what the scenario did
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class ForecastShot:
    """One forecast as it was made: quantiles per step from `start_utc_s` on."""

    start_utc_s: float
    step_s: float
    pv_kw: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]  # p10, p50, p90
    load_kw: tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]
    pv_source: str
    load_source: str


@dataclass(frozen=True, slots=True)
class Result:
    """One run. Columns are means or last values per point of `utc_s`; None is unknown.

    truth: load_kw, served_kw, unserved_kw, pv_kw, pv_available_kw, wind_kw, battery_kw,
    generator_kw, grid_kw, soc_frac, ghi_w_m2, frequency_hz, price_buy_per_kwh,
    price_sell_per_kwh. controller: battery_setpoint_kw, pv_limit_kw, generator_run (0 or 1),
    soc_frac, load_kw, plan_battery_kw, plan_soc_frac, plan_grid_kw, pv_p10_kw, pv_p50_kw, pv_p90_kw
    and load_... (what the newest forecast said of this moment). rule_based: soc_frac, battery_kw,
    generator_kw, grid_kw, cost (so far); cost of the controller so far is in `controller`.
    """

    title: str
    site_name: str
    currency: str
    timezone: str
    summary: Mapping[str, object]
    utc_s: list[float]
    truth: Mapping[str, list[float]]
    controller: Mapping[str, list[float | None]]
    rule_based: Mapping[str, list[float]]
    modes: list[tuple[float, str, str]]  # since (UTC), mode, reason
    happenings: list[Happening]
    forecasts: list[ForecastShot]
    lateness_ms: Mapping[str, float]  # count, p50, p99, p999, max; empty in virtual time
    stages_ms: Mapping[str, Mapping[str, float]]
    violations: Mapping[str, int] = field(default_factory=dict)  # per limit
    cost_parts: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # ours, rules
