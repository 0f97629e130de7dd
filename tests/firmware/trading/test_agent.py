"""Agents of a street in virtual time: they trade, stand back when they have to, and keep bills."""

from pathlib import Path

from firmware.trading.ledger_check import check, disagreements
from tests.firmware.trading.agent_street import (
    NO_BATTERY,
    SLOT_S,
    START_S,
    AgentStreet,
    House,
    agent_street,
)

NOON_S = START_S + 12 * 3600.0


def three() -> list[House]:
    return [
        House(0, pv_kw=4.0, load_kw=0.5),
        House(1, pv_kw=0.0, load_kw=1.0, store=NO_BATTERY),
        House(2, pv_kw=0.0, load_kw=0.8),
    ]


def assert_sound(street: AgentStreet) -> None:
    paths = [street.path(who) for who in street.people]
    for path in paths:
        assert check(path).fault == ""
    assert list(disagreements(paths)) == []


def test_surplus_is_sold_to_who_lacks(tmp_path: Path) -> None:
    with agent_street(tmp_path, three(), start_s=NOON_S) as street:
        street.run(1.5 * SLOT_S)
        (sold,), (bought,) = street.market(0).trades, street.market(1).trades
        assert sold.net_wh < 0 < bought.net_wh
        assert (bought.from_utc_s, bought.until_utc_s) == (NOON_S + SLOT_S, NOON_S + 2 * SLOT_S)
        assert 0.05 <= sold.price_per_kwh <= bought.price_per_kwh <= 0.30
        assert (street.market(0).role, street.market(1).role) == (0, 0)  # of the slot after
        assert "plans with 2 of 2" in street.market(0).detail
        assert street.market(0).problem == ""
        assert_sound(street)
