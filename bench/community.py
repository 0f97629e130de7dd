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

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.community_bound import bound, rule_bills
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
    Agreed,
    Outlook,
    Storage,
    follow,
)
from control.neighbours_value import value_of_energy, worth_per_kwh
from control.order_pricing import Band, Means, Need, order_steps
from hil.street_forecast import Forecaster
from hil.street_rounds import Rounds, announced

UNIT = 100_000  # of the market's prices per currency unit
NO_LIMIT = 1e3  # kWh
MOST_ERROR = 1e-6  # currency, between the sum of the bills and the cost
WORST = ("worst (a)", "worst (b)")
FILE_WIDTH = 140
NOTE = """Costs and kWh per house and week. Worst house: what it gained at least, over all weeks,
against (a) the self-consumption rule without trading
and (b) the same power without trading."""
QUANTILE = 1.2816  # standard deviations from the median to the 10 % and 90 % quantiles


@dataclass(frozen=True)
class Week:
    """What one week cost: of all houses, in currency and kWh."""

    cost: float
    alone_cost: float  # what the share of gain counts from
    bound: float
    traded_kwh: float
    budget_error: float
    bills: Floats  # of each house
    alone: Floats  # the same by the self-consumption rule without trading
    untraded: Floats  # the same without trades at the same power

    @property
    def share_of_gain(self) -> float:
        """1 is the bound."""
        return share_of_gain([self])


def share_of_gain(weeks: Sequence[Week]) -> float:
    """Of all weeks together."""
    alone = sum(week.alone_cost for week in weeks)
    gained = alone - sum(week.cost for week in weeks)
    return gained / (alone - sum(week.bound for week in weeks))


def play(community: Community, weeks: int | None, rounds: int, progress: Progress) -> list[Week]:
    """All weeks of one case."""
    chosen = community.weeks[:weeks]
    task = progress.add_task(community.name, total=sum(last - first for first, last in chosen))
    played = []
    for first, last in chosen:
        street = _Street(community, first, rounds)
        for slot in range(first, last):
            street.step(slot)
            progress.advance(task)
        left = community.energy_value_per_kwh * (street.stored_kwh - street.began_kwh)
        began_from = rule_bills(community, first, last, traded=community.is_island)
        played.append(
            Week(
                cost=street.cost - float(left.sum()),
                alone_cost=float(began_from.sum()),
                bound=bound(community, first, last),
                traded_kwh=street.traded_kwh,
                budget_error=abs(street.cost - float(street.bills.sum())),
                bills=street.bills - left,
                alone=rule_bills(community, first, last, traded=False),
                untraded=street.untraded - left,
            )
        )
    return played


class _Street:
    """A street's week, slot by slot."""

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
        self._errors = self._forecaster.errors(first)
        self.began_kwh = np.where(has, START_KWH, LOWEST_KWH)
        self.stored_kwh = self.began_kwh
        self._rounds = Rounds(self._storage, rounds)
        self.cost = self.traded_kwh = 0.0
        self.bills = np.zeros(community.houses)
        self.untraded = np.zeros(community.houses)  # the same power, all of it traded outside

    def step(self, slot: int) -> None:
        """Plan, trade, live through one slot."""
        community = self._community
        net_kw = self._forecaster.net_kw(slot)
        outlook = self._outlook(slot, len(net_kw))
        answer = self._rounds.agreed(outlook, net_kw, self.stored_kwh)
        announced_kw = answer.drawn_kw
        value = value_of_energy(self._storage, announced(outlook, announced_kw), net_kw)
        means = self._means(outlook, value, answer.stored_kwh[1])
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
        ahead = np.arange(slot, slot + steps)
        ahead = np.where(ahead < len(prices), ahead, ahead - self._community.slots_per_day)
        return Outlook(
            step_h=self._community.step_h,
            buy_per_kwh=prices[ahead],
            sell_per_kwh=np.full(steps, self._community.feed_in_per_kwh),
            sigma_kw=self._errors.street_kw(slot),
            fee_per_kwh=FEE_PER_KWH,
            energy_value_per_kwh=self._community.energy_value_per_kwh,
        )

    def _means(self, outlook: Outlook, value: Floats, planned_kwh: Floats) -> list[Means]:
        """What each house can do in the slot, stored energy valued where its plan ends it."""
        storage, step_h = self._storage, self._community.step_h
        fall, rise = storage.most_kwh(step_h)
        left_kwh = np.minimum(-fall, self.stored_kwh - storage.lowest_kwh) * ETA
        room_kwh = np.minimum(rise, storage.highest_kwh - self.stored_kwh) / ETA
        worth = worth_per_kwh(storage, value, planned_kwh)
        rows = []
        for house, per_kwh in enumerate(worth.tolist()):
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
        error_kw = self._errors.house_kw(slot)
        orders = []
        for house, name in enumerate(names):
            middle_kw, wide_kw = net_kw[house], QUANTILE * error_kw[house]
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
        self.untraded += step_h * np.where(drawn_kw > 0, buy, sell) * drawn_kw
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
    titles = ("case", "cost", "alone", "bound", "share", "weeks, %", "traded", *WORST)
    table = Table(*titles)
    wanted = cases or tuple(f"{name}:{case}" for name in CASES for case in CASES[name])
    with Progress(console=Console(stderr=True)) as progress:
        for case in wanted:
            name, _, tariff = case.partition(":")
            if tariff not in CASES.get(name, ()):
                raise click.BadParameter(f"{case}: no such case; allowed: SET:CASE of {CASES}")
            played = play(load_case(name, tariff), weeks, rounds, progress)
            error = max(week.budget_error for week in played)
            if error > MOST_ERROR:
                raise click.ClickException(f"{case}: bills and cost differ: {error}")
            table.add_row(case, *_cells(played))
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(table)
    console.print(NOTE)


def _cells(weeks: Sequence[Week]) -> Iterator[str]:
    """The table's columns of one case."""
    per = sum(len(week.bills) for week in weeks)
    alone = sum(week.alone_cost for week in weeks)
    for total in (sum(week.cost for week in weeks), alone, sum(week.bound for week in weeks)):
        yield f"{total / per:.3f}"
    yield f"{share_of_gain(weeks):.1%}"
    yield " ".join(f"{100 * week.share_of_gain:.0f}" for week in weeks)
    yield f"{sum(week.traded_kwh for week in weeks) / per:.1f}"
    bills = np.sum([week.bills for week in weeks], axis=0)
    for other in ([week.alone for week in weeks], [week.untraded for week in weeks]):
        yield f"{(np.sum(other, axis=0) - bills).min():+.2f}"


if __name__ == "__main__":
    main()
