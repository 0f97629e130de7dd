"""The control loop: sample, decide, actuate, tell. `step` is the whole of it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from control.cycle import Decision, decide
from control.records import Advice, Applied, Event, Orders, Sample
from control.site import SiteParameters
from control.state import State
from firmware.clock import Clock
from firmware.histogram import Histogram
from firmware.neighbours import NOBODY, Neighbours
from firmware.pace import Pace
from firmware.ports import Ports
from firmware.realtime import tidy
from firmware.workers import Workers

STAGES = ("sample", "decide", "actuate", "publish")
FIRST_TICK_S = 0.5  # the devices of an ordinary site have answered by then


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Everything about one cycle that somebody may want to know, record or show."""

    before: State
    sample: Sample
    applied: Applied  # as it was given to the decision
    advice: Advice
    orders: Orders
    decision: Decision
    notices: tuple[Event, ...] = ()  # events from outside the decision: what became of commands
    neighbours: Neighbours = NOBODY  # of whom the decision was given the deliveries

    @property
    def events(self) -> tuple[Event, ...]:
        """All that this cycle has to tell."""
        return (*self.notices, *self.decision.events)


class Publisher(Protocol):
    """Takes telemetry; must never wait."""

    def publish(self, telemetry: Telemetry) -> None:
        """Take one cycle's telemetry."""

    def close(self) -> None:
        """Finish what is under way."""


class Trader(Protocol):
    """Trades for the house with its neighbours; must never wait."""

    def latest(self, now_s: float) -> Neighbours:
        """What the market has come to."""

    def observe(self, sample: Sample, state: State, orders: Orders, advice: Advice) -> None:
        """Note what a cycle saw."""


class NoTrader:
    """A house that does not trade."""

    def latest(self, now_s: float) -> Neighbours:
        """Nobody is there."""
        return NOBODY

    def observe(self, sample: Sample, state: State, orders: Orders, advice: Advice) -> None:
        """Nobody wants to know."""


def no_notices() -> tuple[Event, ...]:
    """Nothing to tell from outside the decisions."""
    return ()


@dataclass(slots=True)
class Timing:
    """How punctual the loop is and where its time goes."""

    lateness: Histogram = field(default_factory=Histogram)
    stages: dict[str, Histogram] = field(
        default_factory=lambda: {stage: Histogram() for stage in STAGES}
    )
    cycles: int = 0
    missed: int = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of the cycle."""
        start = time.perf_counter()
        yield
        self.stages[name].add(time.perf_counter() - start)


class Loop:
    """One nano-grid's control loop. `state` and `applied` come back; nothing else does."""

    def __init__(
        self,
        site: SiteParameters,
        ports: Ports,
        workers: Workers,
        orders: Callable[[], Orders],
        publishers: list[Publisher],
        clock: Clock,
        notices: Callable[[], tuple[Event, ...]] = no_notices,
        trader: Trader | None = None,
    ) -> None:
        """Everything is built by `firmware.service`; nothing has started yet."""
        self._site = site
        self._ports = ports
        self._workers = workers
        self._orders = orders
        self._publishers = publishers
        self._clock = clock
        self._notices = notices
        self._trader = trader or NoTrader()
        self.state = State()
        self._applied: Applied = ()
        self.timing = Timing()

    def step(self) -> Decision:
        """Run one cycle."""
        with self.timing.stage("sample"):
            orders = self._orders()
            neighbours = self._trader.latest(self._clock.monotonic())
            interest_frac = neighbours.market.interest_frac
            sample = self._ports.sample(self.timing.cycles, orders.prices, interest_frac)
            advice = self._workers.latest(sample.t_s)
        with self.timing.stage("decide"):
            before, applied = self.state, self._applied
            deliveries = neighbours.deliveries
            decision = decide(self._site, before, sample, applied, advice, orders, deliveries)
        with self.timing.stage("actuate"):
            self._applied = self._ports.actuate(decision.command)
            self.state = decision.state
        with self.timing.stage("publish"):
            self._workers.observe(sample, decision.state, orders, neighbours.market)
            self._trader.observe(sample, decision.state, orders, advice)
            notices = self._notices()
            telemetry = Telemetry(
                before, sample, applied, advice, orders, decision, notices, neighbours
            )
            for publisher in self._publishers:
                publisher.publish(telemetry)
        self._ports.heartbeat()
        self.timing.cycles += 1
        return decision

    def statistics(self) -> dict[str, Any]:
        """Cycle counts, lateness and stage times."""
        timing = self.timing
        return {
            "cycles": timing.cycles,
            "cycles_missed": timing.missed,
            "lateness": timing.lateness.summary(),
            "stages": {name: stage.summary() for name, stage in timing.stages.items()},
        }

    def run(self, stopping: Callable[[], bool], fed: Callable[[Decision], None]) -> None:
        """Step at every tick until `stopping`; `fed` is called last in each cycle.

        The buses have just begun their first round and repeat it at the same period: ticks fall
        between rounds, where no thread holds the interpreter.
        """
        period_s = self._site.period_s
        pace = Pace(self._clock, period_s, min(period_s / 2, FIRST_TICK_S))
        while (tick := pace.wait(stopping)) is not None:
            self.timing.lateness.add(tick.lateness_s)
            self.timing.missed += tick.missed
            fed(self.step())
            tidy()
