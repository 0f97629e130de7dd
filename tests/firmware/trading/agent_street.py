"""A street of agents in virtual time: real keys and ledgers, a network in the process."""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control.trades import Market, Position, Quantiles, StoreFacts
from firmware.trading import membership
from firmware.trading.agent import Agent
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger
from firmware.trading.ledger_check import check, disagreements
from firmware.trading.member import Outgoing, TradingMember
from tests.firmware.trading.people import document, entry, known

SLOT_S = 900.0
DAY_S = 86_400.0
START_S = 20_000 * DAY_S
NOON_S = START_S + 12 * 3600.0
EPOCH = int(NOON_S // SLOT_S) + 1  # the first that is traded
BUY, SELL = 0.30, 0.05
ADMIN = known("administrator")
BUSY_S, IDLE_S = 5.0, 60.0  # between two ticks, in a slot of SLOT_S ...
BUSY_FROM_S, BUSY_TO_S = 130.0, 20.0  # ... so much before the next one
BATTERY = StoreFacts(5.0, 2.5, 2.5, 0.95, 0.95)
NO_BATTERY = StoreFacts()


@dataclass
class House:
    """Load and PV that the house knows in the mean and not by the slot, a battery, a meter."""

    number: int
    pv_kw: float
    load_kw: float
    store: StoreFacts = BATTERY
    stored_kwh: float = 2.5
    import_kwh: float = 0.0
    export_kwh: float = 0.0
    bill: float = 0.0
    error_frac: float = 0.2
    stored_value_per_kwh: float | None = 0.15
    p2p_share_frac: float | None = None
    clock_off_s: float = 0.0
    clock_problem: str = ""
    trading: bool = True
    delivered: dict[int, float] = field(default_factory=dict)  # metered kWh, drawn > 0
    _ahead: dict[float, tuple[Quantiles, Quantiles]] = field(default_factory=dict)

    def mean_kw(self, utc_s: float) -> tuple[float, float]:
        """Expected load and PV."""
        hour = utc_s % DAY_S / 3600.0
        sun = max(0.0, math.sin(math.pi * (hour - 6.0) / 12.0)) if 6.0 < hour < 18.0 else 0.0
        evening = math.exp(-(((hour - 19.0) / 2.5) ** 2))
        return self.load_kw * (0.4 + 1.6 * evening), self.pv_kw * sun

    def real_kw(self, utc_s: float) -> tuple[float, float]:
        """What load and PV turn out to be, constant over a quarter of an hour."""
        dice = random.Random(f"{self.number}/{utc_s // SLOT_S}")
        load_kw, pv_kw = self.mean_kw(utc_s // SLOT_S * SLOT_S)
        e = self.error_frac
        return load_kw * dice.uniform(1 - e, 1 + e), pv_kw * dice.uniform(1 - e, 1 + e)

    def position(self, utc_s: float, t_s: float) -> Position:
        from_s = utc_s // SLOT_S * SLOT_S
        if from_s not in self._ahead:
            means = [self.mean_kw(from_s + number * SLOT_S) for number in range(96)]
            load, pv = ([mean[column] for mean in means] for column in (0, 1))
            self._ahead = {from_s: (_band(load, self.error_frac), _band(pv, self.error_frac))}
        load_kw, generation_kw = self._ahead[from_s]
        return Position(
            utc_s=utc_s,
            t_s=t_s,
            clock_problem=self.clock_problem,
            trading=self.trading,
            from_utc_s=from_s,
            step_s=SLOT_S,
            load_kw=load_kw,
            generation_kw=generation_kw,
            grid_kw=(),
            battery_kw=(),
            buy_per_kwh=96 * (BUY,),
            sell_per_kwh=96 * (SELL,),
            soc_frac=self.stored_kwh / self.store.capacity_kwh if self.store.capacity_kwh else None,
            soc_min_frac=0.1,
            soc_max_frac=1.0,
            stored_value_per_kwh=self.stored_value_per_kwh,
            import_max_kw=10.0,
            export_max_kw=10.0,
            p2p_share_frac=self.p2p_share_frac,
            import_kwh=self.import_kwh,
            export_kwh=self.export_kwh,
        )

    def live(self, utc_s: float, seconds: float, traded_kw: float) -> float:
        """The battery keeps the house to its trades as well as it can; what it draws, kWh."""
        load_kw, pv_kw = self.real_kw(utc_s)
        hours, store = seconds / 3600.0, self.store
        wanted_kw = load_kw - pv_kw - traded_kw
        room_kwh = max(0.0, store.capacity_kwh - self.stored_kwh) / store.charge_efficiency_frac
        left_kwh = max(0.0, self.stored_kwh - 0.1 * store.capacity_kwh)
        left_kwh *= store.discharge_efficiency_frac
        most_kw = min(store.discharge_max_kw, left_kwh / hours)
        least_kw = -min(store.charge_max_kw, room_kwh / hours)
        battery_kw = min(max(wanted_kw, least_kw), most_kw)
        factor = (
            store.charge_efficiency_frac if battery_kw < 0 else 1 / store.discharge_efficiency_frac
        )
        self.stored_kwh -= battery_kw * hours * factor
        drawn_kwh = (load_kw - pv_kw - battery_kw) * hours
        self.import_kwh += max(0.0, drawn_kwh)
        self.export_kwh += max(0.0, -drawn_kwh)
        return drawn_kwh


def _band(middle: list[float], error_frac: float) -> Quantiles:
    low, high = 1.0 - 0.8 * error_frac, 1.0 + 0.8 * error_frac
    return Quantiles(tuple(low * x for x in middle), tuple(middle), tuple(high * x for x in middle))


class AgentStreet:
    """Houses with their agents, a network that loses, one true time."""

    def __init__(
        self,
        folder: Path,
        houses: list[House],
        *,
        loss_frac: float = 0.0,
        slot_s: float = SLOT_S,
        start_s: float = START_S,
    ) -> None:
        self.dice = random.Random(len(houses))
        self.folder = folder
        self.houses = houses
        self.loss_frac = loss_frac
        self.slot_s = slot_s
        self.now_s = start_s
        self.people = [known(f"house {house.number}") for house in houses]
        scale = slot_s / SLOT_S
        most_wh = round(2500 * scale)
        entries = [entry(who, max_buy_wh=most_wh, max_sell_wh=most_wh) for who in self.people]
        times = membership.Times(**{name: round(ms * scale) for name, ms in membership.Times()})
        market = membership.Market(fee=1_000, price_floor=5_000, price_ceiling=30_000, times=times)
        self.document = document([ADMIN], 1, entries, market=market)
        self.drops: Callable[[str, str, str], bool] = lambda _sender, _to, _kind: False
        self.agents: dict[str, Agent] = {}
        self.markets: dict[str, Market] = {}
        self.events: dict[str, list[str]] = {who.peer: [] for who in self.people}
        self.sent: list[tuple[str, str]] = []  # sender, kind
        self._wire: list[tuple[float, str, bytes]] = []
        for number in range(len(houses)):
            self.start(number)

    def path(self, who: Identity) -> Path:
        return self.folder / f"{who.peer}.db"

    def start(self, number: int) -> Agent:
        who, house = self.people[number], self.houses[number]
        utc_s = self.now_s + house.clock_off_s
        member = TradingMember(who, Ledger(self.path(who), who), self.document, utc_s)
        self.agents[who.peer] = Agent(member, house.store)
        return self.agents[who.peer]

    def agent(self, number: int) -> Agent:
        return self.agents[self.people[number].peer]

    def market(self, number: int) -> Market:
        return self.markets[self.people[number].peer]

    def run(self, seconds: float) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-6:
            scale = self.slot_s / SLOT_S
            left_s = (self.slot_s - self.now_s % self.slot_s) / scale
            wait_s = BUSY_S if BUSY_FROM_S >= left_s > BUSY_TO_S else IDLE_S
            if left_s > BUSY_FROM_S:
                wait_s = min(wait_s, left_s - BUSY_FROM_S)
            wait_s = scale * max(wait_s, 1.0)
            tick_s = min(wait_s, end_s - self.now_s)
            self._live(tick_s)
            self.now_s += tick_s
            for who, house in zip(self.people, self.houses, strict=True):
                utc_s, agent = self.now_s + house.clock_off_s, self.agents[who.peer]
                self._send(who.peer, agent.step(house.position(utc_s, self.now_s)))
            self._deliver()
            for who, house in zip(self.people, self.houses, strict=True):
                market = self.agents[who.peer].market(self.now_s + house.clock_off_s)
                self.markets[who.peer] = market
                self.events[who.peer] += market.events

    def _live(self, seconds: float) -> None:
        for who, house in zip(self.people, self.houses, strict=True):
            market, traded_kw = self.markets.get(who.peer), 0.0
            for trade in market.trades if market else ():
                if trade.from_utc_s <= self.now_s < trade.until_utc_s:
                    traded_kw = trade.bought_kw
            epoch = int(self.now_s // self.slot_s)
            drawn_kwh = house.live(self.now_s, seconds, traded_kw)
            house.delivered[epoch] = house.delivered.get(epoch, 0.0) + drawn_kwh

    def _send(self, sender: str, outgoing: list[Outgoing]) -> None:
        for one in outgoing:
            self.sent.append((sender, one.kind))
            for name in [one.to] if one.to else self.agents:
                lost = self.dice.random() < self.loss_frac or self.drops(sender, name, one.kind)
                if name != sender and not lost:
                    self._wire.append((self.now_s + self.dice.random() * 0.1, name, one.raw))

    def _deliver(self) -> None:
        """All that is under way, and what it is answered with."""
        while self._wire:
            due, self._wire = self._wire, []
            for _, name, raw in due:
                house = self.houses[[who.peer for who in self.people].index(name)]
                utc_s = self.now_s + house.clock_off_s
                self._send(name, self.agents[name].receive(raw, utc_s, self.now_s))

    def close(self) -> None:
        for agent in self.agents.values():
            agent.member._ledger.close()


@contextmanager
def agent_street(folder: Path, houses: list[House], **settings: float) -> Iterator[AgentStreet]:
    street = AgentStreet(folder, houses, **settings)
    try:
        yield street
    finally:
        street.close()


def three() -> list[House]:
    return [
        House(0, pv_kw=4.0, load_kw=0.5),
        House(1, pv_kw=0.0, load_kw=1.0, store=NO_BATTERY),
        House(2, pv_kw=0.0, load_kw=0.8),
    ]


def assert_sound(street: AgentStreet) -> None:
    paths = [street.path(who) for who in street.people]
    for path in paths:
        assert check(path).fault == ""
    assert list(disagreements(paths)) == []


def traded_wh(street: AgentStreet, number: int, epoch: int = EPOCH) -> int:
    agent = street.agent(number)
    me = agent.member.identity.peer
    return sum(p.wh if p.buyer == me else -p.wh for p in agent.member.scheduled(epoch))


def statements(street: AgentStreet, number: int, kind: str = "statement") -> list[dict[str, Any]]:
    return [dict(body) for body in street.agent(number).member.kept(kind)]
