"""What stands: accepted orders, what a new one ends, and what they mean to the loop. Pure."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from control.records import Level, Orders, PricePeriod, Proposal, Quantity
from control.site import BatteryParameters, GeneratorParameters, SiteParameters

FOREVER_S = math.inf
PULSE_S = 120.0  # an order that is over once it has been followed ends by then
PULSES = ("plan.replan", "alarm.acknowledge")
LIMITS = ("grid.export_limit", "grid.import_limit", "pv.limit")
GRID_LIMITS = ("grid.export_limit", "grid.import_limit")
W_PER_KW = 1000.0


@dataclass(frozen=True, slots=True)
class Order:
    """An accepted command; times `_t_s` are monotonic."""

    id: str
    op: str
    src: str
    level: Level
    local: bool  # given at the box itself
    args: dict[str, Any]  # as in the envelope, complete
    accepted_utc_s: float
    accepted_t_s: float
    expires_t_s: float = FOREVER_S
    who: str = ""
    done: bool = False  # it has been in force

    @property
    def name(self) -> str:
        """Who gave it."""
        return f"{self.who}, on site" if self.local and self.who else self.src

    @property
    def by(self) -> str:
        """Who gave it, and as what."""
        return f"{self.level.title} ({self.name})"

    @property
    def reason(self) -> str:
        """The order beside its level."""
        return f"{said(self.op, self.args)}, by {self.name}"

    @property
    def rank(self) -> tuple[Level, bool]:
        """The higher counts: the level, and of one level who is on site."""
        return self.level, self.local

    @property
    def is_pulse(self) -> bool:
        """Once it has been followed it is over: there is nothing to keep up."""
        return self.op in PULSES or self.lifts

    @property
    def lifts(self) -> bool:
        """It only takes others back."""
        args = self.args
        return (
            (self.op == "mode.set" and args["mode"] == "auto")
            or (self.op == "trade.set" and args["on"])
            or (self.op in GRID_LIMITS and args["p_w"] is None)
            or (self.op == "battery.reserve" and args["soc_frac"] is None)
        )

    @property
    def slot(self) -> tuple[str, str]:
        """Orders of one slot are about the same thing."""
        return SLOTS.get(self.op, self.op), str(self.args.get("device") or "")

    @property
    def limit_kw(self) -> float:
        """Of a limit."""
        watts = self.args["p_w"]
        return math.inf if watts is None else float(watts) / W_PER_KW

    @property
    def until(self) -> str:
        """When it ends, for people."""
        if math.isinf(self.expires_t_s):
            return "until taken back"
        end_s = self.accepted_utc_s + self.expires_t_s - self.accepted_t_s
        return f"until {datetime.fromtimestamp(end_s, UTC):%Y-%m-%d %H:%M:%S}Z"

    @property
    def text(self) -> str:
        """The order as people say it."""
        return f"{said(self.op, self.args)}, by {self.by}"


SLOTS = {"generator.start": "generator", "generator.stop": "generator"}
Standing = tuple[Order, ...]


def said(op: str, args: dict[str, Any]) -> str:
    """An operation with what matters of its arguments."""
    words = [op]
    if "p_w" in args:
        words.append("none" if args["p_w"] is None else f"{args['p_w']} W")
    if op == "mode.set":
        words.append(args["mode"])
    if op == "trade.set":
        words.append("on" if args["on"] else "off")
    if op == "battery.reserve":
        words.append("none" if args["soc_frac"] is None else f"{args['soc_frac']:.0%}")
    if args.get("device"):
        words.append(f"for {args['device']}")
    return " ".join(words)


def expired(standing: Standing, now_s: float) -> tuple[Standing, Standing]:
    """Those that stand at this moment, and those that have ended."""
    kept = tuple(order for order in standing if order.expires_t_s > now_s)
    return kept, tuple(order for order in standing if order.expires_t_s <= now_s)


def placed(standing: Standing, new: Order) -> tuple[Standing, Standing]:
    """What stands with `new`, and what it has ended.

    A setpoint, a mode, a reserve replaces that of its own level; `auto`, `on`, no reserve and a
    limit given on site take back their own level's and lower ones. Nothing from elsewhere ends what
    the same level ordered on site. A limit from elsewhere ends only limits of the same source that
    are no tighter and last no longer: nothing that it does lets more through, now or later.
    """
    ended = tuple(order for order in standing if _ends(new, order))
    return (*(order for order in standing if order not in ended), new), ended


def _ends(new: Order, old: Order) -> bool:
    if new.slot != old.slot or new.op in PULSES:
        return False
    if new.op in LIMITS and not new.local:
        return (
            old.src == new.src
            and old.limit_kw >= new.limit_kw
            and old.expires_t_s <= new.expires_t_s
        )
    if new.lifts or new.op in LIMITS:
        return old.rank <= new.rank
    return old.level == new.level and old.rank <= new.rank


# --- limits in force -----------------------------------------------------------------------


def grid_limit_kw(standing: Iterable[Order], op: str, site_kw: float) -> float:
    """The limit of import or export that is in force."""
    return min([site_kw, *(order.limit_kw for order in standing if order.op == op)])


def pv_limits_kw(order: Order, site: SiteParameters) -> dict[str, float]:
    """A PV limit for each inverter that it is about; one for all is shared by their ratings."""
    device = order.args.get("device")
    if device:
        return {device: order.limit_kw}
    total_kw = site.pv_rated_kw
    return {pv.name: order.limit_kw * pv.rated_kw / total_kw for pv in site.pv}


def pv_limit_kw(
    standing: Iterable[Order], name: str, rated_kw: float, site: SiteParameters
) -> float:
    """The limit of one inverter that is in force."""
    limits = [pv_limits_kw(order, site) for order in standing if order.op == "pv.limit"]
    return min([rated_kw, *(each[name] for each in limits if name in each)])


def mode_order(standing: Standing) -> Order | None:
    """The order that decides between manual and stopped; None: neither."""
    modes = [order for order in standing if order.op == "mode.set" and not order.lifts]
    return max(modes, key=lambda order: order.rank, default=None)


# --- for the loop --------------------------------------------------------------------------


def orders_for(
    standing: Standing, site: SiteParameters, replans: int = 0, *, acknowledge: bool = False
) -> Orders:
    """What stands, as the decision takes it."""
    mode = mode_order(standing)
    reserve = max(
        (order for order in standing if order.op == "battery.reserve" and not order.lifts),
        key=lambda order: (order.args["soc_frac"], order.level),
        default=None,
    )
    return Orders(
        stop=mode is not None and mode.args["mode"] == "stopped",
        manual=mode is not None and mode.args["mode"] == "manual",
        acknowledge=acknowledge,
        proposals=tuple(_proposals(standing, site)),
        import_max_kw=_ordered_kw(standing, "grid.import_limit"),
        export_max_kw=_ordered_kw(standing, "grid.export_limit"),
        reserve_soc_frac=reserve.args["soc_frac"] if reserve else None,
        reserve_level=reserve.level if reserve else Level.PLAN,
        prices=tuple(_prices(standing)),
        trading=_is_trading(standing),
        replans=replans,
        active=tuple(f"{order.text}, {order.until}" for order in standing if not order.is_pulse),
    )


def _proposals(standing: Standing, site: SiteParameters) -> Iterator[Proposal]:
    for order in sorted(standing, key=lambda order: not order.local):  # the first wins a tie
        level, end_s, text = order.level, order.expires_t_s, order.reason
        if order.op == "battery.setpoint":
            power_kw = order.args["p_w"] / W_PER_KW
            for name in _addressed(order, site.battery, site.battery_units):
                yield Proposal(level, name, Quantity.POWER_KW, text, power_kw, expires_t_s=end_s)
        elif order.op in SLOTS:
            run = float(order.op == "generator.start")
            for name in _addressed(order, site.generator, site.generator_units):
                yield Proposal(level, name, Quantity.RUN, text, run, expires_t_s=end_s)
        elif order.op == "pv.limit":
            for name, limit_kw in pv_limits_kw(order, site).items():
                yield Proposal(
                    level, name, Quantity.LIMIT_KW, text, upper=limit_kw, expires_t_s=end_s
                )


def _addressed(
    order: Order,
    together: BatteryParameters | GeneratorParameters | None,
    units: Sequence[BatteryParameters] | Sequence[GeneratorParameters],
) -> Iterator[str]:
    """Whom an order is for: the device it names, if the site still has it, else all as one."""
    device = order.args.get("device")
    if device and len(units) > 1:
        yield from (unit.name for unit in units if unit.name == device)
    elif together is not None:
        yield together.name


def _ordered_kw(standing: Standing, op: str) -> float | None:
    limit_kw = grid_limit_kw(standing, op, math.inf)
    return None if math.isinf(limit_kw) else limit_kw


def _prices(standing: Standing) -> Iterator[PricePeriod]:
    """Of several tables the one of the highest level comes first, and so holds."""
    tables = [order for order in standing if order.op == "price.set"]
    for order in sorted(tables, key=lambda order: order.rank, reverse=True):
        rows = order.args["prices"]
        end_s = order.accepted_utc_s + order.args["ttl_s"]
        ends = [row["from"] for row in rows[1:]] + [math.inf]
        for row, until_s in zip(rows, ends, strict=True):
            if row["from"] < (last_s := min(until_s, end_s)):
                yield PricePeriod(row["from"], last_s, row["buy"], row["sell"])


def _is_trading(standing: Standing) -> bool:
    return not any(order.op == "trade.set" and not order.lifts for order in standing)
