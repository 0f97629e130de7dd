"""A member of the market without a house: real key, ledger and connection, random orders.

`python -m bench.peer FOLDER PORT` runs the box in FOLDER until SIGTERM, or until it is killed.
"""

import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from threading import Event

from control.market_book import Side, Step
from firmware.config_operation import Mqtt
from firmware.trading.admission import Refused
from firmware.trading.carrier import Carrier
from firmware.trading.folder import Folder
from firmware.trading.identity import Identity
from firmware.trading.member import Outgoing, TradingMember, open_member
from firmware.trading.membership import Administrators, Market, Member, Membership, Times

NO_MESSAGE = "0" * 64
FLOOR, CEILING, FEE = 5_000, 30_000, 200
TICKS_PER_RETRY = 4
ORDER_FRAC = (0.05, 0.6)  # of the time before the gate: when a house orders


class Peer:
    """One member and its connection."""

    def __init__(self, member: TradingMember, settings: Mqtt, dice: random.Random) -> None:
        """Connects at once."""
        self.member = member
        self.line = member.trader.timeline
        self.refused: Counter[str] = Counter()
        self._dice = dice
        self._ordered = 0  # the last epoch that we ordered for
        self._order_at_s = 0.0
        peer, community = member.identity.peer, member.membership.community
        self.carrier = Carrier(settings, community, peer, self.line.slot_s)
        self.carrier.hear_orders(member.hears_orders(time.time()))
        self.carrier.start()

    def work(self, timeout_s: float) -> None:
        """Take what came, or wait so long for it, and do what is due."""
        for raw in self.carrier.receive(timeout_s):
            self.take(raw)
        utc_s, t_s = time.time(), time.monotonic()
        self.carrier.hear_orders(self.member.hears_orders(utc_s))
        self.order(utc_s, t_s)
        self.tick(utc_s, t_s)

    def take(self, raw: bytes) -> None:
        """A message."""
        try:
            _, answers = self.member.receive(raw, time.time(), time.monotonic())
        except Refused as refusal:
            self.refused[refusal.why] += 1
        else:
            self.send(answers)

    def tick(self, utc_s: float, t_s: float) -> None:
        """What is due."""
        self.send(self.member.tick(utc_s, t_s))

    def order(self, utc_s: float, t_s: float) -> None:
        """Order for the next slot, at a random time before its gate."""
        epoch = self.line.trading(utc_s)
        left_s = self.line.delivery_s(epoch) - utc_s
        if epoch != self._ordered:
            self._ordered = epoch
            open_s = self.line.slot_s - self.line.gate_s
            self._order_at_s = self.line.slot_s - open_s * self._dice.uniform(*ORDER_FRAC)
        if self._order_at_s and left_s < self._order_at_s:
            self._order_at_s = 0.0
            if left_s > self.line.gate_s:
                self.place(epoch, utc_s, t_s)

    def place(self, epoch: int, utc_s: float, t_s: float) -> None:
        """Buy or sell something."""
        side, steps = random_order(self._dice)
        self.send(self.member.place(epoch, side, steps, utc_s, t_s))

    def send(self, outgoing: list[Outgoing]) -> None:
        """Put messages on their way."""
        for one in outgoing:
            self.carrier.send(one)


def random_order(dice: random.Random) -> tuple[Side, list[Step]]:
    """An order that usually finds somebody."""
    if dice.random() < 0.5:
        return "buy", [(dice.randint(15_000, 29_000), dice.randint(100, 2_000))]
    return "sell", [(dice.randint(6_000, 14_000), dice.randint(100, 2_000))]


def community(people: list[Identity], admin: Identity, times: Times) -> Membership:
    """A document with all of them."""
    members = [
        Member(
            peer=who.peer,
            key=who.public_key.hex(),
            name="",
            max_buy_wh=5_000,
            max_sell_wh=5_000,
            valid_from=0,
            valid_to=2**40,
        )
        for who in people
    ]
    market = Market(fee=FEE, price_floor=FLOOR, price_ceiling=CEILING, times=times)
    return Membership(
        community="bench",
        version=1,
        prev=NO_MESSAGE,
        admins=Administrators(need=1, keys=[admin.public_key.hex()]),
        members=members,
        market=market,
    ).signed(admin)


def settle_in(folder: Path, count: int, times: Times) -> list[Folder]:
    """Boxes of a new community, each in a folder below this one."""
    boxes = [Folder(folder / f"house-{number:04}") for number in range(count)]
    document = community([box.identity() for box in boxes], Identity.new(), times)
    for box in boxes:
        box.keep(document)
    return boxes


def main(folder: Path, port: int) -> None:
    """Trade until we are told to stop."""
    stopping = Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopping.set())
    box = Folder(folder)
    mqtt = Mqtt(host="127.0.0.1", port=port)
    peer = Peer(open_member(box, time.time()), mqtt, random.Random())
    while not stopping.is_set():
        peer.work(peer.line.retry_s / TICKS_PER_RETRY)
        if peer.member.problem:
            sys.exit(f"{folder.name}: {peer.member.problem}")
    peer.carrier.stop()
    print(f"{folder.name}: refused {dict(peer.refused)}, {peer.carrier.status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
