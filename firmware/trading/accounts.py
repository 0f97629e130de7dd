"""After delivery: tell all what the meter counted, and keep the bill."""

from control.net_position import Slot, mean_over
from control.trades import Position
from control.trading_commitments import KEPT_EPOCHS
from control.trading_records import Entry
from firmware.trading.member import Outgoing, TradingMember
from firmware.trading.slot_meter import SlotMeter
from firmware.trading.statements import Statements, Tariff

METER_FRAC = 0.03  # of a slot after its end the meter's message is sent ...
BILL_FRAC = 0.06  # ... and the bill is made
KEPT_SLOTS = 200  # slots of which prices are remembered


class Accounts:
    """One house's readings and bills."""

    def __init__(self, member: TradingMember) -> None:
        """Raises LedgerError."""
        self._member = member
        self._timeline = member.trader.timeline
        self._meter = SlotMeter(self._timeline.slot_s)
        entries = [*member.kept("statement"), *member.kept("correct")]
        self._statements = Statements(member.identity.peer, entries)
        self._kept = {body["e"]: Tariff.of_body(body) for body in member.kept("tariff")}
        self._tariffs = self._kept.copy()  # in the order in which they were seen
        self._priced = -1  # the slot in which prices were seen last
        self._metered = self._billed = -1  # last epochs; of bills -1: since the ledger began
        self._open: set[int] = set()  # slots whose trades may still change

    def note(self, position: Position) -> None:
        """Registers and prices now."""
        self._meter.note(position)
        running = int(position.utc_s // self._timeline.slot_s)
        if running != self._priced and self._note_tariff(running, position, position.utc_s):
            self._priced = running
        self._note_tariff(running + 1, position, self._timeline.delivery_s(running + 1))
        for epoch in (running, running + 1):
            self._keep_tariff(epoch, position.utc_s)

    def _note_tariff(self, epoch: int, position: Position, utc_s: float) -> bool:
        """The grid's prices at a time in a slot; whether they are known."""
        then = Slot(utc_s, utc_s + 1.0)
        rows = (position.buy_per_kwh, position.sell_per_kwh)
        buy, sell = (mean_over(r, position.from_utc_s, position.step_s, then) for r in rows)
        if buy is None or sell is None:
            return False
        self._tariffs[epoch] = Tariff.of(buy, sell)
        while len(self._tariffs) > KEPT_SLOTS:
            del self._tariffs[next(iter(self._tariffs))]
        return True

    def _keep_tariff(self, epoch: int, utc_s: float) -> None:
        """Where we are bound: it may be after a restart that the bill is made."""
        tariff, commitments = self._tariffs.get(epoch), self._member.trader.commitments
        if tariff is None or self._kept.get(epoch) == tariff or not commitments.is_locked(epoch):
            return
        self._kept[epoch] = tariff
        while len(self._kept) > KEPT_SLOTS:
            del self._kept[next(iter(self._kept))]
        if commitments.of_epoch(epoch):
            self._member.keep(Entry("tariff", {"e": epoch, **tariff.body()}), utc_s)

    def due(self, utc_s: float) -> list[Outgoing]:
        """Once per slot: the meter's message, the bill, corrections of earlier ones."""
        line = self._timeline
        over = line.trading(utc_s) - 2
        since_s = utc_s - line.delivery_s(over + 1)
        self._metered = min(self._metered, over)  # the wall clock may have gone back ...
        if self._billed > over:
            self._billed = -1  # ... and what was billed by it is looked at again
        outgoing: list[Outgoing] = []
        if over > self._metered and since_s >= METER_FRAC * line.slot_s:
            self._metered = over
            outgoing += self._tell_meter(over, utc_s)
        if over > self._billed and since_s >= BILL_FRAC * line.slot_s:
            before, self._billed = self._billed, over
            self._bill(before, over, utc_s)
        return outgoing

    def _tell_meter(self, epoch: int, utc_s: float) -> list[Outgoing]:
        reading = self._meter.reading(epoch)
        if reading.quality == "missing":
            return []
        body = {
            "imp": reading.import_wh,
            "exp": reading.export_wh,
            "reg_imp": reading.import_register_wh,
            "reg_exp": reading.export_register_wh,
            "q": reading.quality,
        }
        return self._member.say("meter", epoch, body, utc_s)

    def _bill(self, before: int, over: int, utc_s: float) -> None:
        """All slots after `before` that are over; the box may have been off when they ended."""
        commitments = self._member.trader.commitments
        doubtful = {pact.epoch for pact in commitments.in_doubt()}
        known = self._open | doubtful | {e for e in commitments.epochs() if e > before}
        due = {e for e in known if e <= over and not self._statements.is_closed(e)}
        unbilled = {epoch for epoch in sorted(due) if not self._bill_one(epoch, utc_s)}
        self._open = doubtful | unbilled
        self._statements.forget(KEPT_EPOCHS)

    def _bill_one(self, epoch: int, utc_s: float) -> bool:
        """False: there is something to bill, and no price to do it by yet."""
        pacts = self._member.committed(epoch)
        entry = None
        if self._statements.is_made(epoch):
            entry = self._statements.correct(epoch, pacts, self._meter.reading(epoch))
        elif pacts:
            tariff = self._tariffs.get(epoch) or self._latest_tariff()
            if tariff is None:
                return False
            entry = self._statements.make(epoch, pacts, self._meter.reading(epoch), tariff)
        if entry is not None:
            self._member.keep(entry, utc_s)
        return True

    def _latest_tariff(self) -> Tariff | None:
        """What was seen last, for a slot of which nothing was seen."""
        return next(reversed(self._tariffs.values())) if self._tariffs else None
