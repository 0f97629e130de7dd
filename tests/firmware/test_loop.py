"""The order of a cycle, what comes back into the next, and what an error leaves undone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from control.cycle import Decision
from control.delivery import Delivery
from control.records import Advice, Orders, PricePeriod, Sample
from control.site import SiteParameters
from control.state import State
from control.trades import NO_MARKET, Market
from firmware import loop as loop_module
from firmware.loop import Loop, Telemetry
from firmware.neighbours import Neighbours, Said


class Stub:
    """Ports, workers, publisher and clock in one: notes what is called, in order."""

    def __init__(self, make_sample: Callable[..., Sample]) -> None:
        self.calls: list[str] = []
        self.telemetry: list[Telemetry] = []
        self.now_s = 50.0
        self.work_s: list[float] = []
        self.given = Orders()
        self.ordered: tuple[PricePeriod, ...] = ()
        self.market = NO_MARKET
        self._make_sample = make_sample

    def sample(self, cycle: int, ordered: tuple[PricePeriod, ...], interest_frac: float) -> Sample:
        self.ordered = ordered
        self.calls.append("sample")
        return replace(self._make_sample(cycle), interest_frac=interest_frac)

    def latest(self, now_s: float) -> Advice:
        self.calls.append("latest")
        return Advice(detail=f"at {now_s:g}")

    def orders(self) -> Orders:
        self.calls.append("orders")
        return self.given

    def actuate(self, command: object) -> tuple[Any, ...]:
        self.calls.append("actuate")
        self.now_s += self.work_s.pop(0) if self.work_s else 0.0
        return (f"applied {len(self.telemetry)}",)

    def observe(self, sample: Sample, state: State, orders: Orders, market: Market) -> None:
        assert orders is self.given
        self.market = market
        self.calls.append("observe")

    def publish(self, telemetry: Telemetry) -> None:
        self.calls.append("publish")
        self.telemetry.append(telemetry)

    def heartbeat(self) -> None:
        self.calls.append("heartbeat")

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def stub(make_sample: Callable[..., Sample]) -> Stub:
    return Stub(make_sample)


@pytest.fixture
def loop(stub: Stub, parameters: SiteParameters, monkeypatch: pytest.MonkeyPatch) -> Loop:
    decide = loop_module.decide

    def noted(site: Any, state: Any, sample: Any, applied: Any, *rest: Any) -> Decision:
        stub.calls.append("decide")
        return decide(site, state, sample, (), *rest)

    monkeypatch.setattr(loop_module, "decide", noted)
    anything: Any = stub
    return Loop(parameters, anything, anything, stub.orders, [anything], anything)


STEP = ["orders", "sample", "latest", "decide", "actuate", "observe", "publish", "heartbeat"]


def test_a_step_is_sample_decide_actuate_tell(loop: Loop, stub: Stub) -> None:
    loop.step()
    assert stub.calls == STEP
    loop.step()
    assert stub.calls == 2 * STEP


def test_ordered_prices_reach_the_sample_and_orders_the_worker(loop: Loop, stub: Stub) -> None:
    stub.given = Orders(prices=(PricePeriod(0.0, 9.0, 0.5, 0.1),), replans=1)
    loop.step()
    assert stub.ordered is stub.given.prices
    assert stub.telemetry[0].orders is stub.given


class Neighbour:
    """Buys for the whole of the next hour."""

    def __init__(self, neighbours: Neighbours) -> None:
        self.neighbours = neighbours
        self.seen: list[tuple[Any, ...]] = []

    def latest(self, now_s: float) -> Neighbours:
        return self.neighbours

    def observe(self, *seen: Any) -> None:
        self.seen.append(seen)


def test_what_neighbours_trade_reaches_sample_decision_and_planner(loop: Loop, stub: Stub) -> None:
    sold = Delivery(0.0, 1e6, -0.8, 0.12)
    market = Market(0.0, interest_frac=0.5)
    loop._trader = trader = Neighbour(Neighbours(Said(market), (sold,)))
    for _ in range(2):
        loop.step()
    told = stub.telemetry[-1]
    assert told.neighbours is trader.neighbours
    assert told.sample.interest_frac == 0.5
    assert stub.market is market
    assert trader.seen[-1] == (told.sample, told.decision.state, told.orders, told.advice)
    battery = next(why for why in told.decision.command.why if why.device == "battery")
    assert battery.source == "committed trades"
    assert battery.reason.startswith("0.80 kW sold to neighbours until ")


def test_state_and_applied_come_back_and_nothing_else(loop: Loop, stub: Stub) -> None:
    for _ in range(3):
        loop.step()
    first, second, third = stub.telemetry
    assert first.before == State()
    assert first.applied == ()
    assert second.before is first.decision.state
    assert third.before is second.decision.state
    assert (second.applied, third.applied) == (("applied 0",), ("applied 1",))
    assert [t.sample.cycle for t in stub.telemetry] == [0, 1, 2]
    assert second.advice.detail == "at 5001"


def test_the_watchdog_is_fed_last_and_lost_cycles_are_counted(loop: Loop, stub: Stub) -> None:
    stub.work_s = [0.2, 3.4, 0.1]

    def fed(decision: Decision) -> None:
        assert decision is stub.telemetry[-1].decision
        stub.calls.append("fed")

    loop.run(lambda: stub.calls.count("fed") == 4, fed)
    assert stub.calls == 4 * [*STEP, "fed"]
    found = loop.statistics()
    assert (found["cycles"], found["cycles_missed"]) == (4, 2)
    assert found["lateness"]["count"] == 4
    assert found["lateness"]["max_s"] == pytest.approx(0.4)
    assert all(stage["count"] == 4 for stage in found["stages"].values())
    assert set(found["stages"]) == {"sample", "decide", "actuate", "publish"}


@pytest.mark.parametrize("broken", ["sample", "latest", "actuate", "observe", "publish"])
def test_an_error_ends_the_loop_without_a_heartbeat(
    loop: Loop, stub: Stub, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    fed: list[Decision] = []
    loop.step()
    stub.calls.clear()

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(stub, broken, fail)
    with pytest.raises(ZeroDivisionError):
        loop.run(lambda: False, fed.append)
    assert "heartbeat" not in stub.calls
    assert not fed
    assert loop.timing.cycles == 1


def test_an_error_of_the_decision_actuates_nothing(
    loop: Loop, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Decision:
        raise ValueError("a bug")

    monkeypatch.setattr(loop_module, "decide", fail)
    with pytest.raises(ValueError, match="a bug"):
        loop.step()
    assert stub.calls == ["orders", "sample", "latest"]
