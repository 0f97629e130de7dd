"""The trading protocol of one member as a state machine: what happens goes in, effects come out.

No clock, no disk, no network: the caller passes the time, saves what `Effects.saves` asks for and
only then sends `Effects.sends`. Messages come in with their signatures checked. After a restart the
saved entries bring the machine back to where it was; lost messages are repeated by who waits.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from control.market import clear
from control.trading_commitments import Commitments, State
from control.trading_gathering import Gathering
from control.trading_records import (
    NOTHING,
    BookPart,
    Decision,
    Effects,
    Pact,
    Rules,
    SignedOrder,
    Timeline,
    Vote,
    pact,
)

AHEAD = 1  # epochs beyond the one being traded: others' clocks may be ahead


class Trader:
    """One member of the market. `utc_s` is the wall clock, `t_s` the monotonic one."""

    def __init__(self, me: str, rules: Rules, timeline: Timeline) -> None:
        self.me = me
        self.timeline = timeline
        self.commitments = Commitments(me, timeline)
        self._rules = rules
        self._gatherings: dict[int, Gathering] = {}

    def restore(self, kind: str, body: Mapping[str, Any], order: SignedOrder | None = None) -> None:
        """One saved entry, in the order of saving; `order` is the one of an "order" entry."""
        if kind == "lock":
            self.commitments.restore_lock(body)
        elif kind in ("decide", "decision"):
            self.commitments.restore_decision(body)
        elif kind == "book":
            self._gathering(body["e"]).restore_root(body["root"])
        elif kind == "order" and order is not None:
            self._gathering(body["e"]).restore_own(order)

    def set_rules(self, rules: Rules) -> None:
        """A new membership. What was gathered under the old one is void; votes are not."""
        if rules != self._rules:
            self._rules = rules
            self._gatherings.clear()

    def place(self, order: SignedOrder, utc_s: float, t_s: float) -> Effects:
        """Our own order, sealed. Raises ValueError when it is too late for it."""
        if order.epoch not in self._open(utc_s):
            raise ValueError(f"epoch {order.epoch}: not open for orders")
        return self._gathering(order.epoch).place(order, utc_s, t_s)

    def abstain(self, epoch: int) -> None:
        """Do not vote in an epoch: our clock cannot be trusted, or our disk."""
        self._gathering(epoch).abstains = True

    def committed(self, epoch: int) -> list[Pact]:
        """The trades that both parties deliver."""
        states = self.commitments.of_epoch(epoch)
        return [pact for pact, state in states.items() if state is State.COMMITTED]

    # --- messages of others -------------------------------------------------------------------

    def on_order(self, order: SignedOrder, utc_s: float) -> Effects:
        """Somebody's order."""
        if order.epoch in self._open(utc_s):
            self._gathering(order.epoch).add_order(order, utc_s)
        return NOTHING

    def on_book(self, part: BookPart, utc_s: float) -> Effects:
        """A part of a proposed book."""
        if part.epoch not in self._open(utc_s):
            return NOTHING
        return self._gathering(part.epoch).add_part(part)

    def on_objection(self, objector: str, order: SignedOrder, utc_s: float) -> Effects:
        """Somebody misses its order in a book."""
        if order.epoch in self._open(utc_s):
            self._gathering(order.epoch).add_objection(objector, order)
        return NOTHING

    def on_want(self, epoch: int, utc_s: float, t_s: float) -> Effects:
        """Somebody has no book."""
        if epoch not in self._open(utc_s):
            return NOTHING
        return self._gathering(epoch).wanted(utc_s, t_s)

    def on_vote(self, vote: Vote, utc_s: float, t_s: float) -> Effects:
        """A vote on trades that we decide."""
        if vote.epoch > self.timeline.trading(utc_s) + AHEAD:
            return NOTHING
        return self.commitments.add_vote(vote, utc_s, t_s)

    def on_decision(self, decision: Decision) -> Effects:
        """The decision on a trade that we voted for."""
        return self.commitments.add_decision(decision)

    def on_ack(self, voter: str, trade: str) -> Effects:
        """The voter has our decision."""
        self.commitments.add_ack(voter, trade)
        return NOTHING

    def on_head(self, decider: str, epoch: int, commits: Iterable[str]) -> Effects:
        """What a decider says it has committed."""
        self.commitments.add_list(decider, epoch, commits)
        return NOTHING

    # --- the clock ----------------------------------------------------------------------------

    def tick(self, utc_s: float, t_s: float) -> Effects:
        """What is due now; call it a few times per `retry_s`."""
        epoch = self.timeline.trading(utc_s)
        self._gatherings = {e: g for e, g in self._gatherings.items() if e >= epoch}
        effects = NOTHING
        if epoch in self._gatherings:
            gathering = self._gatherings[epoch]
            if not self.commitments.is_locked(epoch):
                effects += gathering.tick(utc_s, t_s)
                effects += self._lock(gathering, utc_s, t_s)
        return effects + self.commitments.tick(utc_s, t_s)

    def _lock(self, gathering: Gathering, utc_s: float, t_s: float) -> Effects:
        """Vote when it is time, for the best book that there is."""
        if not self.timeline.vote_s >= gathering.left_s(utc_s) >= self.timeline.abort_s:
            return NOTHING
        chosen = gathering.choose()
        if chosen is None:
            return NOTHING
        root, orders = chosen
        epoch = gathering.epoch
        result = clear(self._rules.book(epoch, orders))
        pacts = [
            pact(epoch, root, t.buyer, t.seller, t.wh, result.price, result.fee)
            for t in result.trades
            if self.me in (t.buyer, t.seller) and result.price is not None
        ]
        name = result.to_dict()["hash"]
        return self.commitments.lock(epoch, root, name, pacts, t_s, utc_s)

    def _open(self, utc_s: float) -> range:
        """Epochs that are gathered for."""
        epoch = self.timeline.trading(utc_s)
        return range(epoch, epoch + AHEAD + 1)

    def _gathering(self, epoch: int) -> Gathering:
        if epoch not in self._gatherings:
            self._gatherings[epoch] = Gathering(self.me, epoch, self._rules, self.timeline)
        return self._gatherings[epoch]
