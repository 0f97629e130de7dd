"""Readings of slots and the bills made of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from control.settlement import Metered
from control.trades import Position, Quantiles
from control.trading_records import Entry, Pact, pact
from firmware.commands.ledger import ledger
from firmware.trading.identity import Identity
from firmware.trading.ledger import Ledger
from firmware.trading.slot_meter import MISSING, Reading, SlotMeter
from firmware.trading.statements import Statements, Tariff

SLOT_S = 900.0
EPOCH = 100
BEGIN_S = EPOCH * SLOT_S
TARIFF = Tariff.of(0.30, 0.05)
READING = Reading(600, 0, 1600, 0, "ok")


def at(
    utc_s: float, import_kwh: float | None, export_kwh: float | None = 0.0, ahead_s: float = 0.0
) -> Position:
    """The meter when the wall clock, `ahead_s` of the true time, shows `utc_s`."""
    nothing = Quantiles()
    return Position(
        utc_s=utc_s,
        t_s=utc_s - ahead_s,
        clock_problem="",
        trading=True,
        from_utc_s=utc_s // SLOT_S * SLOT_S,
        step_s=SLOT_S,
        load_kw=nothing,
        generation_kw=nothing,
        grid_kw=(),
        battery_kw=(),
        buy_per_kwh=(),
        sell_per_kwh=(),
        soc_frac=None,
        soc_min_frac=0.0,
        soc_max_frac=0.0,
        stored_value_per_kwh=None,
        import_max_kw=0.0,
        export_max_kw=0.0,
        p2p_share_frac=None,
        import_kwh=import_kwh,
        export_kwh=export_kwh,
    )


def read(*positions: Position) -> Reading:
    meter = SlotMeter(SLOT_S)
    for position in positions:
        meter.note(position)
    return meter.reading(EPOCH)


# --- readings ---------------------------------------------------------------------------------


def test_registers_at_the_bounds_are_interpolated() -> None:
    found = read(
        at(BEGIN_S - 2.0, 10.0, 4.0),
        at(BEGIN_S + 2.0, 10.002, 4.0),
        at(BEGIN_S + SLOT_S - 1.0, 10.5, 4.25),
        at(BEGIN_S + SLOT_S + 1.0, 10.502, 4.25),
    )
    assert found == Reading(500, 250, 10_501, 4_250, "ok")
    assert found.metered == Metered(500, 250)


def test_far_readings_are_an_estimate() -> None:
    assert read(at(BEGIN_S - 60.0, 10.0), at(BEGIN_S + SLOT_S + 60.0, 11.02)).quality == "est"


@pytest.mark.parametrize(
    "positions",
    [
        (),
        (at(BEGIN_S + 1.0, 10.0), at(BEGIN_S + SLOT_S + 1.0, 11.0)),  # began too late
        (at(BEGIN_S - 1.0, 10.0), at(BEGIN_S + 1.0, None), at(BEGIN_S + SLOT_S + 1.0, 11.0)),
        (at(BEGIN_S - 1.0, 10.0), at(BEGIN_S + SLOT_S + 1.0, 9.0)),  # another meter
        (at(BEGIN_S - 1.0, float("nan")), at(BEGIN_S + SLOT_S + 1.0, 9.0)),
        (at(BEGIN_S - 1.0, 10.0, -1.0), at(BEGIN_S + SLOT_S + 1.0, 11.0)),
        (at(BEGIN_S - 1.0, 0.0), at(BEGIN_S + SLOT_S + 1.0, 9e9)),  # absurd
    ],
)
def test_what_was_not_read_is_missing(positions: tuple[Position, ...]) -> None:
    assert read(*positions) == MISSING
    assert MISSING.metered is None


@pytest.mark.parametrize("slots_ahead", [3, 1000])
def test_readings_go_on_when_a_clock_that_was_ahead_goes_back(slots_ahead: int) -> None:
    found = read(
        at(BEGIN_S - 300.0, 9.0),
        at(BEGIN_S - 298.0 + slots_ahead * SLOT_S, 9.001, ahead_s=slots_ahead * SLOT_S),
        at(BEGIN_S - 296.0, 9.002),
        at(BEGIN_S - 1.0, 9.999),
        at(BEGIN_S + 1.0, 10.001),
        at(BEGIN_S + SLOT_S - 1.0, 10.499),
        at(BEGIN_S + SLOT_S + 1.0, 10.501),
    )
    assert found == Reading(500, 0, 10_500, 0, "ok")


@pytest.mark.parametrize(
    ("step_s", "quality"), [(3.0, "ok"), (20.0, "est"), (-20.0, "est"), (200.0, "missing")]
)
def test_a_slot_in_which_the_clock_was_stepped_is_as_long_as_it_was(
    step_s: float, quality: str
) -> None:
    found = read(
        at(BEGIN_S - 1.0, 9.999),
        at(BEGIN_S + 1.0, 10.001),
        at(BEGIN_S + 300.0, 10.3),
        at(BEGIN_S + 301.0 + step_s, 10.301, ahead_s=step_s),
        at(BEGIN_S + SLOT_S - 1.0, 10.8, ahead_s=step_s),
        at(BEGIN_S + SLOT_S + 1.0, 10.802, ahead_s=step_s),
    )
    assert found.quality == quality
    assert found.import_wh == (0 if quality == "missing" else 801)


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_what_a_step_of_the_clock_skips_or_repeats_is_in_no_slot(step_s: float) -> None:
    """One kW throughout, the clock is stepped in the middle of a slot."""
    meter, true_s = SlotMeter(SLOT_S), BEGIN_S - 8 * SLOT_S - 450.0
    stepped_s = BEGIN_S - 450.0
    while true_s < BEGIN_S + 8 * SLOT_S:
        ahead_s = step_s if true_s >= stepped_s else 0.0
        meter.note(at(true_s + ahead_s, true_s / 3600.0, ahead_s=ahead_s))
        true_s += 5.0
    readings = [meter.reading(epoch) for epoch in range(EPOCH - 8, EPOCH + 12)]
    assert {r.import_wh for r in readings if r.quality != "missing"} == {250}
    assert sum(r.quality == "missing" for r in readings[:12]) > 0


@settings(deadline=None)
@given(
    steps=st.lists(st.tuples(st.floats(0.1, 2000), st.floats(0, 3), st.floats(0, 3)), max_size=20)
)
def test_slots_add_up_to_the_registers(steps: list[tuple[float, float, float]]) -> None:
    meter, utc_s, imported, exported = SlotMeter(SLOT_S), BEGIN_S - 1.0, 0.0, 0.0
    meter.note(at(utc_s, imported, exported))
    for wait_s, more, less in steps:
        utc_s, imported, exported = utc_s + wait_s, imported + more, exported + less
        meter.note(at(utc_s, imported, exported))
    over = [meter.reading(epoch) for epoch in range(EPOCH, int(utc_s // SLOT_S))]
    if over:
        assert all(reading.quality != "missing" for reading in over)
        total = sum(reading.import_wh for reading in over)
        assert total <= over[-1].import_register_wh <= round(1000 * imported)


# --- bills ------------------------------------------------------------------------------------


def trade(buyer: str, seller: str, wh: int, price: int = 12_000) -> Pact:
    return pact(EPOCH, "ab" * 32, buyer, seller, wh, price, 1_000)


def test_a_bill() -> None:
    made = Statements("me", ())
    body = made.make(EPOCH, [trade("me", "ann", 500)], READING, TARIFF).body
    assert (body["bought"], body["sold"], body["deviation"]) == (500, 0, 100)
    assert (body["trade_money"], body["grid_money"]) == (-500 * 12_000, -100 * 30_000)
    assert made.is_made(EPOCH)
    assert not made.is_made(EPOCH + 1)


def test_a_missing_reading_counts_as_kept() -> None:
    body = Statements("me", ()).make(EPOCH, [trade("bob", "me", 500)], MISSING, TARIFF).body
    assert (body["deviation"], body["grid_money"], body["q"]) == (0, 0, "missing")
    assert body["trade_money"] == 500 * 11_000


def test_a_tariff_that_pays_more_than_it_asks_is_not_believed() -> None:
    assert Tariff.of(0.10, 0.20) == Tariff(10_000, 10_000)


def test_a_correction_makes_the_bill_what_it_would_have_been() -> None:
    early, late = trade("me", "ann", 300), trade("me", "bob", 200)
    made = Statements("me", ())
    first = made.make(EPOCH, [early], READING, TARIFF).body
    assert made.correct(EPOCH, [early], MISSING) is None
    change = made.correct(EPOCH, [late, early], MISSING)
    assert change is not None
    whole = Statements("me", ()).make(EPOCH, [early, late], READING, TARIFF).body
    money = first["trade_money"] + first["grid_money"] + change.body["money"]
    assert money == whole["trade_money"] + whole["grid_money"]
    again = Statements("me", [first, change.body])  # after a restart
    assert again.correct(EPOCH, [early, late], MISSING) is None
    assert again.correct(EPOCH, [early], MISSING) is None  # what is committed stays committed
    assert again.correct(EPOCH, [], MISSING) is None


def test_a_better_reading_corrects_a_bill_and_a_worse_one_does_not() -> None:
    kept_to, rough = trade("me", "ann", 500), replace(READING, import_wh=550, quality="est")
    made = Statements("me", ())
    first = made.make(EPOCH, [kept_to], MISSING, TARIFF).body
    assert made.correct(EPOCH, [kept_to], MISSING) is None
    for reading, deviation_wh, whole in ((rough, 50, -1_500_000), (READING, 100, -3_000_000)):
        change = made.correct(EPOCH, [kept_to], reading)
        assert change is not None
        first = {**first, "grid_money": first["grid_money"] + change.body["money"]}
        assert first["grid_money"] == whole == -deviation_wh * 30_000
    for reading in (replace(READING, import_wh=700), rough, MISSING):  # the slot again
        assert made.correct(EPOCH, [kept_to], reading) is None


def test_bills_are_forgotten_by_number_and_not_made_again() -> None:
    made = Statements("me", ())
    for epoch in (EPOCH, EPOCH + 1000, EPOCH + 1001):
        made.make(epoch, [trade("me", "ann", 500)], READING, TARIFF)
    made.forget(3)
    assert made.is_made(EPOCH)
    assert not made.is_closed(EPOCH)
    made.forget(2)
    assert [made.is_made(EPOCH + after) for after in (0, 1000, 1001)] == [False, True, True]
    assert [made.is_closed(EPOCH + after) for after in (0, 1, 1000)] == [True, False, False]


def test_bills_in_the_ledger_are_shown(tmp_path: Path) -> None:
    identity = Identity.new()
    file = Ledger(tmp_path / "ledger.db", identity)
    made = Statements(identity.peer, ())
    early, late = trade(identity.peer, "ann", 300), trade(identity.peer, "bob", 200)
    file.append([made.make(EPOCH, [early], replace(READING, quality="est"), TARIFF)], 1_000)
    change = made.correct(EPOCH, [early, late], MISSING)
    assert change is not None
    file.append([change], 2_000)
    file.append([Entry("tariff", {"e": EPOCH, **TARIFF.body()})], 3_000)
    file.close()
    shown = CliRunner().invoke(ledger, ["show", str(file.path)]).stdout
    assert "bought 300 Wh, sold 0 Wh, deviation +300 Wh (meter: est): -0.12600" in shown
    assert "2 trades after all (meter: est): +0.03600" in shown
    assert "the grid asks 0.3, pays 0.05" in shown
