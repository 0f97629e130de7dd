"""Messages that were lost on their way: told once when it begins and once when it is over."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from firmware.trading.carrier import CarrierStatus
from firmware.trading.losses import Losses

QUIET_S = 900.0
WELL = CarrierStatus("broker:1883", connected=True)


def test_a_spell_is_told_at_its_beginning_and_at_its_end() -> None:
    losses = Losses(QUIET_S)
    assert losses.note(WELL, 0.0) == ""
    full = replace(WELL, dropped_out=990, late=3)
    begins = "messages of the market are lost: 990 too many to send, 3 waited too long to be sent"
    assert losses.note(full, 1.0) == f"{begins} since the start"
    assert losses.note(full, 2.0) == ""
    assert losses.note(replace(full, dropped_in=7), 800.0) == ""
    assert losses.note(replace(full, dropped_in=7), 1699.0) == ""
    over = losses.note(replace(full, dropped_in=7), 1700.0)
    assert over == "no more messages are lost; there were 1000"
    assert losses.note(replace(full, dropped_in=7), 9999.0) == ""
    again = losses.note(replace(full, dropped_in=8), 10_000.0)
    assert again.startswith("messages of the market are lost: 8 too many came, 990")
    assert losses.note(replace(full, dropped_in=8), 11_000.0).endswith("there were 1")


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 3)), max_size=30))
def test_every_loss_is_in_a_spell_that_was_told(steps: list[tuple[float, int]]) -> None:
    losses, now_s, lost, over = Losses(QUIET_S), 0.0, 0, 0
    running = False
    for wait_s, more in [*steps, (900, 0)]:
        now_s, lost = now_s + wait_s, lost + more
        said = losses.note(replace(WELL, late=lost), now_s)
        if said.startswith("messages"):
            assert not running
            running = True
        elif said:
            assert running
            running, over = False, over + int(said.rsplit(" ", 1)[1])
    assert not running
    assert over == lost
