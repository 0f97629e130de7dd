"""What a run cost and which limits it broke, counted on the plant itself, not on what was reported.

Costs are money: energy bought and sold, fuel, starts, maintenance and wear by the site's own
figures, and what unserved energy is worth; the energy left in the battery is set against the energy
it began with.
"""

from dataclasses import dataclass, field

from firmware.config import Site
from firmware.config_models import Battery, Generator
from firmware.tariff import Tariff
from hil.plant import BatteryState, GeneratorState, PlantState

RETURN_S = 15.0  # a limit that is exceeded for a shorter time is no violation (EREC G100)
LOW_LOAD_S = 120.0  # below the generator's minimum load; loading it takes a while
SOC_TOLERANCE_FRAC = 0.01
POWER_TOLERANCE_FRAC = 0.03
TIME_TOLERANCE_S = 5.0
HOUR_S = 3600.0
PARTS = ("grid", "fuel", "starts", "generator upkeep", "battery wear", "unserved", "stored energy")


class Lasting:
    """Counts the times that a condition lasted longer than `patience_s`."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._held_s = 0.0
        self.count = 0

    def update(self, holds: bool, dt_s: float) -> None:
        """Add `dt_s` during which the condition held or not."""
        before_s = self._held_s
        self._held_s = before_s + dt_s if holds else 0.0
        self.count += before_s <= self._patience_s < self._held_s


@dataclass
class Violations:
    """Episodes in which the plant was outside a limit."""

    site: Site
    episodes: dict[str, Lasting] = field(default_factory=dict)
    # per set: how long its engine has run, and how long it has rested since the last run
    _times: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    short_runs: int = 0
    short_rests: int = 0

    def update(self, state: PlantState, dt_s: float) -> None:
        """Look at one step."""
        site = self.site
        for limits, battery in zip(site.battery, batteries_of(state), strict=False):
            whose = limits.name if len(site.battery) > 1 else "battery"
            self._battery(whose, limits, battery, state.grid_connected, dt_s)
        if site.grid and state.grid_connected:
            keep = 1.0 + POWER_TOLERANCE_FRAC
            self._note("grid import", state.grid_kw > keep * site.grid.import_max_kw + 0.05, dt_s)
            self._note("grid export", -state.grid_kw > keep * site.grid.export_max_kw + 0.05, dt_s)
        for set_limits, generator in zip(site.generator, generators_of(state), strict=False):
            whose = set_limits.name if len(site.generator) > 1 else "generator"
            self._generator(whose, set_limits, generator, dt_s)

    def counts(self) -> dict[str, int]:
        """Violations per limit."""
        found = {name: lasting.count for name, lasting in self.episodes.items()}
        if self.site.generator:
            found |= {"generator run time": self.short_runs, "generator rest": self.short_rests}
        return found

    def _note(self, name: str, holds: bool, dt_s: float, patience_s: float = RETURN_S) -> None:
        self.episodes.setdefault(name, Lasting(patience_s)).update(holds, dt_s)

    def _battery(
        self, whose: str, limits: Battery, battery: BatteryState, connected: bool, dt_s: float
    ) -> None:
        low = battery.soc_frac < limits.soc_min_frac - SOC_TOLERANCE_FRAC
        # An empty battery that still forms the island's grid has nobody to hand over to.
        alone = battery.grid_forming and not connected
        self._note(f"{whose} floor", low and battery.power_kw > 0.05 and not alone, dt_s)
        high = battery.soc_frac > limits.soc_max_frac + SOC_TOLERANCE_FRAC
        self._note(f"{whose} ceiling", high and battery.power_kw < -0.05, dt_s)
        keep = 1.0 + POWER_TOLERANCE_FRAC
        too_much = not (
            -keep * limits.charge_max_kw - 0.05
            <= battery.power_kw
            <= keep * limits.discharge_max_kw + 0.05
        )
        self._note(f"{whose} power", too_much, dt_s)

    def _generator(
        self, whose: str, limits: Generator, generator: GeneratorState, dt_s: float
    ) -> None:
        on, tripped = generator.on_bus, bool(generator.alarm)
        low = on and generator.power_kw < 0.97 * limits.min_load_frac * limits.rated_kw
        self._note(f"{whose} minimum load", low, dt_s, LOW_LOAD_S)
        self._note(f"{whose} rating", generator.power_kw > 1.03 * limits.rated_kw, dt_s)
        on_s, off_s = self._times.get(limits.name, (None, None))
        if generator.phase in ("starting", "warming", "running"):
            if off_s is not None:
                self.short_rests += off_s < limits.min_rest_s - TIME_TOLERANCE_S
            on_s, off_s = (on_s or 0.0) + dt_s, None
        elif on_s is not None:
            short = on_s < limits.min_run_s - TIME_TOLERANCE_S
            self.short_runs += short and not tripped
            on_s, off_s = None, dt_s
        elif off_s is not None:
            off_s += dt_s
        self._times[limits.name] = (on_s, off_s)


def batteries_of(state: PlantState) -> tuple[BatteryState, ...]:
    """Every battery, also where there is one."""
    return tuple(state.batteries.values()) or ((state.battery,) if state.battery else ())


def generators_of(state: PlantState) -> tuple[GeneratorState, ...]:
    """Every generator, also where there is one."""
    return tuple(state.generators.values()) or ((state.generator,) if state.generator else ())


class Ledger:
    """The money of one run, step by step."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tariff = Tariff(site.prices, site.site.timezone)
        self._minute = -1
        self.price_buy_per_kwh = self.price_sell_per_kwh = 0.0
        self.parts = dict.fromkeys(PARTS, 0.0)
        self._first: PlantState | None = None
        self._bought: list[float] = []  # the prices of the hours, for the stored energy

    def update(self, state: PlantState, utc_s: float, dt_s: float) -> None:
        """Book one step that ended at `utc_s`."""
        minute = int((utc_s - dt_s) // 60.0)
        if minute != self._minute:
            self._minute = minute
            prices = self._tariff.price_at(utc_s - dt_s)
            self.price_buy_per_kwh, self.price_sell_per_kwh = prices
            self._bought.append(prices.buy_per_kwh)
        self._first = self._first or state
        hours = dt_s / HOUR_S
        price = self.price_buy_per_kwh if state.grid_kw > 0 else self.price_sell_per_kwh
        self.parts["grid"] += state.grid_kw * price * hours
        self.parts["unserved"] += (
            state.unserved_kw * self._site.planner.unserved_cost_per_kwh * hours
        )
        self._book_generator(state, hours)
        self._book_battery(state, hours)

    @property
    def cost(self) -> float:
        """Everything so far."""
        return sum(self.parts.values())

    def _book_generator(self, state: PlantState, hours: float) -> None:
        if not self._site.generator or state.generator is None or self._first is None:
            return
        first = self._first
        self.parts["fuel"] = self.parts["starts"] = 0.0
        units = zip(self._site.generator, generators_of(state), generators_of(first), strict=False)
        for costs, generator, before in units:
            used_l = before.fuel_l - generator.fuel_l
            if not state.generators:
                used_l = state.energy.fuel_l - first.energy.fuel_l
            self.parts["fuel"] += costs.fuel_price_per_l * used_l
            self.parts["starts"] += costs.startup_cost * (generator.starts - before.starts)
            upkeep = costs.om_per_kwh * max(0.0, generator.power_kw)
            upkeep += costs.om_per_h_on * (generator.phase in ("warming", "running", "cooling"))
            self.parts["generator upkeep"] += upkeep * hours

    def _book_battery(self, state: PlantState, hours: float) -> None:
        if not self._site.battery or state.battery is None or self._first is None:
            return
        for costs, battery in zip(self._site.battery, batteries_of(state), strict=False):
            power_kw = abs(battery.power_kw)
            per_kwh = costs.om_linear_per_kwh
            per_kwh += costs.om_quadratic_per_kwh_at_max * power_kw / costs.discharge_max_kw
            self.parts["battery wear"] += power_kw * per_kwh * hours
        first = self._first.battery
        gained_kwh = state.battery.stored_kwh - (first.stored_kwh if first else 0.0)
        self.parts["stored energy"] = -gained_kwh * self._stored_value_per_kwh()

    def _stored_value_per_kwh(self) -> float:
        """What a kWh in the battery saves: bought energy, or the set at full load on an island."""
        if self._site.grid is not None:
            mean = sum(self._bought) / len(self._bought)
            return mean * self._site.battery[0].discharge_efficiency_frac
        if self._site.generator:
            costs = self._site.generator[0]
            litres = costs.fuel_linear_l_per_kwh + costs.fuel_no_load_l_per_h_per_kw
            litres += costs.fuel_quadratic_l_per_h_per_kw2 * costs.rated_kw
            upkeep = costs.om_per_kwh + costs.om_per_h_on / costs.rated_kw
            made_for = costs.fuel_price_per_l * litres + upkeep
            return made_for * self._site.battery[0].discharge_efficiency_frac
        return 0.0


def balance_error_frac(state: PlantState, stored_at_start_kwh: float) -> float:
    """How far the plant's energy books are from closing, as a share of the energy turned over."""
    energy = state.energy
    sources = (
        energy.pv_kwh
        + energy.wind_kwh
        + energy.grid_import_kwh
        + energy.generator_kwh
        + energy.battery_discharge_kwh
    )
    sinks = (
        energy.served_kwh
        + energy.dumped_kwh
        + energy.grid_export_kwh
        + energy.generator_reverse_kwh
        + energy.battery_charge_kwh
    )
    stored_kwh = state.battery.stored_kwh if state.battery else 0.0
    battery = energy.battery_charge_kwh - energy.battery_discharge_kwh - energy.battery_loss_kwh
    drift = abs(battery - (stored_kwh - stored_at_start_kwh))
    return max(abs(sources - sinks), drift) / max(sources, 1e-9)
