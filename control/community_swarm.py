"""The storage powers of a street by particle swarm, most energy traded: Qayyum 2023, Algorithm 1.

Kept for comparison: it looks at one slot at a time and knows no prices. Who has a surplus (+1)
offers it, PV first, then from the battery down to its floor; who has a deficit (-1) covers what it
can from its own battery and buys the rest; what is bought serves load and is never stored. The
paper's step 40 minimises what its text maximises; here energy sold is maximised.
"""

from dataclasses import dataclass

import numpy as np

from control.dispatch_instance import Floats
from control.swarm import Swarm

UNTAKEN_COST = 0.1  # of a kW that is offered and not taken, beside a traded kW: rather stored


@dataclass(frozen=True, slots=True)
class Houses:
    """One slot of a street, each (houses,), kW at the AC terminals."""

    load_kw: Floats
    pv_kw: Floats
    room_kw: Floats  # the battery can take, by its power and its free energy
    held_kw: Floats  # it can give, by its power and what is above its floor
    offer_max_kw: Floats  # A_max: the most that a house may sell

    @property
    def surplus_kw(self) -> Floats:
        """PV beyond the load; < 0 is a deficit."""
        return np.asarray(self.pv_kw - self.load_kw)

    @property
    def roles(self) -> Floats:
        """+1 sells, -1 buys (the paper's trade function)."""
        return np.where(self.surplus_kw > 0, 1.0, -1.0)

    def limits_kw(self) -> tuple[Floats, Floats]:
        """Lowest and highest storage power of each house; < 0 charges (eqs 7 and 10)."""
        surplus_kw, selling = self.surplus_kw, self.roles > 0
        own_kw = np.minimum(-surplus_kw, self.held_kw)  # eq. 7: a buyer's own battery comes first
        low = np.where(selling, -np.minimum(surplus_kw, self.room_kw), own_kw)
        return low, np.where(selling, self.held_kw, own_kw)

    def offered_kw(self, battery_kw: Floats) -> Floats:
        """What each house offers (> 0) or asks for (< 0) at these storage powers (eqs 6, 9)."""
        net_kw = self.surplus_kw + battery_kw
        return np.asarray(np.minimum(net_kw, self.offer_max_kw))

    def traded_kw(self, battery_kw: Floats) -> Floats:
        """What changes hands; `battery_kw` may be (particles, houses)."""
        offered_kw = self.offered_kw(battery_kw)
        given_kw = np.maximum(offered_kw, 0.0).sum(axis=-1)
        return np.asarray(np.minimum(given_kw, np.maximum(-offered_kw, 0.0).sum(axis=-1)))


def storage_powers(
    houses: Houses, rng: np.random.Generator, particles: int = 30, moves: int = 40
) -> Floats:
    """Storage power of each house, (houses,), > 0 discharging, that trades most."""
    low, high = houses.limits_kw()
    swarm = Swarm(low, high, np.array([low, high]), particles, rng)

    def cost(battery_kw: Floats) -> Floats:
        traded_kw = houses.traded_kw(battery_kw)
        given_kw = np.maximum(houses.offered_kw(battery_kw), 0.0).sum(axis=-1)
        return np.asarray(UNTAKEN_COST * (given_kw - traded_kw) - traded_kw)

    for _ in range(moves):
        swarm.iterate(cost, moves)
    return np.asarray(swarm.best_position)
