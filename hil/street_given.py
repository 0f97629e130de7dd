"""A street at slot resolution: load, sun and prices of its scenario, and the days before it."""

from dataclasses import dataclass

import numpy as np

from control.dispatch_instance import INVERTER_EFFICIENCY_FRAC, INVERTER_LOAD_FRAC
from control.neighbours import Storage
from firmware.tariff import Tariff
from hil.inputs import DAY_S, load_source, weather_source
from hil.plant import PlantParameters
from hil.scenario import LoadedScenario, ScenarioError
from hil.sources import pv_means_kw
from hil.street import LoadedStreet
from hil.street_result import Floats, Given

LEAST_DAYS = 7  # of history
NO_BATTERY = (0.0, 0.0, 0.0, 0.0)
HALF_LOAD = 0.5  # where the inverters' efficiency is taken


@dataclass(frozen=True)
class Past:
    """The days before, (slots, houses)."""

    load_kw: Floats
    pv_kw: Floats


def read_street(street: LoadedStreet) -> tuple[Given, Past]:
    """The whole span by slot means. Raises ScenarioError."""
    head, where = street.head, f"{street.path}: street"
    if DAY_S % head.slot_s:
        wrong = f"{where}.slot_s = {head.slot_s:g}: a day has to be whole slots"
        raise ScenarioError([wrong])
    if head.history_days < LEAST_DAYS:
        wrong = f"{where}.history_days = {head.history_days}: at least {LEAST_DAYS} for slots"
        raise ScenarioError([wrong])
    slots = round(head.duration_h * 3600.0 / head.slot_s)
    before = round(head.history_days * DAY_S / head.slot_s)
    begin_utc_s = head.start_utc_s - head.history_days * DAY_S
    columns = [
        _columns(house, begin_utc_s, before + slots, head.slot_s)
        for house in street.houses.values()
    ]
    load_kw = np.column_stack([load for load, _ in columns])
    pv_kw = np.column_stack([pv for _, pv in columns])
    given = give(street, head.start_utc_s, load_kw[before:], pv_kw[before:])
    return given, Past(load_kw[:before], pv_kw[:before])


def give(street: LoadedStreet, start_utc_s: float, load_kw: Floats, pv_kw: Floats) -> Given:
    """What the houses had, with their batteries and the prices of the span."""
    first = next(iter(street.houses.values())).site
    starts_utc_s = start_utc_s + street.head.slot_s * np.arange(len(load_kw))
    tariff = Tariff(first.prices, first.site.timezone)
    buy, sell = tariff.prices_over(starts_utc_s)
    return Given(
        names=tuple(street.houses),
        start_utc_s=start_utc_s,
        step_h=street.head.slot_s / 3600.0,
        load_kw=load_kw,
        pv_kw=pv_kw,
        buy_per_kwh=buy,
        sell_per_kwh=sell,
        lowest_buy_per_kwh=tariff.buying_span()[0],
        fee_per_kwh=street.head.fee_per_kwh,
        storage=_storage(street),
        stored_kwh=_stored_kwh(street),
    )


def parameters(house: LoadedScenario) -> PlantParameters:
    """A house's plant as it really is. Raises ScenarioError."""
    truth = {"seed": house.scenario.scenario.seed, **house.scenario.plant}
    try:
        return PlantParameters.from_site(house.site_table, truth)
    except ValueError as error:
        raise ScenarioError([f"{house.path}: {error}"]) from None


def _columns(
    house: LoadedScenario, begin_utc_s: float, slots: int, slot_s: float
) -> tuple[Floats, Floats]:
    arrays = parameters(house).pv
    start_utc_s = house.scenario.scenario.start_utc_s
    load_kw = load_source(house, start_utc_s).means(begin_utc_s, slots, slot_s)
    if not arrays:
        return load_kw, np.zeros(slots)
    weather = weather_source(house, arrays, start_utc_s)
    return load_kw, pv_means_kw(arrays, weather.means(begin_utc_s, slots, slot_s))


def _storage(street: LoadedStreet) -> Storage:
    """Every house's batteries as one."""
    rows, cells = [], []
    for house in street.houses.values():
        own = [
            (
                battery.soc_min_frac * battery.capacity_kwh,
                battery.soc_max_frac * battery.capacity_kwh,
                battery.charge_max_kw,
                battery.discharge_max_kw,
            )
            for battery in house.site.battery
        ]
        rows.append(np.sum([NO_BATTERY, *own], axis=0))
        cells += [
            b.charge_efficiency_frac * b.discharge_efficiency_frac for b in house.site.battery
        ]
    inverter = np.interp(HALF_LOAD, INVERTER_LOAD_FRAC, INVERTER_EFFICIENCY_FRAC)
    cells_frac = float(np.sqrt(np.mean(cells))) if cells else 1.0
    lowest, highest, charge, discharge = np.array(rows).T
    return Storage(lowest, highest, charge, discharge, float(inverter) * cells_frac)


def _stored_kwh(street: LoadedStreet) -> Floats:
    """What the batteries hold at the start, within their limits."""
    stored = []
    for house in street.houses.values():
        plant = parameters(house)
        truths = plant.batteries or ((plant.battery,) if plant.battery else ())
        held = [
            min(max(truth.initial_soc_frac, limits.soc_min_frac), limits.soc_max_frac)
            * limits.capacity_kwh
            for truth, limits in zip(truths, house.site.battery, strict=True)
        ]
        stored.append(float(sum(held)))
    return np.array(stored)
