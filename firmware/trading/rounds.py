"""Planning the day with the neighbours: everyone announces, answers what all announced, and again.

Before each gate every house says a few times what it expects to draw in the steps of the coming
day, and each time answers the sum of what it heard by the plan that is best for it
(`control.neighbours`). After the last round the sum tells what energy will cost among neighbours,
and the own plan what to store. Nobody is the centre, and nothing of it is a promise: the order is.
When too few are heard the house plans alone, and says so.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from control.neighbours import (
    Answer,
    Beyond,
    Floats,
    Market,
    Outlook,
    Storage,
    announcement,
    keep_within_reach,
    respond,
    scarcity,
)
from control.neighbours_value import value_of_energy, worth_per_kwh
from control.net_position import Slot, bounds_kwh, mean_over, need, stored_at
from control.order_pricing import UNIT
from control.trades import Position, StoreFacts
from control.trading_records import Timeline
from firmware.trading.membership import Member, Membership
from firmware.trading.messages import MOST_PLAN_STEPS, PlanBody

DAY_S = 86_400.0
LEAST_STEP_S = DAY_S / MOST_PLAN_STEPS
ROUNDS_FRAC = (0.75, 0.65, 0.55, 0.45, 0.35)  # of the time before the gate is left at each round
MANY = 100  # members: with more of them prices move slowly, and the last two rounds are enough
QUORUM_FRAC = 0.5  # so many of the others have to be heard in a slot
KNOWN_FRAC = 0.9  # of the day has to be forecast; the rest is taken to be like its beginning
STILL_GOOD_S = 3600.0  # who says nothing is taken to keep to what it said before, for so long
MOVERS_FRAC = 0.5  # of the houses are taken to move alike: faster than all, without the guarantee
COMMON_FRAC = 0.5  # of the variance of errors is the weather, which is the same for all
LEAST_SIGMA_KW = 0.1
BAND_SIGMAS = 2.5631  # from the 10 % to the 90 % quantile of a normal distribution
NOT_ALLOWED_PER_KWH = 1e3


@dataclass(frozen=True, slots=True)
class Grid:
    """The steps that all members plan in for one slot: it begins in the first of them."""

    from_utc_s: float
    step_s: float
    steps: int

    @property
    def hours(self) -> float:
        """Length of a step."""
        return self.step_s / 3600.0

    def step(self, number: int) -> Slot:
        """The time of one step."""
        start_s = self.from_utc_s + number * self.step_s
        return Slot(start_s, start_s + self.step_s)


def plan_grid(timeline: Timeline, epoch: int) -> Grid:
    """A day in slots, but no steps shorter than a quarter of an hour."""
    step_s = max(LEAST_STEP_S, timeline.slot_s)
    start_s = timeline.delivery_s(epoch) // step_s * step_s
    return Grid(start_s, step_s, max(1, round(DAY_S / step_s)))


@dataclass(frozen=True, slots=True)
class Agreed:
    """What the rounds of one slot came to; series over the grid's steps."""

    epoch: int
    from_utc_s: float
    step_s: float
    prices_per_kwh: tuple[float, ...]
    drawn_kw: tuple[float, ...]
    stored_kwh: tuple[float, ...]  # one more: at the start of each step and at the end
    stored_value_per_kwh: float | None


@dataclass(frozen=True, slots=True)
class _Said:
    """A member's last announcement, and where it was going in its slot."""

    epoch: int
    grid: Grid
    drawn_kw: Floats
    before_kw: Floats
    sigma_kw: Floats

    def over(self, grid: Grid, ahead_frac: float) -> tuple[Floats, Floats]:
        """What it means for a later grid: the day begins anew where it ends."""
        shift = round((grid.from_utc_s - self.grid.from_utc_s) / grid.step_s)
        drawn_kw = self.drawn_kw + ahead_frac * (self.drawn_kw - self.before_kw)
        at = (np.arange(grid.steps) + shift) % len(drawn_kw)
        return drawn_kw[at], self.sigma_kw[at]


@dataclass(frozen=True, slots=True)
class _Day:
    """The house's own day on the grid."""

    net_kw: Floats
    sigma_kw: Floats
    outlook: Outlook
    storage: Storage
    stored_kwh: float
    beyond: Beyond


class Rounds:
    """One house's part in the rounds. Not for several threads."""

    def __init__(self, me: str, timeline: Timeline, store: StoreFacts) -> None:
        self.detail = ""  # how the last rounds went, in words
        self._me = me
        self._timeline = timeline
        self._store = store
        self._heard: dict[str, _Said] = {}
        self._done: tuple[int, int] = (-1, 0)  # epoch, rounds of it that are over
        self._own: _Said | None = None
        self._plan_kwh: Floats | None = None
        self._plan_grid: Grid | None = None
        self._agreed: Agreed | None = None

    def hear(self, peer: str, epoch: int, body: PlanBody) -> None:
        """Another member's announcement, its signature and limits already checked."""
        grid = plan_grid(self._timeline, epoch)
        if len(body.w) != grid.steps or peer == self._me:
            return
        self._heard[peer] = _said(self._heard.get(peer), epoch, grid, body.w, body.sd)

    def is_due(self, epoch: int, utc_s: float, community: Membership) -> bool:
        """Whether a round has begun that this house has not answered."""
        skipped = 0 if len(community.members) <= MANY else len(ROUNDS_FRAC) - 2
        done = self._done[1] if self._done[0] == epoch else skipped
        return self._begun(epoch, utc_s) > done

    def _begun(self, epoch: int, utc_s: float) -> int:
        line = self._timeline
        left_s = line.delivery_s(epoch) - utc_s - line.gate_s
        return sum(left_s <= frac * (line.slot_s - line.gate_s) for frac in ROUNDS_FRAC)

    def announce(
        self, position: Position, epoch: int, utc_s: float, community: Membership
    ) -> dict[str, list[int]] | None:
        """Answer what was heard; what to tell all. None: this house has no day to announce."""
        self._done = (epoch, self._begun(epoch, utc_s))
        grid = plan_grid(self._timeline, epoch)
        member = community.member(self._me)
        if member is None:
            return None
        day = self._day(position, grid, community.market.fee / UNIT)
        if day is None:
            self._own, self._plan_kwh, self._agreed = None, None, None
            self.detail = "plans alone: forecast or prices do not cover a day"
            return None
        self._forget(grid)
        heard = sum(said.epoch == epoch for said in self._heard.values())
        market, answer = self._answer(day, grid, self._done[1] - 1)
        self._plan_kwh, self._plan_grid = answer.stored_kwh, grid
        low_w, high_w = _limits_w(position, self._timeline, member)
        body = _bounded(answer.drawn_kw[:, 0], day.sigma_kw, low_w, high_w)
        self._own = _said(self._own, epoch, grid, body["w"], body["sd"])
        if self._done[1] == len(ROUNDS_FRAC):
            others = len(community.members) - 1
            self._close(_agreement(epoch, grid, day, market, answer), heard, others)
        return body

    def _close(self, agreed: Agreed, heard: int, others: int) -> None:
        """After the last round: did enough take part?"""
        if 0 < heard >= QUORUM_FRAC * others:
            self._agreed = agreed
            self.detail = f"plans with {heard} of {others} neighbours"
        else:
            self._agreed = None
            self.detail = f"plans alone: {heard} of {others} neighbours heard"

    def agreed(self, epoch: int) -> Agreed | None:
        """What the rounds for a slot came to; None: they did not close, plan alone."""
        return self._agreed if self._agreed is not None and self._agreed.epoch == epoch else None

    def latest(self, epoch: int) -> Agreed | None:
        """The same while the slot before is running and its agreement is not replaced yet."""
        return self.agreed(epoch) or self.agreed(epoch - 1)

    # --- the answer ---------------------------------------------------------------------------

    def _answer(self, day: _Day, grid: Grid, number: int) -> tuple[Market, Answer]:
        """The best plan when all go on a little in the direction they went."""
        ahead_frac = number / (number + 3.0)
        others = [said.over(grid, ahead_frac) for said in self._heard.values()]
        own_kw, plan_kwh = self._last_plan(day, grid, ahead_frac)
        sigmas = [day.sigma_kw, *(sigma_kw for _, sigma_kw in others)]
        total_kw, squares = sum(sigmas), sum(sigma_kw**2 for sigma_kw in sigmas)
        both = COMMON_FRAC * total_kw**2 + (1.0 - COMMON_FRAC) * squares
        sigma_kw = np.maximum(LEAST_SIGMA_KW, np.sqrt(both))
        outlook = replace(day.outlook, sigma_kw=sigma_kw)
        community_kw = own_kw + sum((drawn_kw for drawn_kw, _ in others), np.zeros(grid.steps))
        movers = max(1.0, MOVERS_FRAC * (len(others) + 1))
        market = Market(outlook, community_kw, own_kw[:, None], movers, day.beyond)
        stored_kwh = np.array([day.stored_kwh])
        answer = respond(day.storage, market, day.net_kw[:, None], stored_kwh, plan_kwh)
        return market, answer

    def _last_plan(self, day: _Day, grid: Grid, ahead_frac: float) -> tuple[Floats, Floats | None]:
        """What this house was last going to draw, and store."""
        last, known = self._plan_kwh, self._plan_grid
        if last is None or known is None or known.step_s != grid.step_s:
            return day.net_kw, None
        shift = round((grid.from_utc_s - known.from_utc_s) / grid.step_s)
        if not 0 <= shift < grid.steps:
            return day.net_kw, None
        moved = np.vstack([last[shift:], np.repeat(last[-1:], shift, axis=0)])
        plan_kwh = keep_within_reach(day.storage, grid.hours, np.array([day.stored_kwh]), moved)
        if self._own is not None and self._own.epoch == self._done[0]:
            return self._own.over(grid, ahead_frac)[0], plan_kwh
        drawn_kw = announcement(day.storage, grid.hours, day.net_kw[:, None], plan_kwh)
        return drawn_kw[:, 0], plan_kwh

    def _forget(self, grid: Grid) -> None:
        """Who has said nothing for long, and what was said on another grid."""
        self._heard = {
            peer: said
            for peer, said in self._heard.items()
            if said.grid.step_s == grid.step_s
            and abs(grid.from_utc_s - said.grid.from_utc_s) <= max(STILL_GOOD_S, grid.step_s)
        }

    # --- the own day --------------------------------------------------------------------------

    def _day(self, position: Position, grid: Grid, fee_per_kwh: float) -> _Day | None:
        needs = [need(position, grid.step(number)) for number in range(grid.steps)]
        known = [one for one in needs if one is not None]
        buy = _series(position.buy_per_kwh, position, grid)
        sell = _series(position.sell_per_kwh, position, grid)
        if len(known) < KNOWN_FRAC * grid.steps or buy is None or sell is None:
            return None
        days = [known[number % len(known)] for number in range(grid.steps)]
        net_kw = np.array([one.p50_kwh for one in days]) / grid.hours
        wide_kw = np.array([one.p90_kwh - one.p10_kwh for one in days]) / grid.hours
        storage, stored_kwh = self._storage(position, grid)
        sell = np.minimum(sell, buy)
        outlook = Outlook(
            step_h=grid.hours,
            buy_per_kwh=buy,
            sell_per_kwh=sell,
            sigma_kw=np.full(grid.steps, LEAST_SIGMA_KW),
            fee_per_kwh=fee_per_kwh,
            energy_value_per_kwh=max(0.0, storage.efficiency_frac * float(buy.min())),
            wear_per_kwh=self._store.wear_per_kwh,
        )
        load_kw = _series(position.load_kw.p50_kw, position, grid)
        if load_kw is None:
            return None
        grid_per_kwh = buy if self._store.charge_from_grid else buy + NOT_ALLOWED_PER_KWH
        beyond = Beyond(np.maximum(load_kw, 0.0)[:, None], grid_per_kwh)
        return _Day(net_kw, np.abs(wide_kw) / BAND_SIGMAS, outlook, storage, stored_kwh, beyond)

    def _storage(self, position: Position, grid: Grid) -> tuple[Storage, float]:
        """The battery for planning; without a state of charge there is none."""
        store = self._store
        efficiency = math.sqrt(store.charge_efficiency_frac * store.discharge_efficiency_frac)
        stored_kwh = stored_at(position, store, max(position.utc_s, grid.from_utc_s))
        low_kwh, high_kwh = bounds_kwh(position, store)
        charge_kw, discharge_kw = store.charge_max_kw, store.discharge_max_kw
        if stored_kwh is None:
            stored_kwh, low_kwh, high_kwh, charge_kw, discharge_kw = 0.0, 0.0, 0.0, 0.0, 0.0
        limits = (low_kwh, max(low_kwh, high_kwh), charge_kw, discharge_kw)
        rows = [np.array([limit]) for limit in limits]
        return Storage(rows[0], rows[1], rows[2], rows[3], efficiency), stored_kwh


def _series(series: Sequence[float], position: Position, grid: Grid) -> Floats | None:
    """A series over the grid; the day begins anew where it ends."""
    means = [
        mean_over(series, position.from_utc_s, position.step_s, grid.step(number))
        for number in range(grid.steps)
    ]
    known = [mean for mean in means if mean is not None]
    if len(known) < KNOWN_FRAC * grid.steps:
        return None
    return np.array([known[number % len(known)] for number in range(grid.steps)])


def _said(
    before: _Said | None, epoch: int, grid: Grid, watts: Sequence[int], sigma_w: Sequence[int]
) -> _Said:
    drawn_kw, sigma_kw = np.array(watts) / 1000.0, np.array(sigma_w) / 1000.0
    goes_on = before is not None and before.epoch == epoch
    before_kw = before.drawn_kw if before is not None and goes_on else drawn_kw
    return _Said(epoch, grid, drawn_kw, before_kw, sigma_kw)


def _limits_w(position: Position, timeline: Timeline, member: Member) -> tuple[float, float]:
    """What the connection carries, and no more than the member may trade: others refuse it else."""
    slots_per_h = 3600.0 / timeline.slot_s
    sell_w = min(member.max_sell_wh * slots_per_h, 1000.0 * max(0.0, position.export_max_kw))
    buy_w = min(member.max_buy_wh * slots_per_h, 1000.0 * max(0.0, position.import_max_kw))
    return -sell_w, buy_w


def _bounded(
    drawn_kw: Floats, sigma_kw: Floats, low_w: float, high_w: float
) -> dict[str, list[int]]:
    """The message's body, within limits."""
    watts = np.clip(1000.0 * drawn_kw, low_w, high_w)
    sigma_w = np.clip(1000.0 * sigma_kw, 0.0, high_w - low_w)
    return {"w": [round(w) for w in watts.tolist()], "sd": [round(w) for w in sigma_w.tolist()]}


def _agreement(epoch: int, grid: Grid, day: _Day, market: Market, answer: Answer) -> Agreed:
    """Prices by the community's balance with our answer in it, our plan, and its value."""
    outlook = market.outlook
    community_kw = market.community_kw + (answer.drawn_kw - market.announced_kw)[:, 0]
    gap = outlook.buy_per_kwh - outlook.sell_per_kwh
    prices = outlook.sell_per_kwh + gap * scarcity(outlook, community_kw)
    now = replace(market, community_kw=community_kw, announced_kw=answer.drawn_kw)
    return Agreed(
        epoch,
        grid.from_utc_s,
        grid.step_s,
        tuple(prices.tolist()),
        tuple(answer.drawn_kw[:, 0].tolist()),
        tuple(answer.stored_kwh[:, 0].tolist()),
        _stored_value(day, now, answer.stored_kwh[1]),
    )


def _stored_value(day: _Day, market: Market, stored_kwh: Floats) -> float | None:
    """Value of one kWh more in the battery at the end of the first step."""
    if not day.storage.highest_kwh[0] > day.storage.lowest_kwh[0]:
        return None
    value = value_of_energy(day.storage, market, day.net_kw[:, None])
    return float(worth_per_kwh(day.storage, value, stored_kwh)[0])
