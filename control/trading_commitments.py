"""From the vote on: each trade has one decider, and both parties end with its one decision.

No exchange of messages makes two parties sure at the same moment, but one record can be the truth
for both. The voter promises first and then never backs out; the decider decides once, in time by
its own clock, and tells its decision to whoever asks. Each step is saved before it is sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from control.trading_records import (
    NOTHING,
    Decision,
    Effects,
    Entry,
    Pact,
    Send,
    Timeline,
    Vote,
)

LONGEST_WAIT = 16  # times the first wait, between two tries after the slot is settled
KEPT_EPOCHS = 7 * 96  # of so many slots locks and decided trades are remembered


class State(StrEnum):
    """How far a trade has come."""

    OPEN = "open"  # the decider waits for the vote
    IN_DOUBT = "in doubt"  # the voter has promised and does not know
    COMMITTED = "committed"
    ABORTED = "aborted"


@dataclass(slots=True)
class _Retry:
    """When to say it again."""

    t_s: float
    wait_s: float

    def due(self, t_s: float, longest_s: float) -> bool:
        """Whether it is time; then the next time is twice as far away."""
        if t_s < self.t_s:
            return False
        self.wait_s = min(2 * self.wait_s, longest_s)
        self.t_s = t_s + self.wait_s
        return True


@dataclass(slots=True)
class _Kept:
    """A trade of ours."""

    pact: Pact
    result: str
    root: str
    state: State
    answered: bool = False  # the voter has acknowledged the decision
    contradicted: bool = False  # by its decider: one proof is enough
    retry: _Retry = field(default_factory=lambda: _Retry(float("-inf"), 0.0))


class Commitments:
    """One member's trades, from the vote to the decision."""

    def __init__(self, me: str, timeline: Timeline) -> None:
        self.me = me
        self.timeline = timeline
        self._trades: dict[str, _Kept] = {}
        self._live: set[str] = set()  # those with something left to do without being asked
        self._locks: dict[int, tuple[str, str]] = {}  # epoch: root and result, or nothing for ever
        self._early: dict[tuple[int, str], Vote] = {}  # votes for books that we do not have yet
        self._votes: dict[tuple[int, str], _Retry] = {}  # by epoch and decider
        self._told = self._forgotten = -1  # epochs of the last list and the last forgetting
        self._lists: dict[tuple[int, str], frozenset[str]] = {}  # what other deciders listed
        self._oldest = 0  # epochs before it are forgotten, and over

    # --- what others want to know -------------------------------------------------------------

    def of_epoch(self, epoch: int) -> dict[Pact, State]:
        """Our trades of one slot."""
        return {k.pact: k.state for k in self._trades.values() if k.pact.epoch == epoch}

    def epochs(self) -> set[int]:
        """Slots in which we have trades."""
        return {kept.pact.epoch for kept in self._trades.values()}

    def knows(self, trade: str) -> bool:
        """Whether a trade is ours and not forgotten."""
        return trade in self._trades

    def in_doubt(self) -> list[Pact]:
        """Trades that we promised and whose decision we do not know."""
        return [
            self._trades[name].pact
            for name in sorted(self._live)
            if self._trades[name].state is State.IN_DOUBT
        ]

    def is_locked(self, epoch: int) -> bool:
        """Whether nothing else can be voted for in an epoch."""
        return epoch in self._locks or epoch < self._oldest

    # --- the lock -----------------------------------------------------------------------------

    def lock(
        self, epoch: int, root: str, result: str, pacts: Iterable[Pact], t_s: float, utc_s: float
    ) -> Effects:
        """Bind ourselves to one book: with that we have voted, or wait for votes, on each trade."""
        mine = tuple(pacts)
        rows = [pact.row() for pact in mine]
        body = {"e": epoch, "root": root, "result": result, "trades": rows}
        self.restore_lock(body)
        effects = Effects((Entry("lock", body),))
        for key in sorted({(epoch, pact.decider) for pact in mine if pact.voter == self.me}):
            self._votes[key] = _Retry(t_s + self.timeline.retry_s, self.timeline.retry_s)
            effects += Effects(sends=(self._vote(*key),))
        for key in [key for key in self._early if key[0] == epoch]:
            effects += self.add_vote(self._early.pop(key), utc_s, t_s)
        return effects

    def restore_lock(self, body: Mapping[str, Any]) -> None:
        """A lock as it was saved."""
        epoch, root, result = body["e"], body["root"], body["result"]
        self._locks[epoch] = (root, result)
        for row in body["trades"]:
            pact = Pact.of_row(epoch, row)
            state = State.OPEN if pact.decider == self.me else State.IN_DOUBT
            self._trades[pact.id] = _Kept(pact, result, root, state)
            self._live.add(pact.id)
            if pact.voter == self.me:
                self._votes[epoch, pact.decider] = _Retry(float("-inf"), self.timeline.retry_s)

    def restore_decision(self, body: Mapping[str, Any]) -> None:
        """A decision as it was saved, ours or the other's."""
        for name in body["trades"]:
            if name in self._trades:
                self._trades[name].state = State.COMMITTED if body["commit"] else State.ABORTED

    # --- the decider --------------------------------------------------------------------------

    def add_vote(self, vote: Vote, utc_s: float, t_s: float) -> Effects:
        """Decide what can be decided, answer what is decided."""
        late = self._left_s(vote.epoch, utc_s) < self.timeline.decide_s
        if vote.epoch < max(self._oldest, self.timeline.trading(utc_s) - KEPT_EPOCHS):
            return NOTHING
        effects = NOTHING
        if vote.epoch not in self._locks:
            if not late:
                self._early[vote.epoch, vote.voter] = vote
                return NOTHING
            effects += self._lock_nothing(vote.epoch)
        names = sorted({name for name in vote.trades if self._may_vote(name, vote.voter)})
        open_ = [name for name in names if self._trades[name].state is State.OPEN]
        if open_:
            right = (vote.root, vote.result) == self._locks[vote.epoch]
            commit = right and not late
            effects += self._decide(vote.epoch, open_, commit, vote.message if commit else None)
        for name in names:
            kept = self._trades[name]
            kept.retry = _Retry(t_s + self.timeline.retry_s, self.timeline.retry_s)
            self._live.add(name)
            effects += Effects(sends=(self._decision(kept),))
        for name in vote.trades:
            if name not in self._trades:  # under another book than ours: it cannot happen any more
                body = {"trade": name, "commit": False}
                effects += Effects(sends=(Send("decide", vote.voter, vote.epoch, body),))
        return effects

    def _may_vote(self, name: str, voter: str) -> bool:
        kept = self._trades.get(name)
        return kept is not None and kept.pact.voter == voter and kept.pact.decider == self.me

    def _decide(
        self, epoch: int, names: list[str], commit: bool, vote: Mapping[str, Any] | None
    ) -> Effects:
        body: dict[str, Any] = {"e": epoch, "trades": sorted(names), "commit": commit}
        if vote is not None:
            body["vote"] = vote
        self.restore_decision(body)
        return Effects((Entry("decide", body),))

    def _lock_nothing(self, epoch: int) -> Effects:
        """No book for us in this epoch, and none later, whatever the clock does."""
        body: dict[str, Any] = {"e": epoch, "root": "", "result": "", "trades": []}
        self.restore_lock(body)
        return Effects((Entry("lock", body),))

    def add_ack(self, voter: str, name: str) -> None:
        """The voter knows; we need not say it again."""
        if self._may_vote(name, voter):
            self._trades[name].answered = True

    # --- the voter ----------------------------------------------------------------------------

    def add_decision(self, decision: Decision) -> Effects:
        """The decider's word; the first one counts, another is evidence."""
        kept = self._trades.get(decision.trade)
        if kept is None or kept.pact.decider != decision.decider or kept.pact.voter != self.me:
            return NOTHING
        epoch = kept.pact.epoch
        ack = Effects(sends=(Send("ack", decision.decider, epoch, {"trade": decision.trade}),))
        if kept.state is State.IN_DOUBT:
            body = {"e": epoch, "trades": [decision.trade], "commit": decision.commit}
            self.restore_decision(body)
            saves = [Entry("decision", body | {"decision": decision.message})]
            listed = self._lists.get((epoch, decision.decider))
            if decision.commit and listed is not None and decision.trade not in listed:
                saves.append(_evidence(epoch, decision, "committed late"))
            return Effects(tuple(saves)) + ack
        if decision.commit != (kept.state is State.COMMITTED):
            if kept.contradicted:
                return NOTHING
            kept.contradicted = True
            return Effects((_evidence(epoch, decision, "two decisions"),))
        return ack

    def add_list(self, decider: str, epoch: int, trades: Iterable[str]) -> None:
        """What a decider says it committed: what it commits later came late."""
        if any(key[1] == decider and key[0] == epoch for key in self._votes):
            self._lists.setdefault((epoch, decider), frozenset(trades))

    # --- the clock ----------------------------------------------------------------------------

    def tick(self, utc_s: float, t_s: float) -> Effects:
        """Deadlines and repetitions."""
        effects = self._abort_late(utc_s) + self._lists_due(utc_s)
        for key, retry in list(self._votes.items()):
            if not self._undecided(*key):
                del self._votes[key]
            elif retry.due(t_s, self._longest_s(key[0], utc_s)):
                effects += Effects(sends=(self._vote(*key),))
        for name in sorted(self._live):
            kept = self._trades[name]
            if self._is_to_tell(kept, utc_s):
                if kept.retry.due(t_s, self._longest_s(kept.pact.epoch, utc_s)):
                    effects += Effects(sends=(self._decision(kept),))
            elif kept.state in (State.COMMITTED, State.ABORTED):
                self._live.discard(name)
        self._forget(self.timeline.trading(utc_s))
        return effects

    def _longest_s(self, epoch: int, utc_s: float) -> float:
        """Between two tries: every moment counts until the schedule is made, then none does."""
        urgent = self._left_s(epoch, utc_s) > self.timeline.schedule_s
        return self.timeline.retry_s * (1 if urgent else LONGEST_WAIT)

    def _abort_late(self, utc_s: float) -> Effects:
        """Nobody asked in time."""
        late: dict[int, list[str]] = {}
        for name in self._live:
            kept = self._trades[name]
            left_s = self._left_s(kept.pact.epoch, utc_s)
            if kept.state is State.OPEN and left_s < self.timeline.decide_s:
                late.setdefault(kept.pact.epoch, []).append(name)
        effects = NOTHING
        for epoch, names in sorted(late.items()):
            effects += self._decide(epoch, names, False, None)
        return effects

    def _is_to_tell(self, kept: _Kept, utc_s: float) -> bool:
        """Until delivery we repeat a decision by ourselves, afterwards only when asked."""
        decided = kept.state in (State.COMMITTED, State.ABORTED) and kept.retry.wait_s > 0
        mine = kept.pact.decider == self.me and not kept.answered
        return decided and mine and self._left_s(kept.pact.epoch, utc_s) > 0

    def _lists_due(self, utc_s: float) -> Effects:
        """What we committed, to each voter its own trades."""
        epoch = self.timeline.trading(utc_s)
        if epoch == self._told or self._left_s(epoch, utc_s) > self.timeline.head_s:
            return NOTHING
        self._told = epoch
        mine = [k for k in self._trades.values() if k.pact.epoch == epoch]
        deciding = [k for k in mine if k.pact.decider == self.me]
        sends = []
        for voter in sorted({k.pact.voter for k in deciding}):
            commits = sorted(
                k.pact.id for k in deciding if k.pact.voter == voter and k.state is State.COMMITTED
            )
            sends.append(Send("head", voter, epoch, {"commits": commits}))
        return Effects(sends=tuple(sends))

    def _forget(self, current: int) -> None:
        """Once per slot: what is decided and old; nothing that is in doubt.

        Old is what many slots came after, whatever the clock says: one that is ahead for a while
        must not make us promise anew for a slot in which we are bound.
        """
        if current == self._forgotten:
            return
        self._forgotten = current
        for epoch in sorted(self._locks)[:-KEPT_EPOCHS]:
            del self._locks[epoch]
            self._oldest = epoch + 1
        for name, kept in list(self._trades.items()):
            if kept.pact.epoch < self._oldest and name not in self._live:
                del self._trades[name]
        self._early = {key: vote for key, vote in self._early.items() if key[0] >= current}
        self._lists = {key: names for key, names in self._lists.items() if key in self._votes}

    def _undecided(self, epoch: int, decider: str) -> list[_Kept]:
        live = (self._trades[name] for name in self._live)
        return [
            kept
            for kept in live
            if kept.state is State.IN_DOUBT
            and (kept.pact.epoch, kept.pact.decider) == (epoch, decider)
        ]

    def _vote(self, epoch: int, decider: str) -> Send:
        """One message for all trades with one decider."""
        waiting = self._undecided(epoch, decider)
        names = sorted(kept.pact.id for kept in waiting)
        body = {"book": waiting[0].root, "res": waiting[0].result, "trades": names}
        return Send("vote", decider, epoch, body)

    def _decision(self, kept: _Kept) -> Send:
        body = {"trade": kept.pact.id, "commit": kept.state is State.COMMITTED}
        return Send("decide", kept.pact.voter, kept.pact.epoch, body)

    def _left_s(self, epoch: int, utc_s: float) -> float:
        return self.timeline.delivery_s(epoch) - utc_s


def _evidence(epoch: int, decision: Decision, what: str) -> Entry:
    body = {"e": epoch, "peer": decision.decider, "what": what, "message": decision.message}
    return Entry("evidence", body)
