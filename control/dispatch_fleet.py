"""Dispatch of any number of batteries and diesels: instance, schedule, cost and constraints.

Everything that belongs to a unit adds up: its cost, its terminal value and shortfall, its power in
the balance. So a fleet is a site without units, and what `dispatch` knows of one battery and one
diesel is asked of one pair after the other.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from control import dispatch
from control.dispatch import Bools, Cost, Schedule
from control.dispatch_instance import NO_BATTERY, NO_DIESEL, Battery, Diesel, Floats, Instance


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """An instance with its units; `site` is all the rest and has neither battery nor diesel."""

    site: Instance
    batteries: tuple[Battery, ...]
    diesels: tuple[Diesel, ...]
    pairs: tuple[Instance, ...] = field(init=False)  # the site with the first battery and diesel,
    # with the second ones and so on: each unit once

    def __post_init__(self) -> None:
        """Pair the units."""
        units = itertools.zip_longest(self.batteries, self.diesels)
        pairs = tuple(self.alone(b or NO_BATTERY, d or NO_DIESEL) for b, d in units)
        object.__setattr__(self, "pairs", pairs)

    @classmethod
    def of(cls, instance: Instance) -> Self:
        """The fleet of the instance's one battery and one diesel."""
        site = dataclasses.replace(instance, battery=NO_BATTERY, diesel=NO_DIESEL)
        return cls(site, (instance.battery,), (instance.diesel,))

    @classmethod
    def from_dict(cls, content: object) -> Self:
        """The fleet in a dispatch file's JSON content, where either kind of unit may be a list.

        The inverter of a battery in a list is its own `inverter`, or the one at its place in the
        list `inverter`, or the one object `inverter` for all. ValueError if malformed.
        """
        if not isinstance(content, Mapping):
            Instance.from_dict(content)  # says so
            raise AssertionError
        if not any(isinstance(content.get(kind), list) for kind in ("battery", "diesel")):
            return cls.of(Instance.from_dict(content))
        site = Instance.from_dict({**content, "battery": None, "diesel": None})
        return cls(
            site,
            tuple(_batteries(content, _listed(content, "battery"))),
            tuple(_diesels(content, _listed(content, "diesel"))),
        )

    def alone(self, battery: Battery = NO_BATTERY, diesel: Diesel = NO_DIESEL) -> Instance:
        """The site with this battery and this diesel only."""
        return dataclasses.replace(self.site, battery=battery, diesel=diesel)


@dataclass(frozen=True, slots=True, eq=False)
class FleetSchedule:
    """What every source does in every step; units as rows, in kW."""

    battery_kw: Floats  # (batteries, steps)
    diesel_on: Bools  # (diesels, steps)
    diesel_kw: Floats  # (diesels, steps)
    grid_kw: Floats
    curtailed_kw: Floats
    unserved_kw: Floats
    dumped_kw: Floats

    @classmethod
    def of(cls, schedule: Schedule) -> Self:
        """The schedule of one battery and one diesel."""
        return cls(
            schedule.battery_kw[None],
            schedule.diesel_on[None],
            schedule.diesel_kw[None],
            schedule.grid_kw,
            schedule.curtailed_kw,
            schedule.unserved_kw,
            schedule.dumped_kw,
        )

    def rows(self) -> Iterator[tuple[Floats, Bools, Floats]]:
        """Battery power, diesel state and power of each of `Fleet.pairs`; zeros for no unit."""
        idle = np.zeros(self.grid_kw.size)
        rows = itertools.zip_longest(self.battery_kw, self.diesel_on, self.diesel_kw)
        for battery, on, diesel in rows:
            yield (
                idle if battery is None else battery,
                idle.astype(bool) if on is None else on,
                idle if diesel is None else diesel,
            )


def evaluate(fleet: Fleet, schedule: FleetSchedule) -> Cost:
    """The true cost of a schedule, whether or not it is feasible."""
    total = dispatch.site_cost(fleet.site, _shared(schedule))
    for instance, rows in zip(fleet.pairs, schedule.rows(), strict=True):
        total = total + dispatch.units_cost(instance, *rows)
    return total


def violations(fleet: Fleet, schedule: FleetSchedule) -> list[str]:
    """Every kind of constraint the schedule breaks, as `dispatch.violations`; units by number."""
    units_kw = schedule.battery_kw.sum(axis=0) + schedule.diesel_kw.sum(axis=0)
    found = dispatch.site_violations(fleet.site, _shared(schedule), units_kw)
    for n, (instance, rows) in enumerate(zip(fleet.pairs, schedule.rows(), strict=True)):
        found += [f"[{n}] {line}" for line in dispatch.units_violations(instance, *rows)]
    return found


def to_dict(fleet: Fleet, schedule: FleetSchedule, content: Mapping[str, Any]) -> dict[str, Any]:
    """Schedule and cost as JSON content, with lists of lists where `content` lists its units."""
    answer = dispatch.content(schedule, evaluate(fleet, schedule))
    for key, kind in (("battery_kw", "battery"), ("diesel_on", "diesel"), ("diesel_kw", "diesel")):
        if not isinstance(content.get(kind), list):
            answer[key] = answer[key][0]
    return answer


def _shared(schedule: FleetSchedule) -> Schedule:
    """The schedule of what belongs to no unit."""
    idle = np.zeros(schedule.grid_kw.size)
    return Schedule(
        idle,
        idle.astype(bool),
        idle,
        schedule.grid_kw,
        schedule.curtailed_kw,
        schedule.unserved_kw,
        schedule.dumped_kw,
    )


def _listed(content: Mapping[str, Any], kind: str) -> list[tuple[str, Any]]:
    """The units of a kind, each with its name in messages."""
    given = content.get(kind)
    if isinstance(given, list):
        return [(f"{kind}[{n}]", unit) for n, unit in enumerate(given)]
    return [(kind, given)]


def _batteries(content: Mapping[str, Any], units: Sequence[tuple[str, Any]]) -> Iterator[Battery]:
    inverters = content.get("inverter")
    if isinstance(inverters, list) and len(inverters) != len(units):
        raise ValueError(
            f"inverter: {len(inverters)} given (allowed: one object, or {len(units)} in a list)"
        )
    for n, (name, unit) in enumerate(units):
        inverter = inverters[n] if isinstance(inverters, list) else inverters
        if isinstance(unit, Mapping) and "inverter" in unit:
            inverter = unit["inverter"]
        yield _unit(content, name, "battery", unit, inverter).battery


def _diesels(content: Mapping[str, Any], units: Sequence[tuple[str, Any]]) -> Iterator[Diesel]:
    for name, unit in units:
        yield _unit(content, name, "diesel", unit, None).diesel


def _unit(
    content: Mapping[str, Any], name: str, kind: str, unit: object, inverter: object
) -> Instance:
    """The instance with this one unit; a complaint about it bears its name."""
    if name != kind and unit is None:
        raise ValueError(f"{name}: None (allowed: an object with named values)")
    parts = {"battery": None, "diesel": None, "inverter": inverter, kind: unit}
    try:
        return Instance.from_dict({**content, **parts})
    except ValueError as error:
        text = str(error)
        if text.startswith(kind):
            raise ValueError(name + text.removeprefix(kind)) from None
        if text.startswith("inverter") and name != kind:
            raise ValueError(f"{name}.{text}") from None
        raise
