"""From the validated site file to the static parameters that decisions take."""

from control.fleet import joined_battery, joined_generator
from control.rules import BEST_LOAD_FRAC
from control.site import (
    BatteryParameters,
    GeneratorParameters,
    GridParameters,
    PvParameters,
    SiteParameters,
    WindParameters,
)
from control.surplus import SurplusSettings
from firmware.config import Site
from firmware.config_models import Battery, Generator, Grid
from firmware.tariff import Tariff


def site_parameters(site: Site) -> SiteParameters:
    """Return what `control.cycle.decide` needs."""
    low, high = _price_span(site)
    batteries = tuple(_battery(each) for each in site.battery)
    generators = tuple(_generator(each) for each in site.generator)
    return SiteParameters(
        period_s=site.loop.period_s,
        lease_s=max(site.safety.lease_s, 3.0 * site.loop.period_s),
        hold_s=max(site.safety.hold_s, 2.0 * site.loop.period_s),
        start_up_s=site.safety.start_up_s,
        pv=tuple(PvParameters(pv.name, pv.rated_kw) for pv in site.pv),
        wind=tuple(WindParameters(wind.name, wind.rated_kw) for wind in site.wind),
        battery=joined_battery(batteries),
        generator=joined_generator(generators),
        batteries=batteries if len(batteries) > 1 else (),
        generators=generators if len(generators) > 1 else (),
        grid=_grid(site, site.grid) if site.grid else None,
        emergency_stop=site.gpio.emergency_stop_pin is not None,
        price_low_per_kwh=low,
        price_high_per_kwh=high,
        surplus=SurplusSettings(**dict(site.surplus)),
    )


def _price_span(site: Site) -> tuple[float, float]:
    """Lowest and highest buying price; widened when there is only one."""
    low, high = Tariff(site.prices, site.site.timezone).buying_span()
    if high > low:
        return low, high
    return low - 0.5 * abs(low) - 0.01, low + 0.5 * abs(low) + 0.01


def _battery(battery: Battery) -> BatteryParameters:
    return BatteryParameters(
        name=battery.name,
        capacity_kwh=battery.capacity_kwh,
        charge_max_kw=battery.charge_max_kw,
        discharge_max_kw=battery.discharge_max_kw,
        soc_min_frac=battery.soc_min_frac,
        soc_max_frac=battery.soc_max_frac,
        reserve_soc_frac=battery.reserve_soc_frac,
        ramp_kw_per_s=battery.ramp_kw_per_s,
        charge_from_grid=battery.charge_from_grid,
    )


def _generator(generator: Generator) -> GeneratorParameters:
    return GeneratorParameters(
        name=generator.name,
        by_relay=generator.start == "relay",
        rated_kw=generator.rated_kw,
        min_load_frac=generator.min_load_frac,
        min_run_s=generator.min_run_s,
        min_rest_s=generator.min_rest_s,
        warm_up_s=generator.warm_up_s,
        cool_down_s=generator.cool_down_s,
        max_run_s=generator.max_run_s,
        start_timeout_s=generator.start_timeout_s,
        cost_per_kwh=_cost_per_kwh(generator),
    )


def _cost_per_kwh(generator: Generator) -> float:
    """Fuel and upkeep at the load where it burns least."""
    power_kw = BEST_LOAD_FRAC * generator.rated_kw
    litres_per_h = (
        generator.fuel_no_load_l_per_h_per_kw * generator.rated_kw
        + generator.fuel_linear_l_per_kwh * power_kw
        + generator.fuel_quadratic_l_per_h_per_kw2 * power_kw * power_kw
    )
    per_h = generator.fuel_price_per_l * litres_per_h + generator.om_per_h_on
    return per_h / power_kw + generator.om_per_kwh


def _grid(site: Site, grid: Grid) -> GridParameters:
    safety = site.safety
    return GridParameters(
        name=grid.name,
        import_max_kw=grid.import_max_kw,
        export_max_kw=grid.export_max_kw,
        voltage_min_v=safety.grid_v_min_frac * grid.nominal_v,
        voltage_max_v=safety.grid_v_max_frac * grid.nominal_v,
        frequency_min_hz=grid.nominal_hz - safety.grid_hz_below,
        frequency_max_hz=grid.nominal_hz + safety.grid_hz_above,
    )
