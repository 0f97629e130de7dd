"""What stored energy is worth to a house in a street whose balance nobody knows for sure.

The street's balance is off what was announced by an error that lasts: a cloudy hour is followed by
another. It is a chain of regimes here (Rouwenhorst 1995: an autoregressive error of few values,
with exact variance and persistence), zero now, with noise around it. In every step the regime is
seen before the battery moves, so what is stored now is worth what it saves when it is answered by
then: a plan that is fixed in advance holds too much for a shortage that the batteries would meet
as it comes. `Market.movers` says how many houses are taken to answer alike.

Costs are convex in stored energy, so all that has to be kept is how much each further kWh saves, in
order; a step's choice merges two such lists. (With prices below zero they are not: the value is
then that of a battery which may charge and discharge at once.)
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from control.neighbours import FORBIDDEN, Floats, Market, Storage

CELLS = 64  # of each house's usable energy
REGIMES = 5
LASTS_H = 6.0  # the error's correlation falls to 1/e
LASTING_FRAC = 0.7  # standard deviation of the error that lasts, of the market's
NOISE_FRAC = 1.0  # and of what stays unknown when the battery moves
NOTHING_KWH = 1e-9


def value_of_energy(storage: Storage, market: Market, net_kw: Floats) -> Floats:
    """Return what is still to be paid after the first step, (CELLS + 1, houses) by stored energy.

    The levels are spread evenly over each house's usable energy; at the lowest it is taken as 0.
    `net_kw` (steps, houses) is load less PV as announced without the battery.
    """
    outlook = market.outlook
    regimes, chain = _chain(float(np.exp(-outlook.step_h / LASTS_H)))
    cell_kwh = (storage.highest_kwh - storage.lowest_kwh) / CELLS
    steps, houses = net_kw.shape
    cells = _Cells(storage, cell_kwh, outlook.step_h)
    saved = cells.saved(market, net_kw, regimes)
    worth = np.full((REGIMES, houses, CELLS), -outlook.energy_value_per_kwh)  # of a cell's kWh, < 0
    for step in range(steps - 1, 0, -1):
        later = np.tensordot(chain, worth, 1)
        merged = np.sort(np.concatenate([later, saved[step]], axis=2), axis=2)
        worth = merged[:, :, cells.up : cells.up + CELLS]
    now = np.tensordot(chain[REGIMES // 2], worth, 1)
    return np.vstack([np.zeros(houses), np.cumsum(now * cell_kwh[:, None], axis=1).T])


def worth_per_kwh(storage: Storage, value: Floats, stored_kwh: Floats) -> Floats:
    """Worth of one kWh more at so much stored, (houses,), `value` as of `value_of_energy`."""
    cell_kwh = (storage.highest_kwh - storage.lowest_kwh) / CELLS
    safe_kwh = np.maximum(cell_kwh, NOTHING_KWH)
    at = np.clip((stored_kwh - storage.lowest_kwh) / safe_kwh, 1.0, CELLS - 1.0)
    levels = np.arange(CELLS + 1)
    rows = [
        np.interp([one - 1.0, one + 1.0], levels, column)
        for one, column in zip(at, value.T, strict=True)
    ]
    below, above = np.array(rows).T
    return np.where(cell_kwh > 0.0, np.maximum(0.0, below - above) / (2.0 * safe_kwh), 0.0)


class _Cells:
    """The changes of stored energy that are looked at in a step: whole cells, down and up."""

    def __init__(self, storage: Storage, cell_kwh: Floats, step_h: float) -> None:
        self._safe_kwh = np.maximum(cell_kwh, NOTHING_KWH)
        fall_kwh, rise_kwh = storage.most_kwh(step_h)
        most_down, most_up = self._whole(-fall_kwh), self._whole(rise_kwh)
        self.down, self.up = int(most_down.max()), int(most_up.max())
        number = np.arange(-self.down, self.up)
        too_low, too_high = number < -most_down[:, None], number >= most_up[:, None]
        self._forbidden = FORBIDDEN * (too_high.astype(float) - too_low)
        change_kwh = cell_kwh[:, None] * np.arange(-self.down, self.up + 1)
        self._power_kw = storage.power_kw(change_kwh, step_h)

    def _whole(self, change_kwh: Floats) -> NDArray[np.int64]:
        """A battery that can move at all moves a cell."""
        least = (change_kwh > 0.0).astype(float)
        return np.clip(np.rint(change_kwh / self._safe_kwh), least, CELLS).astype(np.int64)

    def saved(self, market: Market, net_kw: Floats, regimes: Floats) -> Floats:
        """What a kWh less in the battery costs less (< 0: saves), (steps, regimes, houses, n)."""
        sigma_kw = market.outlook.sigma_kw
        outlook = replace(market.outlook, sigma_kw=NOISE_FRAC * sigma_kw)
        rows = []
        for regime in regimes:
            community_kw = market.community_kw + LASTING_FRAC * regime * sigma_kw
            shifted = replace(market, outlook=outlook, community_kw=community_kw)
            cost = shifted.cost(net_kw, self._power_kw[None])
            rows.append(np.diff(cost, axis=2) / self._safe_kwh[:, None] + self._forbidden)
        return -np.stack(rows, axis=1)[:, :, :, ::-1]


def _chain(stays: float) -> tuple[Floats, Floats]:
    """Values of unit variance, and the probabilities from one step to the next."""
    keep = (1.0 + stays) / 2.0
    chain = np.array([[keep, 1.0 - keep], [1.0 - keep, keep]])
    for size in range(3, REGIMES + 1):
        wider = np.zeros((size, size))
        wider[:-1, :-1] += keep * chain
        wider[:-1, 1:] += (1.0 - keep) * chain
        wider[1:, :-1] += (1.0 - keep) * chain
        wider[1:, 1:] += keep * chain
        wider[1:-1] /= 2.0
        chain = wider
    return np.linspace(-1.0, 1.0, REGIMES) * np.sqrt(REGIMES - 1.0), chain
