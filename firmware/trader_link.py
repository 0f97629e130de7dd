"""The loop's side of the trading process: tell it of the house, hold the market, outlive it."""

import sys

from control.records import Advice, Orders, Sample, Severity
from control.state import Mode, State
from firmware.config import Site
from firmware.delivery_watch import DeliveryWatch
from firmware.neighbours import Neighbourhood, Neighbours, Said
from firmware.orders.clock_sync import clock_problem
from firmware.position import glance
from firmware.supervised import Manners, Supervised

NICE = 5
ASK_S = 0.95  # how often it is asked at most: in each cycle of a second
PATIENCE_S = 30.0  # for an answer
RESTART_S = 2.0  # before a process that failed is started again; doubles ...
LAST_RESTART_S = 120.0  # ... up to this, until one has answered for ...
STEADY_S = 60.0
SETTLE_S = 5.0  # a problem that stands for so long is told
MANNERS = Manners("trading process", "market", RESTART_S, LAST_RESTART_S, PATIENCE_S, STEADY_S)
TRADING_MODES = (Mode.AUTO, Mode.DEGRADED)


class TraderLink(Supervised[Said]):
    """Holds the latest market. No call waits for the process."""

    def __init__(
        self, site: Site, command: tuple[str, ...] = (sys.executable, "-m", "firmware.trader")
    ) -> None:
        """`start` brings the process up."""
        hello = {"site": site.model_dump(mode="json", by_alias=True), "nice": NICE}
        super().__init__(Said, MANNERS, command, hello)
        self._neighbourhood = Neighbourhood(site)
        self._watch = DeliveryWatch()
        self._neighbourhood.fail("the trading process has not answered yet")
        self._known_advice: Advice | None = None  # to the process
        self._utc_of_t_s = 0.0  # UTC when the monotonic clock showed 0, in the last cycle
        self._hindrance = ""  # what in the house speaks against trading
        self._problem, self._since_s = "", float("-inf")  # that there is now
        self._told: str | None = None  # of which an event was made

    def start(self) -> None:
        """Start the process; it opens the ledger while the loop already runs."""
        super().start()
        self._known_advice = None

    def latest(self, now_s: float) -> Neighbours:
        """The market now; what has expired is left out, committed trades end by themselves."""
        self._supervise(now_s)
        now = self._neighbourhood.latest(self._utc_of_t_s + now_s, now_s, self._hindrance)
        self._tell_problem(now.market.problem, now_s)
        return now

    def observe(self, sample: Sample, state: State, orders: Orders, advice: Advice) -> None:
        """Tell the process what this cycle saw, when it is time."""
        self._utc_of_t_s = sample.utc_s - sample.t_s
        self._hindrance = hindrance(state, orders)
        deliveries = self._neighbourhood.deliveries
        if text := self._watch.note(deliveries, sample.t_s, state.estimate.grid_kw):
            self._tell(Severity.INFO, "trade", text)
        if not self._may_ask or sample.t_s - self._last_t_s < ASK_S:
            return
        seen = glance(
            sample,
            state,
            orders,
            trading=not self._hindrance,
            clock_problem=clock_problem(sample.utc_s),
        )
        known, self._known_advice = self._known_advice, advice
        self._put({"glance": seen, "advice": None if advice is known else advice}, sample.t_s)

    def _accept(self, content: Said, asked_t_s: float) -> str:
        nonsense = self._neighbourhood.take(content, self._utc_of_t_s + asked_t_s, asked_t_s)
        if not nonsense:
            for text in content.market.events:
                self._tell(Severity.INFO, "trade", text)
        return nonsense

    def _fault(self, why: str, now_s: float) -> None:
        """Nothing new is traded until it answers sensibly."""
        self._neighbourhood.fail(why)
        if why != self._told:
            self._told = why
            self._tell(Severity.WARNING, "trade", f"{why}; control goes on")

    def _tell_problem(self, problem: str, now_s: float) -> None:
        """Say why there is no trade, or that there is again, once that has settled."""
        if problem != self._problem:
            self._problem, self._since_s = problem, now_s
        if problem != self._told and now_s - self._since_s >= SETTLE_S:
            self._told = problem
            if problem:
                self._tell(Severity.WARNING, "trade", f"no trade: {problem}")
            else:
                self._tell(Severity.INFO, "trade", "in the market")


def hindrance(state: State, orders: Orders) -> str:
    """Why the house places no orders now; empty: nothing speaks against it."""
    if not orders.trading:
        return "switched off by order"
    if state.mode not in TRADING_MODES:
        return f"mode {state.mode.value}"
    return "" if state.estimate.grid_present else "the grid is absent"
