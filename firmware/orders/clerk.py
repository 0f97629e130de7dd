"""One command after the other: checked, written down, followed, watched. No threads here."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from control.records import Level, Orders, Severity
from control.site import SiteParameters
from control.state import Mode, State
from firmware.clock import Clock
from firmware.config_operation import CommandSource
from firmware.loop import Telemetry
from firmware.orders.checks import (
    LEVELS,
    Circumstances,
    held_by,
    not_permitted,
    refusal,
    untimely,
)
from firmware.orders.envelope import Command, EnvelopeError, is_signed, parse, validated
from firmware.orders.journal import Journal, Now
from firmware.orders.pace import Allowance
from firmware.orders.progress import outcome, time_s
from firmware.orders.standing import (
    FOREVER_S,
    GRID_LIMITS,
    PULSE_S,
    Order,
    Standing,
    expired,
    orders_for,
    placed,
    said,
)
from firmware.orders.telling import (
    LOCAL,
    Acknowledgement,
    Notices,
    Sender,
    Tell,
    Way,
    make_acknowledgement,
    on_site,
    sender_of,
    tell_nobody,
)

NOT_LOCAL = ("src", "seq", "sig")
GRID_OPERATOR_S = 86400  # nobody on site may lift a grid operator's limit: so it ends by itself
RATE_PER_S = 10.0  # per source
RECENT = 20  # compositions of orders that cycles may still speak of


@dataclass(slots=True)
class _Case:
    """An accepted command that is not over."""

    sender: Sender
    watched_since_s: float | None = None  # the first cycle that had the order, after start-up


class Clerk:
    """The command path of one site; used by one thread, but for `orders` and `notices`."""

    def __init__(
        self,
        site: SiteParameters,
        sources: Sequence[CommandSource],
        journal: Journal,
        clock: Clock,
        boot: str,
        clock_problem: Callable[[float], str],
    ) -> None:
        """What stood before the last restart stands again from the first cycle."""
        self._site = site
        self._sources = {source.name: source for source in sources}
        self._journal = journal
        self.notices = Notices(clock)
        self._clock = clock
        self._boot = boot
        self._clock_problem = clock_problem
        self._rate = Allowance(RATE_PER_S, RATE_PER_S)
        self._state: State | None = None
        self._replans = 0
        self._may_acknowledge = True
        self.tell_of_restored: Tell = tell_nobody
        self._recent: deque[tuple[Orders, frozenset[str]]] = deque(maxlen=RECENT)
        self._standing: Standing = ()
        self._cases: dict[str, _Case] = {}
        now = self._now()
        self._restore(journal.load(now), now)

    @property
    def standing(self) -> Standing:
        """The orders that stand."""
        return self._standing

    @property
    def orders(self) -> Orders:
        """What stands, for the loop."""
        return self._recent[-1][0]

    @property
    def is_watching(self) -> bool:
        """Whether cycles have to be looked at."""
        return not self._may_acknowledge or any(not order.done for order in self._standing)

    # --- a command -----------------------------------------------------------------------------

    def take(self, raw: bytes, way: Way, tell: Tell) -> None:
        """Follow or refuse one command; whatever the bytes are, nothing is raised."""
        try:
            plain = parse(raw)
        except EnvelopeError as error:
            self.notices.dropped(way.name, str(error))
            return
        sender = sender_of(plain, way, tell)
        if sender is None:
            self.notices.dropped(way.name, "no usable id")
        elif way.retained:
            self._refuse(sender, "retained: a command is never followed from the broker's memory")
        elif not self._is_in_time(sender.src):
            self._refuse(sender, f"more than {RATE_PER_S:g} commands a second from {sender.src}")
        else:
            self._consider(plain, way, sender)

    def _consider(self, plain: dict[str, Any], way: Way, sender: Sender) -> None:
        try:
            command = validated(_completed(plain, way))
        except EnvelopeError as error:
            self._refuse(sender, str(error))
            return
        met = self._met(way)
        known = self._journal.acknowledgement(command.id)
        if why := untimely(command, met):
            self._refuse(sender, why)
        elif known is not None and known["src"] == command.src:
            sender.tell(known)
        elif known is not None or command.id in self._cases:
            self._refuse(sender, "id: has been used")
        elif why := self._not_authentic(command, plain, way):
            self._refuse(sender, why)
        else:
            self._decide(command, way, sender, met)

    def _decide(self, command: Command, way: Way, sender: Sender, met: Circumstances) -> None:
        """From here on the command counts: its number is used up, whatever becomes of it."""
        sender.tell(self._acknowledgement(sender, "received"))
        order = self._order(command, way)
        if way.name != LOCAL:
            self._journal.count(command.src, command.seq)
        if why := refusal(command, order, met):
            self._refuse(sender, why, counts=True)
        else:
            self._accept(order, sender)

    def _not_authentic(self, command: Command, plain: Mapping[str, Any], way: Way) -> str:
        if way.name == LOCAL:
            return ""
        last = self._journal.last_sequence(command.src)
        if last is not None and command.seq <= last:
            return f"seq: {command.seq} is not above the last one, {last}"
        source = self._sources.get(command.src)
        if source is None:
            return f"src: {command.src} is not in [[commands.source]]"
        if source.public_key and not is_signed(plain, source.public_key):
            return f"sig: must be a signature by the key of {command.src}"
        return not_permitted(command, source)

    def _order(self, command: Command, way: Way) -> Order:
        local = way.name == LOCAL
        level = Level.LOCAL_OPERATOR if local else LEVELS[self._sources[command.src].role]
        now = self._now()
        order = Order(
            id=command.id,
            op=command.op,
            src=command.src,
            level=level,
            local=local,
            args=command.args.model_dump(mode="json", by_alias=True),
            accepted_utc_s=now.utc_s,
            accepted_t_s=now.t_s,
            who=way.who,
        )
        return replace(order, expires_t_s=now.t_s + _ttl_s(order))

    def _accept(self, order: Order, sender: Sender) -> None:
        """On the disk first, then for the loop, then told."""
        standing, ended = placed(self._standing, order)
        self._journal.generation += 1
        held = held_by(order, standing)
        accepted = self._acknowledgement(sender, "accepted", held)
        senders = [self._cases.pop(old.id).sender for old in ended]
        superseded = [
            self._acknowledgement(old, "superseded", f"by {order.text}") for old in senders
        ]
        for acknowledgement in (accepted, *superseded):
            self._journal.note(acknowledgement)
        if not self._journal.write(standing, self._now()):
            risk = f"will not survive a restart: {self._journal.problem}"
            accepted = {**accepted, "reason": f"{held}; {risk}" if held else risk}
            self._journal.note(accepted)
        self._standing = standing
        self._cases[order.id] = _Case(sender)
        self._replans += order.op == "plan.replan"
        self._compose()
        what = said(order.op, order.args)
        self._tell(sender, accepted, f"{what}, {order.until}" if not order.is_pulse else what)
        for old, old_order, acknowledgement in zip(senders, ended, superseded, strict=True):
            self._tell(old, acknowledgement, said(old_order.op, old_order.args))

    # --- afterwards ----------------------------------------------------------------------------

    def look(self, telemetry: Telemetry) -> None:
        """Look in one cycle for what has become of orders."""
        self._state = telemetry.decision.state
        ids = next((ids for made, ids in self._recent if made is telemetry.orders), frozenset())
        for order in self._standing:
            if not order.done and order.id in ids:
                self._judge(order, telemetry)
        if self._may_acknowledge == telemetry.orders.acknowledge:
            self._may_acknowledge = not telemetry.orders.acknowledge
            self._compose()

    def tick(self) -> None:
        """End what has expired; write what has waited."""
        now = self._now()
        kept, ended = expired(self._standing, now.t_s)
        if ended:
            self._standing = kept
            self._compose()
            self._journal.stands()
        for order in ended:
            reason = "not in force within its time"
            if order.done:
                reason = "its time is over; the site decides by itself again"
            self._end(order, "expired", reason)
        if self._journal.is_due(now.t_s):
            self._journal.write(self._standing, now)

    def close(self) -> None:
        """Write what is left."""
        if not self._journal.is_clean:
            self._journal.write(self._standing, self._now())

    def acknowledgement(self, id: str) -> Acknowledgement | None:
        """The newest acknowledgement of a command."""
        return self._journal.acknowledgement(id)

    def _judge(self, order: Order, telemetry: Telemetry) -> None:
        now_s, case = telemetry.sample.t_s, self._cases[order.id]
        if telemetry.decision.state.mode is Mode.STARTING and order.op != "alarm.acknowledge":
            return
        if case.watched_since_s is None:
            case.watched_since_s = now_s
        found = outcome(order, telemetry, self._site, case.watched_since_s)
        late = now_s - case.watched_since_s >= time_s(order, self._site)
        if found.done or (late and found.moving):
            self._done(order, found.why)
        elif found.hopeless or late:
            self._standing = tuple(other for other in self._standing if other is not order)
            self._compose()
            self._end(order, "failed", found.why)
            self._journal.write(self._standing, self._now())

    def _done(self, order: Order, reason: str) -> None:
        if order.is_pulse:
            self._standing = tuple(other for other in self._standing if other is not order)
            self._compose()
            self._end(order, "done", reason)
        else:
            done = replace(order, done=True)
            self._standing = tuple(done if o is order else o for o in self._standing)
            self._conclude(self._cases[order.id].sender, "done", reason, said(order.op, order.args))
        self._journal.stands()

    def _end(self, order: Order, status: str, reason: str) -> None:
        sender = self._cases.pop(order.id).sender
        self._conclude(sender, status, reason, said(order.op, order.args))

    def _restore(self, standing: Standing, now: Now) -> None:
        """Let stand what an earlier process left, but for acknowledgements of alarms.

        There may be an alarm by now that the operator has not seen.
        """
        for order in standing:
            if order.op == "alarm.acknowledge":
                order = replace(order, expires_t_s=now.t_s)
            tell = tell_nobody if order.local else self._tell_of_restored
            sender = Sender(order.id, order.op, order.src, tell, on_site(order.who) or order.src)
            self._cases[order.id] = _Case(sender)
            self._standing += (order,)
            if order.expires_t_s > now.t_s:
                self.notices.add(Severity.INFO, f"stands after the restart: {order.text}")
        self._compose()

    def _tell_of_restored(self, acknowledgement: Acknowledgement) -> None:
        self.tell_of_restored(acknowledgement)

    # --- telling -------------------------------------------------------------------------------

    def _conclude(self, sender: Sender, status: str, reason: str, what: str) -> None:
        """Remember, log and tell a status."""
        acknowledgement = self._acknowledgement(sender, status, reason)
        self._journal.note(acknowledgement)
        self._tell(sender, acknowledgement, what)

    def _tell(self, sender: Sender, acknowledgement: Acknowledgement, what: str) -> None:
        self.notices.decided(sender, acknowledgement, what)
        sender.tell(acknowledgement)

    def _refuse(self, sender: Sender, reason: str, *, counts: bool = False) -> None:
        """Tell a refusal; one of a command that counts is remembered."""
        acknowledgement = self._acknowledgement(sender, "rejected", reason)
        if counts:
            self._journal.note(acknowledgement)
        self.notices.refused(sender, reason)
        sender.tell(acknowledgement)

    def _acknowledgement(self, sender: Sender, status: str, reason: str = "") -> Acknowledgement:
        return make_acknowledgement(
            sender, status, reason, self._clock.utc(), self._journal.generation
        )

    # --- small things --------------------------------------------------------------------------

    def _compose(self) -> None:
        """Make anew what the loop follows."""
        standing, _ = expired(self._standing, self._clock.monotonic())
        wanted = any(order.op == "alarm.acknowledge" for order in standing)
        orders = orders_for(
            standing, self._site, self._replans, acknowledge=wanted and self._may_acknowledge
        )
        self._recent.append((orders, frozenset(order.id for order in standing)))

    def _met(self, way: Way) -> Circumstances:
        now = self._now()
        return Circumstances(
            site=self._site,
            standing=self._standing,
            generation=self._journal.generation,
            state=self._state,
            t_s=now.t_s,
            utc_s=now.utc_s,
            clock_problem="" if way.name == LOCAL else self._clock_problem(now.utc_s),
        )

    def _now(self) -> Now:
        return Now(self._clock.monotonic(), self._clock.utc(), self._boot)

    def _is_in_time(self, source: str) -> bool:
        """Whether a source keeps to its rate; those that nobody knows share one."""
        name = source if source == LOCAL or source in self._sources else ""
        return self._rate.takes(name, self._clock.monotonic())


def _completed(plain: Mapping[str, Any], way: Way) -> Mapping[str, Any]:
    """The envelope with what only commands from elsewhere bear. Raises EnvelopeError."""
    if way.name != LOCAL:
        return plain
    for key in NOT_LOCAL:
        if key in plain:
            raise EnvelopeError(f"{key}: no such field in a local command")
    return {**plain, "src": LOCAL, "seq": 0}


def _ttl_s(order: Order) -> float:
    ttl_s = order.args.get("ttl_s")
    if order.is_pulse:
        return PULSE_S
    if ttl_s is None and order.op in GRID_LIMITS and order.level is Level.GRID_OPERATOR:
        return GRID_OPERATOR_S
    return FOREVER_S if ttl_s is None else float(ttl_s)
