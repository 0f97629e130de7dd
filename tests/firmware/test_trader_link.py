"""The loop's side of the trading process, against processes that die, hang, babble and lie."""

import json
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.records import Advice, Event, Orders
from control.state import Mode
from control.trades import Market, Trade
from firmware.codec import encode
from firmware.config import Site
from firmware.loop import Telemetry
from firmware.neighbours import Neighbours, Said
from firmware.trader_link import PATIENCE_S, RESTART_S, SETTLE_S, TraderLink
from tests.firmware.mqtt.conftest import wait_for

NOW_S = 100.0
BEGIN = """
import json, os, sys, time
hello = json.loads(sys.stdin.readline())
def questions():
    for line in sys.stdin: yield json.loads(line)
def answer(id, market): print(json.dumps({"id": id, "market": market}), flush=True)
"""
Make = Callable[..., TraderLink]


@pytest.fixture
def cycle(run_cycles: Callable[[int], list[Telemetry]]) -> Telemetry:
    """A cycle beside the grid, everything known."""
    return run_cycles(12)[-1]


@pytest.fixture
def make(site: Site, tmp_path: Path) -> Iterator[Make]:
    """A link whose process is a script, or the real one; stopped at the end."""
    made = []

    def start(script: str | None = None, market: Market | None = None) -> TraderLink:
        options: dict[str, Any] = {}
        if script is not None:
            file = tmp_path / f"trader-{len(made)}.py"
            said = json.dumps(encode(Said(market or Market(0.0), "street", "ann", "", True)))
            file.write_text(BEGIN + f"said = json.loads({said!r})\n" + textwrap.dedent(script))
            options["command"] = (sys.executable, str(file))
        trading = {"enabled": True, "folder": str(tmp_path / "trading")}
        tables = {
            "trading": site.trading.model_copy(update=trading),
            "mqtt": site.mqtt.model_copy(update={"host": "127.0.0.1"}),
        }
        link = TraderLink(site.model_copy(update=tables), **options)
        made.append(link)
        link.start()
        return link

    yield start
    for link in made:
        link.stop()


def tell(link: TraderLink, cycle: Telemetry, t_s: float, **changes: Any) -> None:
    """One cycle at a time."""
    moved_s = t_s - cycle.sample.t_s
    sample = replace(cycle.sample, t_s=t_s, utc_s=cycle.sample.utc_s + moved_s)
    state, orders = cycle.decision.state, changes.pop("orders", Orders())
    if "mode" in changes:
        state = replace(state, mode=changes.pop("mode"))
    if changes:
        state = replace(state, estimate=replace(state.estimate, **changes))
    link.observe(sample, state, orders, Advice(detail=f"at {t_s // 100:g}"))


def utc_at(cycle: Telemetry, t_s: float) -> float:
    return cycle.sample.utc_s + t_s - cycle.sample.t_s


def until(link: TraderLink, t_s: float, wanted: Callable[[Neighbours], bool]) -> Neighbours:
    wait_for(lambda: wanted(link.latest(t_s)), lambda: str(link.latest(t_s)))
    return link.latest(t_s)


def problem_is(text: str) -> Callable[[Neighbours], bool]:
    return lambda now: text in now.market.problem


ECHO = "for q in questions(): answer(q['id'], said)"


def market(cycle: Telemetry, **changes: Any) -> Market:
    now_s = utc_at(cycle, NOW_S)
    sold = Trade(1, now_s + 60.0, now_s + 960.0, -200, 0.12)
    return replace(Market(now_s + 60.0, (sold,), interest_frac=0.5, detail="sells"), **changes)


# --- what it is told, and what it says ------------------------------------------------------


def test_it_holds_what_the_process_says(make: Make, cycle: Telemetry) -> None:
    link = make(ECHO, market(cycle, events=("sold 200 Wh",)))
    assert link.latest(NOW_S).market.problem == "the trading process has not answered yet"
    tell(link, cycle, NOW_S)
    now = until(link, NOW_S, lambda now: bool(now.deliveries))
    assert (now.said.community, now.said.house) == ("street", "ann")
    assert (now.deliveries[0].from_t_s, now.deliveries[0].bought_kw) == (NOW_S + 60.0, -0.8)
    assert now.market.interest_frac == 0.5
    assert [(e.key, e.text) for e in link.notices()] == [("trade", "sold 200 Wh")]


def test_it_asks_once_a_second_and_sends_an_advice_once(
    make: Make, cycle: Telemetry, tmp_path: Path
) -> None:
    heard = tmp_path / "heard"
    link = make(f"""
        with open({str(heard)!r}, "w") as file:
            for q in questions():
                file.write(json.dumps([q["advice"] is not None, q["glance"][1]]) + "\\n")
                file.flush()
                answer(q["id"], said)
        """)
    advice = Advice(detail="the same")
    for n in range(8):
        t_s = NOW_S + 0.25 * n
        sample = replace(cycle.sample, t_s=t_s, utc_s=utc_at(cycle, t_s))
        link.observe(sample, cycle.decision.state, Orders(), advice)
        if n in (0, 4):
            wait_for(lambda t_s=t_s: bool(link.latest(t_s)) and link._may_ask)
    lines = [json.loads(line) for line in heard.read_text().splitlines()]
    assert lines == [[True, NOW_S], [False, NOW_S + 1.0]]


@pytest.mark.parametrize(
    ("changes", "hindrance"),
    [
        ({"orders": Orders(trading=False)}, "switched off by order"),
        ({"mode": Mode.MANUAL}, "mode manual"),
        ({"mode": Mode.SAFE}, "mode safe"),
        ({"grid_present": False}, "the grid is absent"),
        ({}, ""),
    ],
)
def test_what_in_the_house_speaks_against_trading_is_said_on_both_sides(
    make: Make, cycle: Telemetry, changes: dict[str, Any], hindrance: str
) -> None:
    link = make("for q in questions(): said[0][9] = str(q['glance'][3]); answer(q['id'], said)")
    tell(link, cycle, NOW_S, **changes)
    wait_for(lambda: bool(link.latest(NOW_S)) and link._may_ask)
    assert link._neighbourhood._said.market.detail == str(not hindrance)
    assert link.latest(NOW_S).market.problem == hindrance


def test_a_problem_is_told_when_it_has_settled(make: Make, cycle: Telemetry) -> None:
    link = make(ECHO, market(cycle, problem="disk full"))
    tell(link, cycle, NOW_S)
    until(link, NOW_S, problem_is("disk full"))
    assert link.notices() == ()
    link.latest(NOW_S + SETTLE_S)
    assert [event.text for event in link.notices()] == ["no trade: disk full"]
    link.latest(NOW_S + 2 * SETTLE_S)
    assert link.notices() == ()


# --- what it survives -----------------------------------------------------------------------


def test_a_killed_process_costs_no_delivery_and_is_started_again(
    make: Make, cycle: Telemetry
) -> None:
    link = make(ECHO, market(cycle))
    tell(link, cycle, NOW_S)
    deliveries = until(link, NOW_S, lambda now: bool(now.deliveries)).deliveries
    first = link.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    now = until(link, NOW_S + 1.0, problem_is("the trading process died"))
    assert now.deliveries == deliveries
    assert now.market.interest_frac == 0.0
    tell(link, cycle, NOW_S + 1.5)  # nobody to ask
    link.latest(NOW_S + 1.0 + RESTART_S)
    wait_for(lambda: link.pid not in (None, first))
    tell(link, cycle, NOW_S + 4.0)
    until(link, NOW_S + 4.0, lambda now: not now.market.problem)
    link.latest(NOW_S + 4.0 + SETTLE_S)
    said = [event.text for event in link.notices()]
    assert said == ["the trading process died; control goes on", "in the market"]


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("sys.exit()", "died"),
        ("os.kill(os.getpid(), 11)", "died"),
        ("print('nonsense', flush=True); time.sleep(600)", "died"),
        ("for q in questions(): print('[' * 100000, flush=True)", "died"),
        ("while True: os.write(1, b'x' * 60000)", "died"),
        ("for q in questions(): answer(q['id'], [1, 2])", "unreadable market refused"),
        ("for q in questions(): answer(q['id'], [[0.0, [], float('nan')]])", "nonsensical market"),
    ],
)
def test_one_that_makes_no_sense_is_not_believed(
    make: Make, cycle: Telemetry, script: str, problem: str
) -> None:
    link = make(script)
    tell(link, cycle, NOW_S)
    now = until(link, NOW_S, problem_is(problem))
    assert now.deliveries == ()
    events: tuple[Event, ...] = link.notices()
    assert len(events) == 1
    assert events[0].text.endswith("; control goes on")


def test_one_that_hangs_is_replaced(make: Make, cycle: Telemetry) -> None:
    link = make("time.sleep(600)")
    tell(link, cycle, NOW_S)
    assert not problem_is("does not answer")(link.latest(NOW_S + PATIENCE_S))
    late_s = NOW_S + PATIENCE_S + 1.0
    until(link, late_s, problem_is("the trading process does not answer"))
    first = link._process
    assert first is not None
    wait_for(lambda: first.ended)
    link.latest(late_s + RESTART_S)
    assert link._process is not first


def test_restarts_become_rarer_until_one_has_answered_for_long(
    make: Make, cycle: Telemetry
) -> None:
    link = make(ECHO + "; break")  # answers once, then dies
    now_s, waits = NOW_S, []
    for _ in range(3):
        tell(link, cycle, now_s)
        wait_for(lambda: bool(link.latest(now_s)) and link._restart_t_s is not None)  # noqa: B023
        assert link._restart_t_s is not None
        waits.append(link._restart_t_s - now_s)
        now_s = link._restart_t_s
        wait_for(lambda: bool(link.latest(now_s)) and link._restart_t_s is None)  # noqa: B023
    assert waits == [RESTART_S, 2 * RESTART_S, 4 * RESTART_S]


# --- the real process -----------------------------------------------------------------------


def test_a_box_in_no_community_says_so(make: Make, cycle: Telemetry, tmp_path: Path) -> None:
    link = make()
    wait_for(lambda: bool(link.latest(NOW_S)) and (tmp_path / "trading/identity.pem").exists())
    tell(link, cycle, NOW_S)
    now = until(link, NOW_S, problem_is("this box is in no community"))
    assert now.said.community == ""


def test_the_process_ends_with_who_asks(make: Make, cycle: Telemetry) -> None:
    link = make()
    tell(link, cycle, NOW_S)
    until(link, NOW_S, problem_is("community"))
    process = link._process
    assert process is not None
    process._requests.put(None)  # its input ends, as when the service is killed
    wait_for(lambda: process.ended)
