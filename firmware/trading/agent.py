"""What a house does in the market: one order per slot, made of its forecast, plan and battery.

No clock, no thread, no socket: whoever carries the messages passes the time in and sends what comes
out. A position comes about once a second. Without a fresh one, with a clock that is not to be
trusted, switched off, or with a ledger that cannot be written the house does not trade and says so.
"""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from control.market_book import Order, Side, Step
from control.net_position import Slot, fault, mean_over, means, need
from control.order_pricing import UNIT, Band, order_steps
from control.trades import Market, Position, StoreFacts, Trade
from control.trading_records import BookPart, Pact, SignedOrder
from firmware.trading.accounts import Accounts
from firmware.trading.admission import Refused, Why
from firmware.trading.member import Outgoing, TradingMember
from firmware.trading.messages import PlanBody
from firmware.trading.rounds import Agreed, Rounds
from firmware.trading.wall_clock import WallClock

FRESH_S = 30.0  # a position older than this is none
VALID_S = 60.0  # that the house may go by what the market said
ORDER_FRAC = 0.15  # of the time before the gate is left when the order is placed
LEAST_KW = 0.02  # of planned power: below it the plan neither draws nor feeds
KEPT_EVENTS = 50
OFFENCES = (Why.SIZE, Why.FORM, Why.STRANGER, Why.FLOOD, Why.SIGNATURE, Why.LIMIT)


@dataclass(frozen=True, slots=True)
class Intention:
    """What the house orders for a slot, and what that looks like in words."""

    role: int  # +1 sells, -1 buys, 0 neither
    steps: tuple[Step, ...] = ()
    detail: str = ""


class Agent:
    """One house in its community. Not for several threads."""

    def __init__(self, member: TradingMember, store: StoreFacts, *, together: bool = True) -> None:
        """`together`: plan the day with neighbours. Raises LedgerError: it cannot be read."""
        self.member = member
        self._together = together
        self.refused: Counter[Why] = Counter()  # messages, by reason
        self._timeline = member.trader.timeline
        self._me = member.identity.peer
        self._store = store
        self._clock = WallClock()
        self._rounds = Rounds(self._me, self._timeline, store)
        self._accounts = Accounts(member)
        self._position: Position | None = None
        self._fault = ""  # of the position
        self._problem = "no position of the house yet"
        self._ordered: dict[int, Intention] = {}
        self._buyers: dict[int, set[str]] = {}
        self._told = member.all_committed()  # trades that an event was made of, before a restart
        self._refusals_told: Counter[Why] = Counter()
        self._refusals_epoch = 0
        self._events: list[str] = []

    # --- in and out ---------------------------------------------------------------------------

    def step(self, position: Position) -> list[Outgoing]:
        """The house now, and what is due."""
        self._position, self._fault = position, fault(position)
        if not self._fault:
            self._accounts.note(position)
        return self.tick(position.utc_s, position.t_s)

    def receive(self, raw: bytes, utc_s: float, t_s: float) -> list[Outgoing]:
        """A message from the network. What is refused is counted."""
        try:
            admitted, outgoing = self.member.receive(raw, utc_s, t_s)
        except Refused as refusal:
            self.refused[refusal.why] += 1
            if refusal.evidence:
                self.tell(f"suspended: {refusal}")
            return []
        match admitted.content:
            case SignedOrder() as signed:
                self._note_order(signed.epoch, signed.order)
            case BookPart() as part:
                for signed in part.orders:
                    self._note_order(signed.epoch, signed.order)
            case PlanBody() as body:
                self._rounds.hear(admitted.message.peer, admitted.message.epoch, body)
        return outgoing

    def tick(self, utc_s: float, t_s: float) -> list[Outgoing]:
        """What is due: announce, order, the protocol, meter and bills."""
        epoch = self._timeline.trading(utc_s)
        self._clock.note(epoch, utc_s, t_s)
        problem = self._problem = self._find_problem(epoch, t_s)
        left_s = self._timeline.delivery_s(epoch) - utc_s
        outgoing: list[Outgoing] = []
        if problem:
            outgoing += self._stand_back(epoch, left_s, utc_s, t_s)
        elif left_s > self._timeline.gate_s and self._position is not None:
            outgoing += self._rounds_due(self._position, epoch, utc_s)
            outgoing += self._order_due(self._position, epoch, left_s, utc_s, t_s)
        outgoing += self.member.tick(utc_s, t_s)
        outgoing += self._accounts.due(utc_s)
        self._forget(epoch)
        return outgoing

    def market(self, utc_s: float) -> Market:
        """What the house is to know now; each event is told once."""
        epoch = self._timeline.trading(utc_s)
        for e in (epoch - 1, epoch):
            self._tell_trades(e)
        self._tell_doubts(epoch - 1)
        self._tell_refusals(epoch)
        events, self._events = tuple(self._events), []
        intention = self._ordered.get(epoch, Intention(0))
        market = Market(
            expires_utc_s=utc_s + VALID_S,
            trades=tuple(
                trade for e in (epoch - 1, epoch) if (trade := self._trade(e)) is not None
            ),
            interest_frac=self._interest(epoch, utc_s),
            role=intention.role,
            detail=intention.detail or self._rounds.detail,
            problem=self._problem,
            events=events,
        )
        agreed = None if self._problem else self._rounds.latest(epoch)
        return market if agreed is None else _with_agreement(market, agreed)

    def tell(self, text: str) -> None:
        """Have the house told of something, once."""
        self._events = [*self._events, text][-KEPT_EVENTS:]

    # --- whether to trade ---------------------------------------------------------------------

    def _find_problem(self, epoch: int, t_s: float) -> str:
        """Why this house does not trade now; empty: it does."""
        position = self._position
        if self.member.problem:
            return self.member.problem
        if self.member.membership.member(self._me) is None:
            return "this box is no member of the community"
        if position is None:
            return "no position of the house yet"
        if t_s - position.t_s > FRESH_S:
            return f"no position of the house for {t_s - position.t_s:.0f} s"
        if not position.trading:
            return "trading is switched off"
        if self._fault:
            return self._fault
        return position.clock_problem or self._clock.problem(epoch)

    def _stand_back(self, epoch: int, left_s: float, utc_s: float, t_s: float) -> list[Outgoing]:
        """Take the order back while that is possible; then bind ourselves to nothing."""
        if left_s <= self._timeline.vote_s:
            self.member.abstain(epoch)
        if left_s <= self._timeline.gate_s:
            return []
        ordered = self._ordered.pop(epoch, None)
        if ordered is None or not ordered.steps:
            return []
        return self._place(epoch, _side(ordered.role), (), utc_s, t_s)

    # --- the order ----------------------------------------------------------------------------

    def _rounds_due(self, position: Position, epoch: int, utc_s: float) -> list[Outgoing]:
        community = self.member.membership
        if not self._together or not self._rounds.is_due(epoch, utc_s, community):
            return []
        body = self._rounds.announce(position, epoch, utc_s, community)
        return [] if body is None else self.member.say("plan", epoch, body, utc_s)

    def _order_due(
        self, position: Position, epoch: int, left_s: float, utc_s: float, t_s: float
    ) -> list[Outgoing]:
        line = self._timeline
        due_s = line.gate_s + ORDER_FRAC * (line.slot_s - line.gate_s)
        if left_s > due_s or epoch in self._ordered:
            return []
        intention = self._ordered[epoch] = self.intention(position, epoch)
        if not intention.steps:
            return []
        return self._place(epoch, _side(intention.role), intention.steps, utc_s, t_s)

    def _place(
        self, epoch: int, side: Side, steps: tuple[Step, ...], utc_s: float, t_s: float
    ) -> list[Outgoing]:
        try:
            return self.member.place(epoch, side, steps, utc_s, t_s)
        except ValueError as error:
            self.tell(f"order not placed: {error}")
            return []

    def intention(self, position: Position, epoch: int) -> Intention:
        """The order for a slot, by the agreed day where there is one, else by the own plan."""
        start_s = self._timeline.delivery_s(epoch)
        slot = Slot(start_s, start_s + self._timeline.slot_s)
        lacks = need(position, slot)
        member = self.member.membership.member(self._me)
        if lacks is None or member is None:
            return Intention(0, detail="no order: the forecast does not reach the next slot")
        agreed = self._rounds.agreed(epoch)
        if agreed is not None:
            planned_kw: float | None = agreed.drawn_kw[0]
            value = agreed.stored_value_per_kwh
        else:
            planned_kw = mean_over(position.grid_kw, position.from_utc_s, position.step_s, slot)
            value = position.stored_value_per_kwh
        can = means(position, self._store, slot, lacks, value, planned_kw)
        if can is None:
            return Intention(0, detail="no order: prices of the next slot are not known")
        role = _role(planned_kw, lacks.p50_kwh)
        market = self.member.membership.market
        band = Band(market.price_floor, market.price_ceiling, member.max_buy_wh, member.max_sell_wh)
        steps = order_steps(_side(role), lacks, can, band) if role else ()
        return Intention(role if steps else 0, steps, _words(role, steps, start_s))

    # --- what came of it ----------------------------------------------------------------------

    def _trade(self, epoch: int) -> Trade | None:
        """The slot's trades that are to be delivered, as one."""
        pacts = self.member.scheduled(epoch)
        net_wh = sum(self._signed_wh(pact) for pact in pacts)
        if not net_wh:
            return None
        start_s = self._timeline.delivery_s(epoch)
        first = pacts[0]  # one price for all trades of a slot
        price = first.price if net_wh > 0 else first.price - first.fee
        return Trade(epoch, start_s, start_s + self._timeline.slot_s, net_wh, price / UNIT)

    def _signed_wh(self, pact: Pact) -> int:
        return pact.wh if pact.buyer == self._me else -pact.wh

    def _tell_trades(self, epoch: int) -> None:
        for pact in self.member.committed(epoch):
            if pact.id not in self._told:
                self._told.add(pact.id)
                bought = pact.buyer == self._me
                word, other = ("bought", pact.seller) if bought else ("sold", pact.buyer)
                who = self._name(other)
                price = pact.price if bought else pact.price - pact.fee
                when = _clock_text(self._timeline.delivery_s(epoch))
                self.tell(f"{word} {pact.wh} Wh at {price / UNIT:.4f} for {when}, {who}")

    def _tell_doubts(self, delivered: int) -> None:
        """Trades of the slot that has begun whose decision we do not know."""
        for pact in self.member.trader.commitments.in_doubt():
            if pact.epoch == delivered and (key := f"in doubt {pact.id}") not in self._told:
                self._told.add(key)
                who = self._name(pact.seller if pact.buyer == self._me else pact.buyer)
                self.tell(f"in doubt, so not delivered: {pact.wh} Wh with {who}")

    def _tell_refusals(self, epoch: int) -> None:
        """Once per slot: what was refused that no honest member sends."""
        if epoch == self._refusals_epoch:
            return
        new = self.refused - self._refusals_told
        self._refusals_epoch, self._refusals_told = epoch, self.refused.copy()
        said = ", ".join(f"{why} {new[why]}" for why in OFFENCES if new[why])
        if said:
            self.tell(f"refused messages: {said}")

    def _name(self, peer: str) -> str:
        """What a member is called in the list."""
        member = self.member.membership.member(peer)
        return member.name or peer if member else peer

    def _note_order(self, epoch: int, order: Order) -> None:
        if order.side == "buy" and order.steps and order.peer != self._me:
            self._buyers.setdefault(epoch, set()).add(order.peer)

    def _interest(self, epoch: int, utc_s: float) -> float:
        """Others that want to buy, of all others; before the gate those of the slot before."""
        others = len(self.member.membership.members) - 1
        gate_s = self._timeline.delivery_s(epoch) - self._timeline.gate_s
        buyers = self._buyers.get(epoch if utc_s >= gate_s else epoch - 1, set())
        return min(1.0, len(buyers) / others) if others > 0 else 0.0

    def _forget(self, epoch: int) -> None:
        if len(self._ordered) + len(self._buyers) > 8:
            self._ordered = {e: i for e, i in self._ordered.items() if e >= epoch - 1}
            self._buyers = {e: peers for e, peers in self._buyers.items() if e >= epoch - 1}
        if len(self._told) > 1000:
            recent = (p.id for e in (epoch - 1, epoch) for p in self.member.committed(e))
            self._told = set(recent)


def _role(planned_kw: float | None, lacks_kwh: float) -> int:
    """+1 sells, -1 buys (Qayyum 2023): by the plan's power at the connection, else by the need."""
    if planned_kw is not None and abs(planned_kw) >= LEAST_KW:
        return -1 if planned_kw > 0 else 1
    return -1 if lacks_kwh > 0 else 1 if lacks_kwh < 0 else 0


def _side(role: int) -> Side:
    return "sell" if role > 0 else "buy"


def _words(role: int, steps: tuple[Step, ...], start_s: float) -> str:
    if not steps:
        return f"nothing to trade for {_clock_text(start_s)}"
    word = "sells" if role > 0 else "buys"
    prices = sorted({steps[0][0], steps[-1][0]})
    text = " to ".join(f"{px / UNIT:.3f}" for px in prices)
    return f"{word} up to {sum(wh for _, wh in steps)} Wh for {_clock_text(start_s)} at {text}"


def _clock_text(utc_s: float) -> str:
    return datetime.fromtimestamp(utc_s, UTC).strftime("%H:%M:%S UTC")


def _with_agreement(market: Market, agreed: Agreed) -> Market:
    return replace(
        market,
        prices_from_utc_s=agreed.from_utc_s,
        prices_step_s=agreed.step_s,
        prices_per_kwh=agreed.prices_per_kwh,
        stored_kwh=agreed.stored_kwh,
        stored_value_per_kwh=agreed.stored_value_per_kwh,
    )
