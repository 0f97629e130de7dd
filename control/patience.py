"""Buying later is worth something: by then more is known of sun and load, and less may be needed.

A plan from medians does not see that. Where prices are the same for hours it fills the battery from
the grid, or keeps what is in it, for a peak that the next day's sun might fill it for. A premium on
buying that falls to nothing over the horizon makes it wait where waiting costs little.
"""

from dataclasses import replace

import numpy as np

from control.dispatch_instance import Floats, Instance

PREMIUM_FRAC = 1.0 / 7.0  # of what a kWh bought usually costs above one sold: on one bought at once


def patient(instance: Instance) -> Instance:
    """The instance with the premium on its prices of import.

    By the median: the mean of a day with a price spike would outweigh all other differences.
    """
    dearer = instance.price_buy_per_kwh - instance.price_sell_per_kwh
    most_per_kwh = PREMIUM_FRAC * max(0.0, float(np.median(dearer)))
    falling = 1.0 - np.arange(instance.steps) / instance.steps
    return replace(instance, price_buy_per_kwh=instance.price_buy_per_kwh + most_per_kwh * falling)


def premium(instance: Instance, waiting: Instance, grid_kw: Floats) -> float:
    """What a plan pays for nothing: the weighted cost of the premium on what it buys."""
    per_kwh = waiting.price_buy_per_kwh - instance.price_buy_per_kwh
    paid = instance.step_h * float(np.sum(per_kwh * np.maximum(grid_kw, 0.0)))
    return instance.weight_generation * paid
