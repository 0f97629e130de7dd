"""Watches one run from outside: the plant, the rule-based controller's plant, the money."""

from pathlib import Path

from control.site import SiteParameters
from firmware.parameters import site_parameters
from hil.baseline import RuleBased
from hil.plant import Energy, Plant, PlantState
from hil.result import Happening, Result
from hil.score import HOUR_S, Ledger, Violations, balance_error_frac
from hil.trace import ControllerTrace, Means, rule_based_values, truth_values
from hil.world import Watcher, World

POINT_S = 60.0


class Observer:
    """Attach it to a world before it advances; `result` when the run is over."""

    def __init__(self, world: World) -> None:
        self._world = world
        site = world.loaded.site
        self._parameters: SiteParameters = site_parameters(site)
        self._stored_at_start_kwh = _stored_kwh(world.plant.state)
        self.ledger, self.rule_ledger = Ledger(site), Ledger(site)
        self.violations = Violations(site)
        self._truth, self._rules = Means(POINT_S), Means(POINT_S)
        self.controller = ControllerTrace(POINT_S)
        self._rule_based = self._start_rule_based()
        self.rule_watchers: list[Watcher] = []  # of the rule-based controller's plant
        self._next_decision_s = 0.0
        self._rule_controls = self._rule_based.controls(0.0)
        world.watchers.append(self._watch)

    def _start_rule_based(self) -> RuleBased:
        """A second plant with the same parameters and the same first moment."""
        first = self._world.plant.state
        return RuleBased(
            self._parameters,
            Plant(self._world.parameters, first.weather, first.load_kw),
        )

    def _watch(self, state: PlantState, utc_s: float, dt_s: float) -> None:
        self.ledger.update(state, utc_s, dt_s)
        self.violations.update(state, dt_s)
        self._truth.add(utc_s, dt_s, truth_values(state, self.ledger))
        elapsed_s = utc_s - dt_s - self._world.start_utc_s
        if elapsed_s >= self._next_decision_s - 1e-6:
            self._rule_controls = self._rule_based.controls(elapsed_s)
            self._next_decision_s = elapsed_s + max(1.0, self._parameters.period_s)
        other = self._rule_based.plant.step(dt_s, state.weather, state.load_kw, self._rule_controls)
        self.rule_ledger.update(other, utc_s, dt_s)
        self._rules.add(utc_s, dt_s, rule_based_values(other, self.rule_ledger))
        for watch in self.rule_watchers:
            watch(other, utc_s, dt_s)

    def glance(self) -> str:
        """The plant now, in a few words."""
        state = self._world.plant.state
        words = [f"load {state.load_kw:.1f} kW", f"PV {sum(i.power_kw for i in state.pv):.1f}"]
        if state.battery:
            words.append(f"battery {state.battery.power_kw:+.1f} at {state.battery.soc_frac:.0%}")
        if state.generator and state.generator.on_bus:
            words.append(f"generator {state.generator.power_kw:.1f}")
        if state.grid_connected:
            words.append(f"grid {state.grid_kw:+.1f}")
        return ", ".join(words)

    def summary(
        self, cycles: int, missed: int, wall_s: float, recording: Path
    ) -> dict[str, object]:
        """The figures of `summary.json`."""
        state, rules = self._world.plant.state, self._rule_based.plant.state
        return {
            "title": self._world.loaded.scenario.scenario.title,
            "cycles": cycles,
            "cycles_missed": missed,
            "limit_violations": sum(self.violations.counts().values()),
            "violations": self.violations.counts(),
            "energy_balance_error_frac": balance_error_frac(state, self._stored_at_start_kwh),
            "cost": self.ledger.cost,
            "cost_rule_based": self.rule_ledger.cost,
            "cost_parts": self.ledger.parts,
            "cost_parts_rule_based": self.rule_ledger.parts,
            "currency": self._world.loaded.site.site.currency,
            "unserved_kwh": state.energy.unserved_kwh,
            "unserved_rule_based_kwh": rules.energy.unserved_kwh,
            "curtailed_kwh": state.energy.curtailed_kwh,
            "fuel_l": state.energy.fuel_l,
            "fuel_rule_based_l": rules.energy.fuel_l,
            "generator_starts": state.generator.starts if state.generator else 0,
            "generator_starts_rule_based": rules.generator.starts if rules.generator else 0,
            "energy_kwh": _energy(state),
            "sim_s": self._world.elapsed_s,
            "wall_s": wall_s,
            "recording": str(recording),
            **self._soc_limits(),
            "units": _units(state),
        }

    def _soc_limits(self) -> dict[str, float]:
        battery = self._parameters.battery
        names = ("soc_min_frac", "soc_max_frac", "reserve_soc_frac")
        return {name: getattr(battery, name) for name in names} if battery else {}

    def result(
        self,
        summary: dict[str, object],
        lateness_ms: dict[str, float],
        stages_ms: dict[str, dict[str, float]],
    ) -> Result:
        """Everything for the report."""
        loaded = self._world.loaded
        truth = dict(self._truth.columns)
        controller = self._on_truth_axis() | {"cost": [*truth.pop("cost", [])]}
        return Result(
            title=loaded.scenario.scenario.title,
            site_name=loaded.site.site.name,
            currency=loaded.site.site.currency,
            timezone=loaded.site.site.timezone,
            summary=summary,
            utc_s=self._truth.utc_s,
            truth=truth,
            controller=controller,
            rule_based=self._rules.columns,
            modes=self.controller.modes,
            happenings=sorted(
                [*self.controller.happenings, *self._faults()], key=lambda item: item.utc_s
            ),
            forecasts=self.controller.forecasts,
            lateness_ms=lateness_ms,
            stages_ms=stages_ms,
            violations=self.violations.counts(),
            cost_parts={
                name: (self.ledger.parts[name], self.rule_ledger.parts[name])
                for name in self.ledger.parts
            },
        )

    def _on_truth_axis(self) -> dict[str, list[float | None]]:
        """The controller's columns at the truth's times: the last point at or before each."""
        times = self.controller.utc_s
        index, rows = -1, []
        for utc_s in self._truth.utc_s:
            while index + 1 < len(times) and times[index + 1] <= utc_s + 0.5 * POINT_S:
                index += 1
            rows.append(index)
        return {
            name: [column[row] if 0 <= row < len(column) else None for row in rows]
            for name, column in self.controller.columns.items()
        }

    def _faults(self) -> list[Happening]:
        start, scenario = self._world.start_utc_s, self._world.loaded.scenario
        broken = [
            Happening(
                start + fault.at_h * HOUR_S,
                "fault",
                fault.kind,
                f"{fault.target or 'plant'}: {fault.kind} for {fault.for_s:g} s",
            )
            for fault in scenario.fault
        ]
        return broken + [
            Happening(
                start + outage.from_h * HOUR_S,
                "fault",
                "outage",
                f"utility: away for {outage.to_h - outage.from_h:g} h",
            )
            for outage in scenario.outage
        ]


def _stored_kwh(state: PlantState) -> float:
    return state.battery.stored_kwh if state.battery else 0.0


def _energy(state: PlantState) -> dict[str, float]:
    """The plant's energy books, kWh."""
    names = (name for name in Energy.__slots__ if name.endswith("_kwh"))
    return {name.removesuffix("_kwh"): getattr(state.energy, name) for name in names}


def _units(state: PlantState) -> dict[str, dict[str, float]]:
    """What each battery and each generator did, where there are several of the kind."""
    found: dict[str, dict[str, float]] = {}
    for name, battery in state.batteries.items():
        found[name] = {
            "soc_frac": battery.soc_frac,
            "charged_kwh": battery.charged_kwh,
            "discharged_kwh": battery.discharged_kwh,
        }
    for name, generator in state.generators.items():
        found[name] = {
            "starts": generator.starts,
            "run_h": generator.run_h,
            "energy_kwh": generator.energy_kwh,
        }
    return found
