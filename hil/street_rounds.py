"""The rounds of announcements before a slot, of all houses of a street at once."""

import numpy as np

from control.neighbours import (
    Answer,
    Market,
    Outlook,
    Storage,
    announcement,
    keep_within_reach,
    respond,
)
from hil.street_result import Floats

FIRST_ROUNDS = 20  # at first nobody has announced anything yet
MOVERS_FRAC = 0.5  # of the houses are taken to move alike: faster than all, without the guarantee


def announced(outlook: Outlook, drawn_kw: Floats) -> Market:
    """What all houses start from when they have said that they will draw `drawn_kw`."""
    movers = max(1.0, MOVERS_FRAC * drawn_kw.shape[1])
    return Market(outlook, drawn_kw.sum(axis=1), drawn_kw, movers)


class Rounds:
    """All answer what all announced last, a little ahead of where it was going."""

    def __init__(self, storage: Storage, rounds: int) -> None:
        self._storage, self._rounds = storage, rounds
        self._plan_kwh: Floats | None = None  # of the slot before

    def agreed(self, outlook: Outlook, net_kw: Floats, stored_kwh: Floats) -> Answer:
        """What the rounds come to for this slot; `net_kw` (steps, houses) is load less PV."""
        storage, rounds = self._storage, FIRST_ROUNDS
        plan_kwh, announced_kw = None, net_kw
        if self._plan_kwh is not None:
            shifted = np.vstack([self._plan_kwh[1:], self._plan_kwh[-1:]])
            plan_kwh = keep_within_reach(storage, outlook.step_h, stored_kwh, shifted)
            announced_kw = announcement(storage, outlook.step_h, net_kw, plan_kwh)
            rounds = self._rounds
        before_kw = announced_kw
        for number in range(rounds):
            ahead_kw = announced_kw + number / (number + 3) * (announced_kw - before_kw)
            answer = respond(storage, announced(outlook, ahead_kw), net_kw, stored_kwh, plan_kwh)
            before_kw, announced_kw, plan_kwh = announced_kw, answer.drawn_kw, answer.stored_kwh
        self._plan_kwh = plan_kwh
        return answer
