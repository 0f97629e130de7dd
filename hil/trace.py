"""Collects a run into columns, one point per `point_s`, as it goes."""

from collections.abc import Mapping

from control.cycle import Decision
from control.follow import current_slot
from control.records import Advice, Event, Quantity, Sample, Severity
from hil.plant import PlantState
from hil.result import ForecastShot, Happening
from hil.score import Ledger

NOWCAST_MINUTES = (1, 5, 15)  # ahead, of those that are scored
SHOT_S = 6 * 3600.0  # a forecast is kept for the report so often


class Means:
    """Columns of time-weighted means."""

    def __init__(self, point_s: float) -> None:
        self._point_s = point_s
        self.utc_s: list[float] = []
        self.columns: dict[str, list[float]] = {}
        self._sums: dict[str, float] = {}
        self._weight_s = 0.0

    def add(self, end_utc_s: float, dt_s: float, values: Mapping[str, float]) -> None:
        """Add one step that ended at `end_utc_s`; a point is made when its time is full."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * dt_s
        self._weight_s += dt_s
        if self._weight_s >= self._point_s - 1e-6:
            self.utc_s.append(end_utc_s - self._weight_s)
            for name, total in self._sums.items():
                self.columns.setdefault(name, []).append(total / self._weight_s)
            self._sums, self._weight_s = {}, 0.0


def truth_values(state: PlantState, ledger: Ledger) -> dict[str, float]:
    """What the report shows of the plant."""
    return {
        "load_kw": state.load_kw,
        "served_kw": state.served_kw,
        "unserved_kw": state.unserved_kw,
        "pv_kw": sum(inverter.power_kw for inverter in state.pv),
        "pv_available_kw": sum(inverter.available_kw for inverter in state.pv),
        "wind_kw": sum(inverter.power_kw for inverter in state.wind),
        "battery_kw": state.battery.power_kw if state.battery else 0.0,
        "generator_kw": state.generator.power_kw if state.generator else 0.0,
        "grid_kw": state.grid_kw,
        "soc_frac": state.battery.soc_frac if state.battery else 0.0,
        "ghi_w_m2": state.weather.ghi_w_m2,
        "frequency_hz": state.bus_frequency_hz,
        "price_buy_per_kwh": ledger.price_buy_per_kwh,
        "price_sell_per_kwh": ledger.price_sell_per_kwh,
        "cost": ledger.cost,
        **_units(state),
    }


def _units(state: PlantState) -> dict[str, float]:
    """Each battery and each generator, where there are several."""
    found: dict[str, float] = {}
    for name, battery in state.batteries.items():
        found |= {f"{name}.kw": battery.power_kw, f"{name}.soc_frac": battery.soc_frac}
    return found | {f"{name}.kw": each.power_kw for name, each in state.generators.items()}


def rule_based_values(state: PlantState, ledger: Ledger) -> dict[str, float]:
    """What the report shows of the rule-based controller's plant."""
    return {
        "soc_frac": state.battery.soc_frac if state.battery else 0.0,
        "battery_kw": state.battery.power_kw if state.battery else 0.0,
        "generator_kw": state.generator.power_kw if state.generator else 0.0,
        "grid_kw": state.grid_kw,
        "cost": ledger.cost,
    }


class ControllerTrace:
    """What the controller thought, said and was advised: last values per point."""

    def __init__(self, point_s: float) -> None:
        self._point_s = point_s
        self.columns: dict[str, list[float | None]] = {}
        self.utc_s: list[float] = []
        self.modes: list[tuple[float, str, str]] = []
        self.happenings: list[Happening] = []
        self.forecasts: list[ForecastShot] = []
        self._next_utc_s = float("-inf")
        self._shot_utc_s = float("-inf")
        self._setpoints: dict[Quantity, float] = {}

    def add(
        self,
        sample: Sample,
        advice: Advice,
        decision: Decision,
        notices: tuple[Event, ...] = (),
    ) -> None:
        """Add one cycle; `notices` are events from outside the decision."""
        state = decision.state
        for event in (*notices, *decision.events):
            severity = Severity(event.severity).value
            self.happenings.append(Happening(sample.utc_s, severity, event.key, event.text))
        if not self.modes or self.modes[-1][1:] != (state.mode.value, state.mode_reason):
            self.modes.append((sample.utc_s, state.mode.value, state.mode_reason))
        if sample.utc_s < self._next_utc_s - 1e-6:
            return
        self._next_utc_s = sample.utc_s + self._point_s
        self.utc_s.append(sample.utc_s)
        for name, value in self._values(sample, advice, decision).items():
            self.columns.setdefault(name, []).append(value)
        self._shoot(sample, advice)

    def _values(
        self, sample: Sample, advice: Advice, decision: Decision
    ) -> dict[str, float | None]:
        state = decision.state
        slot = current_slot(advice.plan, sample.t_s)
        values: dict[str, float | None] = {
            "battery_setpoint_kw": state.battery_kw,
            "pv_limit_kw": state.pv_limit_kw,
            "generator_run": float(state.generator.run),
            "soc_frac": state.estimate.soc_frac,
            "load_kw": state.estimate.load_kw,
            "plan_battery_kw": slot.battery_kw if slot else None,
            "plan_grid_kw": slot.grid_kw if slot else None,
            "plan_soc_frac": advice.plan.soc_frac[slot.index] if slot and advice.plan else None,
        }
        ahead = state.sky.ahead
        fresh = ahead if ahead is not None and ahead.is_fresh(sample.t_s) else None
        age_s = sample.t_s - fresh.t_s if fresh else None
        for minute in NOWCAST_MINUTES:
            values[f"nowcast{minute}_age_s"] = age_s
            for quantile in ("p10_kw", "p50_kw", "p90_kw"):
                column = getattr(fresh.minutes, quantile) if fresh else None
                values[f"nowcast{minute}_{quantile}"] = column[minute - 1] if column else None
        return values | _forecast_now(advice, sample.t_s)

    def _shoot(self, sample: Sample, advice: Advice) -> None:
        forecast = advice.forecast
        if forecast is None or sample.utc_s - self._shot_utc_s < SHOT_S:
            return
        self._shot_utc_s = sample.utc_s
        pv, load = forecast.pv, forecast.load
        self.forecasts.append(
            ForecastShot(
                sample.utc_s - sample.t_s + forecast.start_t_s,
                forecast.step_s,
                (pv.p10_kw, pv.p50_kw, pv.p90_kw),
                (load.p10_kw, load.p50_kw, load.p90_kw),
                pv.source,
                load.source,
            )
        )


def _forecast_now(advice: Advice, now_s: float) -> dict[str, float | None]:
    """What the newest forecast says of this moment."""
    values: dict[str, float | None] = {}
    forecast = advice.forecast
    index = int((now_s - forecast.start_t_s) // forecast.step_s) if forecast else -1
    for name in ("pv", "load"):
        series = getattr(forecast, name) if forecast else None
        for quantile in ("p10_kw", "p50_kw", "p90_kw"):
            column = getattr(series, quantile) if series else ()
            values[f"{name}_{quantile}"] = column[index] if 0 <= index < len(column) else None
    return values
