"""A street's community: keys, membership and ledgers made on the fly, and a post without loss.

In virtual time messages are handed over at once, in the order in which they were sent; keys follow
from the scenario's seed, so that a run is the same twice.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from control.records import Advice, Orders, Sample
from control.state import State
from control.trades import Position
from firmware.neighbours import Neighbourhood, Neighbours, Said
from firmware.position import Positions, glance, store_facts
from firmware.trader_link import hindrance
from firmware.trading.agent import Agent
from firmware.trading.folder import Folder
from firmware.trading.founding import first_document, member_of, times_of_slot
from firmware.trading.identity import Identity
from firmware.trading.member import Outgoing, open_member
from firmware.trading.membership import Market, Membership
from hil.lockstep import START_T_S
from hil.scenario import LoadedScenario
from hil.street import LoadedStreet

UNIT = 100_000  # of the market's prices per currency unit


def found(street: LoadedStreet, folders: Mapping[str, Path]) -> dict[str, Folder]:
    """Begin the community: every house's folder with its key and the document. Raises OSError."""
    boxes, keys = {}, {}
    for name, path in folders.items():
        box = Folder(path)
        path.mkdir(parents=True, exist_ok=True)
        identity = _identity(street, name)
        identity.write(box.key)
        boxes[name], keys[name] = box, identity.public_key.hex()
    admin = _identity(street, "administrator of the street")
    document = _document(street, admin, keys)
    for box in boxes.values():
        box.join(document)
    return boxes


def _identity(street: LoadedStreet, name: str) -> Identity:
    seed = sha256(f"{street.head.seed}/{street.head.title}/{name}".encode()).digest()
    return Identity(Ed25519PrivateKey.from_private_bytes(seed))


def _document(street: LoadedStreet, admin: Identity, keys: Mapping[str, str]) -> Membership:
    head = street.head
    floor, ceiling = price_band(street)
    market = Market(
        fee=round(UNIT * head.fee_per_kwh),
        price_floor=floor,
        price_ceiling=ceiling,
        times=times_of_slot(head.slot_s),
    )
    members = [member_of(key, name, head.max_kw, head.slot_s) for name, key in keys.items()]
    return first_document("street", admin, members, market)


def price_band(street: LoadedStreet) -> tuple[int, int]:
    """What the grid pays at least and asks at most, in the market's unit."""
    prices = next(iter(street.houses.values())).site.prices
    assert prices is not None  # sites with a grid have them
    asked = [prices.buy_per_kwh, *(p.buy_per_kwh for p in prices.period)]
    paid = [prices.sell_per_kwh, *(p.sell_per_kwh for p in prices.period)]
    lowest = min(price for price in paid if price is not None)
    return round(UNIT * lowest), round(UNIT * max(price for price in asked if price is not None))


class Seat:
    """One house at the market, where a service has its `firmware.trader_link` and a process.

    It acts when `Post.carry` says so.
    """

    def __init__(self, house: LoadedScenario, folder: Folder, utc_s: float) -> None:
        """Raises FolderError, LedgerError."""
        together = house.site.trading.strategy == "together"
        member = open_member(folder, utc_s)
        self.agent = Agent(member, store_facts(house.site), together=together)
        self.peer = member.identity.peer
        self._positions = Positions(house.site)
        self._position: Position | None = None
        self._hindrance = ""
        self._neighbourhood = Neighbourhood(house.site)
        self._utc_of_t_s = utc_s - START_T_S

    # --- the loop's side --------------------------------------------------------------------------

    def latest(self, now_s: float) -> Neighbours:
        """What the market has come to."""
        return self._neighbourhood.latest(self._utc_of_t_s + now_s, now_s, self._hindrance)

    def observe(self, sample: Sample, state: State, orders: Orders, advice: Advice) -> None:
        """One cycle: the house's position."""
        self._hindrance = hindrance(state, orders)
        trading = not self._hindrance
        seen = glance(sample, state, orders, trading=trading, clock_problem="")
        self._position = self._positions.of(seen, advice)

    # --- the market's side ------------------------------------------------------------------------

    def turn(self, utc_s: float, t_s: float) -> list[Outgoing]:
        """What is due at the market."""
        position, self._position = self._position, None
        if position is not None:
            return self.agent.step(position)
        return self.agent.tick(utc_s, t_s)

    def tell(self, utc_s: float, t_s: float) -> None:
        """Let the loop know what the market has come to. Raises ValueError when it is nonsense."""
        said = Said(self.agent.market(utc_s), "street", peer=self.peer, connected=True)
        if nonsense := self._neighbourhood.take(said, utc_s, t_s):
            raise ValueError(f"the market of {self.peer}: {nonsense}")

    def close(self) -> None:
        """Give the ledger back."""
        self.agent.member.close()


class Post:
    """Carries messages between the seats."""

    def __init__(self, seats: Iterable[Seat]) -> None:
        self._seats = {seat.peer: seat for seat in seats}
        self.turn_s = min(s.agent.member.trader.timeline.retry_s for s in self._seats.values())
        self.messages = 0

    def carry(self, utc_s: float, t_s: float) -> None:
        """Let every seat act, deliver what it says and the answers; call it every `turn_s`."""
        waiting: deque[tuple[str, Outgoing]] = deque()
        for peer, seat in self._seats.items():
            waiting.extend((peer, outgoing) for outgoing in seat.turn(utc_s, t_s))
        while waiting:
            sender, outgoing = waiting.popleft()
            receivers = [outgoing.to] if outgoing.to else [p for p in self._seats if p != sender]
            for receiver in receivers:
                self.messages += 1
                answers = self._seats[receiver].agent.receive(outgoing.raw, utc_s, t_s)
                waiting.extend((receiver, answer) for answer in answers)

    def tell(self, utc_s: float, t_s: float) -> None:
        """Let every loop know what the market has come to."""
        for seat in self._seats.values():
            seat.tell(utc_s, t_s)
