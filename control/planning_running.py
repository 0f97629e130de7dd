"""Diesels that run at the same time, as one supply of convex cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from control.dispatch_instance import Diesel, Floats, Instance


@dataclass(frozen=True, slots=True)
class Burning:
    """A running diesel's cost per hour, weighted: per_h + linear * kW + quadratic * kW^2."""

    per_h: float
    linear: float
    quadratic: float
    low_kw: float
    high_kw: float
    startup: float

    @classmethod
    def of(cls, instance: Instance, diesel: Diesel) -> Self:
        """The cost in the objective of an instance (Qian 2024, eqs 5-11)."""
        generation, equipment = instance.weight_generation, instance.weight_equipment
        fuel = equipment * diesel.fuel_price_per_l
        no_load = diesel.fuel_no_load_l_per_h_per_rated_kw * diesel.rated_kw
        return cls(
            per_h=equipment * diesel.om_per_h_on + fuel * no_load,
            linear=generation * diesel.generation_cost_per_kwh
            + equipment * diesel.om_per_kwh
            + fuel * diesel.fuel_linear_l_per_kwh
            + instance.weight_pollution * instance.diesel_pollution_per_kwh,
            quadratic=fuel * diesel.fuel_quadratic_l_per_h_per_kw2,
            low_kw=diesel.power_min_kw,
            high_kw=diesel.power_max_kw,
            startup=equipment * diesel.startup,
        )

    def at_price(self, price: Floats) -> Floats:
        """The power that pays best at a price per kWh."""
        marginal = (price - self.linear) / max(2 * self.quadratic, 1e-12)
        return np.clip(marginal, self.low_kw, self.high_kw)

    def cost(self, power_kw: Floats) -> Floats:
        """Cost per hour beyond `per_h`."""
        return power_kw * (self.linear + self.quadratic * power_kw)


class Running:
    """The least cost at which these diesels together make a power."""

    def __init__(self, diesels: Sequence[Burning]) -> None:
        """Tabulate each one's power over that of all: straight lines between marginal costs."""
        self.diesels = tuple(diesels)
        self.per_h = sum(d.per_h for d in diesels)
        if len(self.diesels) > 1:
            self._shares = self._table()
            self._total = self._shares.sum(axis=0)

    def _table(self) -> Floats:
        """Powers (diesels, points) at every price at which one of them leaves a limit."""
        low = np.array([[d.low_kw] for d in self.diesels])
        high = np.array([[d.high_kw] for d in self.diesels])
        linear = np.array([[d.linear] for d in self.diesels])
        slope = 2 * np.array([[d.quadratic] for d in self.diesels])
        first, last = linear + slope * low, linear + slope * high
        price = np.unique(np.concatenate([first, last]))
        between = np.clip((price - linear) / np.maximum(slope, 1e-12), low, high)
        below = np.where(price <= first, low, np.where(price > last, high, between))
        above = np.where(price >= last, high, np.where(price < first, low, between))
        return np.stack([below, above], axis=2).reshape(len(self.diesels), -1)

    def at_price(self, price: Floats) -> Floats:
        """The power of all that pays best at a price per kWh."""
        total = np.zeros_like(price)
        for diesel in self.diesels:
            total = total + diesel.at_price(price)
        return total

    def split(self, power_kw: Floats) -> list[Floats]:
        """Each one's part of a power of all."""
        if len(self.diesels) == 1:
            return [power_kw]
        return [np.interp(power_kw, self._total, share) for share in self._shares]

    def cost(self, power_kw: Floats) -> Floats:
        """Cost per hour of a power of all, beyond `per_h`."""
        parts = zip(self.diesels, self.split(power_kw), strict=True)
        return np.asarray(sum(diesel.cost(part) for diesel, part in parts))
