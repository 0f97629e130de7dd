"""Planning a house's storage with its neighbours: everyone announces a day, nobody is the centre.

A slot's community balance Y (what all announce to draw, together) will be off by an error of known
size, so a kWh more of it costs, on average, a price between the feed-in price (there is surplus)
and the retail price (there is none):

    price(Y) = sell + (buy - sell) / (1 + exp(-Y / s)),      s = sigma sqrt(3) / pi

Each house answers the announced balance by the plan that is best if all N houses move as it does.
That assumption makes simultaneous answers safe: with C the cost whose slope is the price,
C(Y + sum d_i) <= sum C(Y + N d_i) / N since C is convex, so every round makes the community's
expected cost smaller or leaves it, however many houses answer. Houses that say nothing stay where
they were; a round that fails costs nothing but itself.

Arrays are (steps, houses): a box plans for one house, a bench for many at once. Energies in kWh,
powers in kW at the AC terminals, > 0 drawn from the community.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = 33  # of stored energy in the first plan
FINER = 3  # times the corridor around a plan is searched anew ...
HALF = 6  # ... with so many levels to each side ...
SHRINK = 3.0  # ... and this much closer together than before
CORRIDOR_FRAC = (
    1.0 / 16.0
)  # half of the first corridor around an earlier plan, of the usable energy
FORBIDDEN = 1e9
CANDIDATES = 101  # powers that are tried within a slot


@dataclass(frozen=True, slots=True)
class Storage:
    """The batteries of the houses, each (houses,); a house without one has no usable energy."""

    lowest_kwh: Floats
    highest_kwh: Floats
    charge_max_kw: Floats
    discharge_max_kw: Floats
    efficiency_frac: float  # one way

    def power_kw(self, change_kwh: Floats, step_h: float) -> Floats:
        """Power drawn for a change of the stored energy over one step."""
        drawn = np.where(change_kwh > 0, change_kwh / self.efficiency_frac, change_kwh)
        return np.where(change_kwh < 0, drawn * self.efficiency_frac, drawn) / step_h

    def most_kwh(self, step_h: float) -> tuple[Floats, Floats]:
        """Largest fall (< 0) and rise of the stored energy in one step."""
        fall = -self.discharge_max_kw * step_h / self.efficiency_frac
        return fall, self.charge_max_kw * step_h * self.efficiency_frac


@dataclass(frozen=True, slots=True)
class Outlook:
    """What all houses know alike of the steps ahead; series are (steps,)."""

    step_h: float
    buy_per_kwh: Floats
    sell_per_kwh: Floats
    sigma_kw: Floats  # error of the community's forecast balance, > 0
    fee_per_kwh: float
    energy_value_per_kwh: float  # of what is stored at the end
    wear_per_kwh: float = 0.0  # of a battery, per kWh through its terminals

    @property
    def spread_kw(self) -> Floats:
        """The logistic distribution's scale of that error."""
        return np.asarray(self.sigma_kw * np.sqrt(3.0) / np.pi)


def scarcity(outlook: Outlook, community_kw: Floats) -> Floats:
    """Probability that the community draws from outside, (steps,)."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(community_kw / outlook.spread_kw, -50, 50))))


@dataclass(frozen=True, slots=True)
class Market:
    """What one round of answers starts from: everybody's announcements, and who answers."""

    outlook: Outlook
    community_kw: Floats  # (steps,): the sum of all announcements
    announced_kw: Floats  # (steps, houses): what the answering houses said before
    movers: float  # so many houses are taken to move alike; 1: only this one
    beyond: "Beyond | None" = None  # None: neighbours' energy may be stored

    def cost(self, net_kw: Floats, power_kw: Floats) -> Floats:
        """Expected cost of drawing `net_kw` (steps, houses) and `power_kw` (steps, houses, n)."""
        outlook = self.outlook
        drawn_kw = net_kw[:, :, None] + power_kw
        moved_kw = self.community_kw[:, None, None] + self.movers * (
            drawn_kw - self.announced_kw[:, :, None]
        )
        scale = outlook.spread_kw[:, None, None]
        sell = outlook.sell_per_kwh[:, None, None]
        gap = (outlook.buy_per_kwh - outlook.sell_per_kwh)[:, None, None]
        short_kw = scale * np.logaddexp(0.0, moved_kw / scale)  # expected draw from outside
        scarce = scarcity(outlook, self.community_kw)[:, None, None]
        fee = outlook.fee_per_kwh * np.where(drawn_kw > 0, 1.0 - scarce, -scarce) * drawn_kw
        expected = (sell * moved_kw + gap * short_kw) / self.movers + fee
        expected = expected + outlook.wear_per_kwh * np.abs(power_kw)
        if self.beyond is not None:
            expected = expected + self._dearer(self.beyond, drawn_kw)
        return np.asarray(outlook.step_h * expected)

    def _dearer(self, beyond: "Beyond", drawn_kw: Floats) -> Floats:
        """What costs more than the community's price since neighbours' energy is not stored."""
        outlook = self.outlook
        gap = outlook.buy_per_kwh - outlook.sell_per_kwh
        price = outlook.sell_per_kwh + gap * scarcity(outlook, self.community_kw)
        extra = np.maximum(beyond.price_per_kwh - price, 0.0)[:, None, None]
        return np.asarray(extra * np.maximum(drawn_kw - beyond.load_kw[:, :, None], 0.0))


@dataclass(frozen=True, slots=True)
class Beyond:
    """Bought energy serves load at once (Qayyum 2023): what is drawn beyond it is the grid's."""

    load_kw: Floats  # (steps, houses)
    price_per_kwh: Floats  # (steps,)


@dataclass(frozen=True, slots=True)
class Answer:
    """A house's plan: what it will draw, (steps, houses), and store, (steps + 1, houses)."""

    drawn_kw: Floats
    stored_kwh: Floats


def respond(
    storage: Storage,
    market: Market,
    net_kw: Floats,
    stored_kwh: Floats,
    earlier_kwh: Floats | None = None,
) -> Answer:
    """Return the best plan of each house, given what all announced.

    `net_kw` (steps, houses) is load less PV, `stored_kwh` (houses,) what is stored now;
    `earlier_kwh` (steps + 1, houses), an earlier plan, saves the search over all levels.
    """
    usable_kwh = storage.highest_kwh - storage.lowest_kwh
    if earlier_kwh is None:
        plan_kwh = _first(storage, market, net_kw, stored_kwh)
        width_kwh = usable_kwh / (LEVELS - 1)
    else:
        plan_kwh = keep_within_reach(storage, market.outlook.step_h, stored_kwh, earlier_kwh)
        width_kwh = usable_kwh * CORRIDOR_FRAC
    for _ in range(FINER):
        plan_kwh = _refined(storage, market, net_kw, plan_kwh, width_kwh / HALF)
        width_kwh = width_kwh / SHRINK
    change_kwh = np.diff(plan_kwh, axis=0)
    return Answer(net_kw + storage.power_kw(change_kwh, market.outlook.step_h), plan_kwh)


def announcement(storage: Storage, step_h: float, net_kw: Floats, stored_kwh: Floats) -> Floats:
    """What a house draws when it keeps to a plan of stored energy, (steps, houses)."""
    return net_kw + storage.power_kw(np.diff(stored_kwh, axis=0), step_h)


def _first(storage: Storage, market: Market, net_kw: Floats, stored_kwh: Floats) -> Floats:
    """A plan from the search over all levels of stored energy."""
    best = _next_levels(storage, market, net_kw)
    steps, houses = net_kw.shape
    spacing_kwh = (storage.highest_kwh - storage.lowest_kwh) / (LEVELS - 1)
    safe_kwh = np.maximum(spacing_kwh, 1e-9)
    at = np.rint((stored_kwh - storage.lowest_kwh) / safe_kwh).astype(int).clip(0, LEVELS - 1)
    plan_kwh = np.empty((steps + 1, houses))
    plan_kwh[0] = stored_kwh
    for step in range(steps):
        at = best[step, np.arange(houses), at]
        plan_kwh[step + 1] = storage.lowest_kwh + at * spacing_kwh
    return keep_within_reach(storage, market.outlook.step_h, stored_kwh, plan_kwh)


def _next_levels(storage: Storage, market: Market, net_kw: Floats) -> NDArray[np.int64]:
    """Dynamic programming over all levels: the best next ones, (steps, houses, LEVELS)."""
    steps, houses = net_kw.shape
    levels = np.linspace(storage.lowest_kwh, storage.highest_kwh, LEVELS)
    spacing_kwh = (storage.highest_kwh - storage.lowest_kwh) / (LEVELS - 1)
    jumps = np.arange(-(LEVELS - 1), LEVELS)
    change_kwh = spacing_kwh[:, None] * jumps
    cost = market.cost(net_kw, storage.power_kw(change_kwh, market.outlook.step_h)[None])
    cost = cost + _out_of_reach(storage, market.outlook.step_h, change_kwh)
    index = np.arange(LEVELS)[None, :] - np.arange(LEVELS)[:, None] + LEVELS - 1
    value = np.asarray(-market.outlook.energy_value_per_kwh * levels)
    best = np.empty((steps, houses, LEVELS), dtype=np.int64)
    for step in range(steps - 1, -1, -1):
        total = cost[step][:, index] + value.T[:, None, :]  # house, from, to
        best[step] = total.argmin(axis=2)
        value = total.min(axis=2).T
    return best


def _out_of_reach(storage: Storage, step_h: float, change_kwh: Floats) -> Floats:
    """FORBIDDEN where the power limits do not allow a change, (houses, n) like `change_kwh`."""
    fall, rise = storage.most_kwh(step_h)
    beyond = (change_kwh < fall[:, None] - 1e-9) | (change_kwh > rise[:, None] + 1e-9)
    return np.where(beyond, FORBIDDEN, 0.0)


def keep_within_reach(
    storage: Storage, step_h: float, stored_kwh: Floats, plan_kwh: Floats
) -> Floats:
    """`plan_kwh` from what is stored now on, within the limits of power and energy."""
    fall, rise = storage.most_kwh(step_h)
    result = plan_kwh.copy()
    result[0] = stored_kwh
    for step in range(1, len(result)):
        low = np.maximum(result[step - 1] + fall, np.minimum(storage.lowest_kwh, stored_kwh))
        high = np.minimum(result[step - 1] + rise, storage.highest_kwh)
        result[step] = np.clip(result[step], low, np.maximum(low, high))
    return result


def _refined(
    storage: Storage, market: Market, net_kw: Floats, plan_kwh: Floats, spacing_kwh: Floats
) -> Floats:
    """The best plan within HALF levels of `plan_kwh`."""
    steps, houses = net_kw.shape
    offsets = np.arange(-HALF, HALF + 1)
    jumps = np.arange(-2 * HALF, 2 * HALF + 1)
    change_kwh = np.diff(plan_kwh, axis=0)[:, :, None] + spacing_kwh[:, None] * jumps
    fall, rise = storage.most_kwh(market.outlook.step_h)
    cost = market.cost(net_kw, storage.power_kw(change_kwh, market.outlook.step_h))
    beyond = (change_kwh < fall[:, None] - 1e-9) | (change_kwh > rise[:, None] + 1e-9)
    beyond[:, :, 2 * HALF] = False  # to keep to the plan is always possible
    cost = cost + FORBIDDEN * beyond
    levels = plan_kwh[:, :, None] + spacing_kwh[:, None] * offsets
    outside = (levels < storage.lowest_kwh[:, None] - 1e-9) | (
        levels > storage.highest_kwh[:, None] + 1e-9
    )
    outside[:, :, HALF] = False
    penalty = FORBIDDEN * outside
    jump = offsets[:, None] - offsets[None, :] + 2 * HALF  # to, from
    moving = cost.transpose(0, 2, 1)[:, jump]  # step, to, from, house: minima over `to` are fast
    to_go = np.empty((steps + 1, len(offsets), houses))
    to_go[steps] = (penalty[steps] - market.outlook.energy_value_per_kwh * levels[steps]).T
    for step in range(steps - 1, -1, -1):
        total = moving[step] + to_go[step + 1][:, None, :]
        to_go[step] = total.min(axis=0) + penalty[step].T
    every, at = np.arange(houses), np.full(houses, HALF)
    result = plan_kwh.copy()
    for step in range(steps):
        at = (moving[step][:, at, every] + to_go[step + 1]).argmin(axis=0)
        result[step + 1] = levels[step + 1, every, at]
    return result


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the houses have agreed to draw in this slot, (houses,), and what lies beyond it."""

    drawn_kw: Floats
    buy_per_kwh: float
    sell_per_kwh: float


def follow(
    storage: Storage,
    agreed: Agreed,
    net_kw: Floats,
    stored_kwh: Floats,
    value: Floats,
    step_h: float,
) -> Floats:
    """Return the change of stored energy over the slot that is best now that load and PV are known.

    `net_kw` and `stored_kwh` (houses,), `value` as of `neighbours_value.value_of_energy`. What is
    drawn beyond the agreement is bought outside, what is left of it is sold there.
    """
    fall, rise = storage.most_kwh(step_h)
    low = np.maximum(fall, np.minimum(0.0, storage.lowest_kwh - stored_kwh))
    high = np.maximum(low, np.minimum(rise, storage.highest_kwh - stored_kwh))
    spread = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, CANDIDATES)
    wanted_kw = agreed.drawn_kw - net_kw
    stored = np.where(wanted_kw > 0, wanted_kw * storage.efficiency_frac, wanted_kw)
    stored = np.where(wanted_kw < 0, stored / storage.efficiency_frac, stored) * step_h
    change_kwh = np.column_stack([np.clip(stored, low, high), np.clip(0.0, low, high), spread])
    beyond_kw = net_kw[:, None] + storage.power_kw(change_kwh, step_h) - agreed.drawn_kw[:, None]
    cost = np.where(beyond_kw > 0, agreed.buy_per_kwh, agreed.sell_per_kwh) * beyond_kw * step_h
    usable_kwh = np.maximum(storage.highest_kwh - storage.lowest_kwh, 1e-9)
    position = (stored_kwh[:, None] + change_kwh - storage.lowest_kwh[:, None]) / usable_kwh[
        :, None
    ]
    levels = np.linspace(0.0, 1.0, len(value))
    for house in range(len(net_kw)):
        cost[house] += np.interp(position[house], levels, value[:, house])
    chosen = cost.argmin(axis=1)
    return np.asarray(change_kwh[np.arange(len(net_kw)), chosen])
