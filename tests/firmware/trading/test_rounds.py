"""The rounds: who is heard, what is announced, what is agreed, and when a house plans alone."""

from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from control.trades import Position, Quantiles, StoreFacts
from control.trading_records import Timeline
from firmware.trading.membership import Membership
from firmware.trading.messages import PlanBody
from firmware.trading.rounds import ROUNDS_FRAC, Rounds, plan_grid
from tests.firmware.trading.agent_street import BATTERY, BUY, NO_BATTERY, SELL, START_S, House
from tests.firmware.trading.people import document, entry, known

LINE = Timeline()
EPOCH = int(START_S // 900) + 49  # a quarter past noon
OPEN_S = LINE.delivery_s(EPOCH) - 900.0
ME = known("me")
SUNNY = House(0, pv_kw=4.0, load_kw=0.5)


def due_s(number: int, epoch: int = EPOCH) -> float:
    """When a round begins."""
    return LINE.delivery_s(epoch) - LINE.gate_s - ROUNDS_FRAC[number] * (LINE.slot_s - LINE.gate_s)


def rounds(store: StoreFacts = BATTERY) -> Rounds:
    return Rounds(ME.peer, LINE, store)


@cache
def community(others: int, max_buy_wh: int = 2500, max_sell_wh: int = 2500) -> Membership:
    people = [known(f"neighbour {number}") for number in range(others)]
    limits = {"max_buy_wh": max_buy_wh, "max_sell_wh": max_sell_wh}
    members = [entry(who, **limits) for who in (ME, *people)]
    return document([known("administrator")], 1, members)


def body(kw: float, sigma_kw: float = 0.1) -> PlanBody:
    return PlanBody(w=96 * [round(1000 * kw)], sd=96 * [round(1000 * sigma_kw)])


def play(
    me: Rounds,
    house: House = SUNNY,
    others: int = 1,
    heard_kw: float | None = 2.0,
    limits: tuple[int, int] = (2500, 2500),
    **changes: Any,
) -> dict[str, list[int]] | None:
    said, street = None, community(others, *limits)
    for number in range(len(ROUNDS_FRAC)):
        utc_s = due_s(number)
        assert me.is_due(EPOCH, utc_s, street)
        position = replace(house.position(utc_s, utc_s), **changes)
        said = me.announce(position, EPOCH, utc_s, street)
        assert not me.is_due(EPOCH, utc_s, street)
        if heard_kw is not None:
            me.hear("other", EPOCH, body(heard_kw))
    return said


@pytest.mark.parametrize(
    ("slot_s", "delivery_s", "begin_s", "step_s", "steps"),
    [
        (900.0, 90_000.0, 90_000.0, 900.0, 96),
        (3600.0, 90_000.0, 90_000.0, 3600.0, 24),
        (10.0, 90_010.0, 90_000.0, 900.0, 96),  # a community that tries it out
    ],
)
def test_the_grid(
    slot_s: float, delivery_s: float, begin_s: float, step_s: float, steps: int
) -> None:
    grid = plan_grid(Timeline.of_slot(slot_s), round(delivery_s / slot_s))
    assert (grid.from_utc_s, grid.step_s, grid.steps) == (begin_s, step_s, steps)


def test_rounds_are_over_before_the_order() -> None:
    me = rounds()
    assert not me.is_due(EPOCH, OPEN_S, community(1))
    assert not me.is_due(EPOCH, due_s(0) - 0.1, community(1))
    last = len(ROUNDS_FRAC) - 1
    assert [me.is_due(EPOCH, due_s(number), community(100)) for number in (0, last - 2)] == [
        False,
        False,
    ]
    assert me.is_due(EPOCH, due_s(last - 1), community(100))  # among many the last two are enough
    assert LINE.delivery_s(EPOCH) - due_s(last) > LINE.gate_s


def test_what_is_announced_keeps_to_the_members_limits() -> None:
    said = play(rounds(), limits=(25, 50))
    assert said is not None
    assert (len(said["w"]), len(said["sd"])) == (96, 96)
    assert -200 <= min(said["w"]) <= max(said["w"]) <= 100
    assert max(said["sd"]) <= 300


@pytest.mark.parametrize(("import_kw", "export_kw"), [(0.1, 0.2), (0.0, 0.0)])
def test_what_is_announced_keeps_to_the_connections_limits(
    import_kw: float, export_kw: float
) -> None:
    said = play(rounds(), import_max_kw=import_kw, export_max_kw=export_kw)
    assert said is not None
    assert -1000 * export_kw <= min(said["w"]) <= max(said["w"]) <= 1000 * import_kw
    free = play(rounds())
    assert free is not None
    assert min(free["w"]) < -200


def test_neighbours_that_lack_make_energy_dear() -> None:
    scarce, plenty = rounds(), rounds()
    play(scarce, heard_kw=6.0)
    play(plenty, heard_kw=-6.0)
    dear, cheap = scarce.agreed(EPOCH), plenty.agreed(EPOCH)
    assert dear is not None
    assert cheap is not None
    assert min(dear.prices_per_kwh) > 0.95 * BUY
    assert max(cheap.prices_per_kwh) < 1.2 * SELL
    assert dear.stored_value_per_kwh is not None
    assert cheap.stored_value_per_kwh is not None
    assert dear.stored_value_per_kwh > cheap.stored_value_per_kwh
    assert dear.drawn_kw[0] < 0.0


def test_it_lasts_until_the_next_rounds_are_over() -> None:
    me = rounds()
    play(me)
    assert me.agreed(EPOCH) is not None
    assert me.agreed(EPOCH + 1) is None
    assert me.latest(EPOCH + 1) is me.agreed(EPOCH)
    assert me.latest(EPOCH + 2) is None


@pytest.mark.parametrize(
    ("others", "heard_kw", "words"),
    [
        (3, 2.0, "plans alone: 1 of 3 neighbours heard"),
        (2, 2.0, "plans with 1 of 2 neighbours"),
        (2, None, "plans alone: 0 of 2 neighbours heard"),
        (0, None, "plans alone: 0 of 0 neighbours heard"),
    ],
)
def test_half_of_the_neighbours_have_to_be_heard(
    others: int, heard_kw: float | None, words: str
) -> None:
    me = rounds()
    said = play(me, others=others, heard_kw=heard_kw)
    assert said is not None  # it announces all the same
    assert me.detail == words
    assert (me.agreed(EPOCH) is None) == words.startswith("plans alone")


@pytest.mark.parametrize(
    "changes",
    [{"load_kw": Quantiles()}, {"buy_per_kwh": 40 * (BUY,)}, {"generation_kw": Quantiles()}],
)
def test_a_house_that_does_not_know_its_day_announces_nothing(changes: dict[str, Any]) -> None:
    me = rounds()
    assert play(me, **changes) is None
    assert me.agreed(EPOCH) is None
    assert me.detail == "plans alone: forecast or prices do not cover a day"


def test_a_house_without_a_battery_agrees_on_prices() -> None:
    me = rounds(NO_BATTERY)
    said = play(me, House(1, pv_kw=0.0, load_kw=1.0, store=NO_BATTERY, stored_kwh=0.0))
    agreed = me.agreed(EPOCH)
    assert said is not None
    assert agreed is not None
    assert agreed.stored_value_per_kwh is None
    assert min(said["w"]) >= 0
    assert set(agreed.stored_kwh) == {0.0}


def test_announcements_of_another_length_count_for_nothing() -> None:
    me = rounds()
    me.hear("other", EPOCH, PlanBody(w=[100], sd=[0]))
    play(me, heard_kw=None)
    assert me.detail == "plans alone: 0 of 1 neighbours heard"


def test_a_silent_neighbour_keeps_to_its_word_for_an_hour() -> None:
    me, silent = rounds(), rounds()
    me.hear("other", EPOCH - 2, body(6.0))
    silent.hear("other", EPOCH - 6, body(6.0))
    for one in (me, silent):
        one.hear("third", EPOCH, body(0.0))
        play(one, others=2, heard_kw=None)
    dear, fair = me.agreed(EPOCH), silent.agreed(EPOCH)
    assert dear is not None
    assert fair is not None
    assert sum(dear.prices_per_kwh) > sum(fair.prices_per_kwh)


def test_where_the_grid_may_not_charge_nothing_beyond_load_is_drawn() -> None:
    me = rounds(replace(BATTERY, charge_from_grid=False))
    position: Position = SUNNY.position(due_s(0), due_s(0))
    play(me, heard_kw=-6.0)
    agreed = me.agreed(EPOCH)
    assert agreed is not None
    load_kw = position.load_kw.p50_kw[1:]
    assert all(kw <= load + 1e-6 for kw, load in zip(agreed.drawn_kw, load_kw, strict=False))
