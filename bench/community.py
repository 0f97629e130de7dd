"""What a street gains when its houses plan their storage with each other and trade.

Run as `python -m bench.community [SET:CASE]... [--weeks N] [--rounds N]`. Every slot each house
forecasts its own day, answers a few rounds of announcements (`control.neighbours`), and puts one
order into the slot's book, priced as the trading agent does (`control.order_pricing`); the book is
cleared by `control.market` before the slot begins. In the
slot the batteries follow measured load and PV; what differs from the trades is bought and sold
outside. Nobody sees the future and nobody is the centre.

Share of gain = (alone - this) / (alone - bound): alone is every house for itself with the
self-consumption rule (on an island: with what is left traded), the bound one linear programme over
all houses and the week with perfect foresight.
"""

from dataclasses import dataclass, field

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.community_bound import bound, rule_cost
from bench.community_sets import (
    CAPACITY_KWH,
    CASES,
    ETA,
    FEE_PER_KWH,
    LOWEST_KWH,
    POWER_KW,
    START_KWH,
    Community,
    Floats,
    load_case,
)
from control.market import clear
from control.market_book import Book, Order, Side
from control.neighbours import (
    LEVELS,
    Agreed,
    Market,
    Outlook,
    Storage,
    follow,
    value_of_energy,
)
from control.order_pricing import Band, Means, Need, order_steps
from hil.street_forecast import Forecaster
from hil.street_rounds import SIGMA_FACTOR, Rounds

UNIT = 100_000  # of the market's prices per currency unit
NO_LIMIT = 1e3  # kWh
QUANTILE = 1.2816  # standard deviations from the median to the 10 % and 90 % quantiles


@dataclass
class Result:
    """Sums over the weeks, in currency, kWh and house-weeks."""

    cost: float = 0.0
    alone: float = 0.0
    bound: float = 0.0
    traded_kwh: float = 0.0
    house_weeks: int = 0
    budget_error: float = 0.0
    gains: Floats = field(default_factory=lambda: np.zeros(0))  # per house, against no trading

    @property
    def share_of_gain(self) -> float:
        """1 is the bound."""
        return (self.alone - self.cost) / (self.alone - self.bound)


def play(community: Community, weeks: int | None, rounds: int, progress: Progress) -> Result:
    """All weeks of one case."""
    result = Result(gains=np.zeros(community.houses))
    chosen = community.weeks[:weeks]
    task = progress.add_task(community.name, total=sum(last - first for first, last in chosen))
    for first, last in chosen:
        week = _Week(community, first, rounds)
        for slot in range(first, last):
            week.step(slot)
            progress.advance(task)
        left = community.energy_value_per_kwh * (week.stored_kwh - week.began_kwh)
        result.cost += week.cost - float(left.sum())
        result.budget_error = max(result.budget_error, abs(week.cost - float(week.bills.sum())))
        result.gains += week.without - week.bills
        result.alone += rule_cost(community, first, last)
        result.bound += bound(community, first, last)
        result.traded_kwh += week.traded_kwh
        result.house_weeks += community.houses
    return result


class _Week:
    """One week of a street, slot by slot."""

    def __init__(self, community: Community, first: int, rounds: int) -> None:
        self._community = community
        has = np.array(community.batteries)
        self._storage = Storage(
            lowest_kwh=np.full(community.houses, LOWEST_KWH),
            highest_kwh=np.where(has, CAPACITY_KWH, LOWEST_KWH),
            charge_max_kw=np.where(has, POWER_KW, 0.0),
            discharge_max_kw=np.where(has, POWER_KW, 0.0),
            efficiency_frac=ETA,
        )
        self._forecaster = Forecaster(community.load_kw, community.pv_kw, community.step_h)
        self._house_error_kw = self._forecaster.house_error_kw(first)
        self._sigma_kw = SIGMA_FACTOR * self._forecaster.error_kw(first)
        self.began_kwh = np.where(has, START_KWH, LOWEST_KWH)
        self.stored_kwh = self.began_kwh
        self._rounds = Rounds(self._storage, rounds)
        self.cost = self.traded_kwh = 0.0
        self.bills = np.zeros(community.houses)
        self.without = np.zeros(community.houses)  # the same power, all of it traded outside

    def step(self, slot: int) -> None:
        """Plan, trade, live through one slot."""
        community = self._community
        net_kw = self._forecaster.net_kw(slot)
        outlook = self._outlook(slot, len(net_kw))
        answer = self._rounds.agreed(outlook, net_kw, self.stored_kwh)
        announced_kw = answer.drawn_kw
        market = Market(outlook, announced_kw.sum(axis=1), announced_kw, movers=1.0)
        value = value_of_energy(self._storage, market, net_kw)
        means = self._means(outlook, value, answer.stored_kwh)
        bought_kw, price = self._trade(slot, announced_kw[0], net_kw[0], means)
        buy, sell = float(outlook.buy_per_kwh[0]), community.feed_in_per_kwh
        measured_kw = community.load_kw[slot] - community.pv_kw[slot]
        change_kwh = follow(
            self._storage,
            Agreed(bought_kw, buy, sell),
            measured_kw,
            self.stored_kwh,
            value,
            community.step_h,
        )
        drawn_kw = measured_kw + self._storage.power_kw(change_kwh, community.step_h)
        self.stored_kwh = self.stored_kwh + change_kwh
        self._settle(drawn_kw, bought_kw, price, buy, sell)

    def _outlook(self, slot: int, steps: int) -> Outlook:
        prices = self._community.retail_per_kwh
        ahead = np.minimum(np.arange(slot, slot + steps), len(prices) - 1)
        return Outlook(
            step_h=self._community.step_h,
            buy_per_kwh=prices[ahead],
            sell_per_kwh=np.full(steps, self._community.feed_in_per_kwh),
            sigma_kw=self._sigma_kw,
            fee_per_kwh=FEE_PER_KWH,
            energy_value_per_kwh=self._community.energy_value_per_kwh,
        )

    def _means(self, outlook: Outlook, value: Floats, plan_kwh: Floats) -> list[Means]:
        """What each house can do in the slot, stored energy valued along its plan."""
        storage, step_h = self._storage, self._community.step_h
        fall, rise = storage.most_kwh(step_h)
        left_kwh = np.minimum(-fall, self.stored_kwh - storage.lowest_kwh) * ETA
        room_kwh = np.minimum(rise, storage.highest_kwh - self.stored_kwh) / ETA
        width_kwh = np.maximum(storage.highest_kwh - storage.lowest_kwh, 1e-9) / (LEVELS - 1)
        at = np.clip((plan_kwh[1] - storage.lowest_kwh) / width_kwh, 1.0, LEVELS - 2.0)
        rows = []
        for house in range(self._community.houses):
            around = at[house] + np.array([-1.0, 1.0])
            below, above = np.interp(around, np.arange(LEVELS), value[:, house])
            per_kwh = max(0.0, float(below - above) / (2.0 * float(width_kwh[house])))
            rows.append(
                Means(
                    load_kwh=NO_LIMIT,  # bought energy may be stored here
                    charge_kwh=max(0.0, float(room_kwh[house])),
                    discharge_kwh=max(0.0, float(left_kwh[house])),
                    import_kwh=NO_LIMIT,
                    export_kwh=NO_LIMIT,
                    buy_per_kwh=float(outlook.buy_per_kwh[0]),
                    sell_per_kwh=float(outlook.sell_per_kwh[0]),
                    charging_per_kwh=per_kwh * ETA,
                    discharging_per_kwh=per_kwh / ETA,
                )
            )
        return rows

    def _trade(
        self, slot: int, planned_kw: Floats, net_kw: Floats, means: list[Means]
    ) -> tuple[Floats, float]:
        """Power bought (> 0) and sold by each house, and the price that buyers pay."""
        community = self._community
        floor = round(UNIT * community.feed_in_per_kwh)
        ceiling = round(UNIT * community.retail_per_kwh[slot])
        band = Band(floor, ceiling, 10**9, 10**9)
        names = [f"house-{house:02}" for house in range(community.houses)]
        orders = []
        for house, name in enumerate(names):
            middle_kw, wide_kw = net_kw[house], QUANTILE * self._house_error_kw[house]
            ends_kw = (middle_kw - wide_kw, middle_kw, middle_kw + wide_kw)
            need = Need(*(community.step_h * float(kw) for kw in ends_kw))
            side: Side = "buy" if planned_kw[house] > 0 else "sell"
            steps = order_steps(side, need, means[house], band)
            if steps:
                orders.append(Order(name, side, steps))
        seed = slot.to_bytes(32, "big")
        fee = round(UNIT * FEE_PER_KWH)
        clearing = clear(Book(slot, seed, fee, floor, ceiling, tuple(orders)))
        bought_kw = np.zeros(community.houses)
        for trade in clearing.trades:
            power_kw = trade.wh / 1000.0 / community.step_h
            bought_kw[names.index(trade.buyer)] += power_kw
            bought_kw[names.index(trade.seller)] -= power_kw
        return bought_kw, (clearing.price or 0) / UNIT

    def _settle(
        self, drawn_kw: Floats, bought_kw: Floats, price: float, buy: float, sell: float
    ) -> None:
        step_h = self._community.step_h
        beyond_kw = drawn_kw - bought_kw
        outside = step_h * np.where(beyond_kw > 0, buy, sell) * beyond_kw
        trades = step_h * np.where(bought_kw > 0, price, price - FEE_PER_KWH) * bought_kw
        traded_kwh = step_h * float(np.maximum(bought_kw, 0.0).sum())
        self.bills += outside + trades
        self.without += step_h * np.where(drawn_kw > 0, buy, sell) * drawn_kw
        self.cost += float(outside.sum()) + FEE_PER_KWH * traded_kwh
        self.traded_kwh += traded_kwh


@click.command()
@click.argument("cases", nargs=-1)
@click.option("--weeks", type=click.IntRange(1), help="Only the first so many.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Announcements per house and slot.",
)
def main(cases: tuple[str, ...], weeks: int | None, rounds: int) -> None:
    """Play CASES (such as fontana5:tou_fit05; default: all) and print the table."""
    table = Table("case", "cost", "alone", "bound", "share of gain", "traded", "worst house")
    wanted = cases or tuple(f"{name}:{case}" for name in CASES for case in CASES[name])
    with Progress(console=Console(stderr=True)) as progress:
        for case in wanted:
            name, _, tariff = case.partition(":")
            if tariff not in CASES.get(name, ()):
                raise click.BadParameter(f"{case}: no such case; allowed: SET:CASE of {CASES}")
            result = play(load_case(name, tariff), weeks, rounds, progress)
            per = result.house_weeks
            table.add_row(
                case,
                *(f"{x / per:.3f}" for x in (result.cost, result.alone, result.bound)),
                f"{result.share_of_gain:.1%}",
                f"{result.traded_kwh / per:.1f}",
                f"{result.gains.min():+.2f}",
            )
            if result.budget_error > 1e-6:
                raise click.ClickException(f"{case}: bills and cost differ: {result.budget_error}")
    Console().print(table)
    Console().print(
        "Costs and kWh per house and week; worst house: what trading gained it at least"
    )


if __name__ == "__main__":
    main()
