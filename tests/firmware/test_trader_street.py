"""Three real services on the bench's devices, one real broker: they trade, and survive."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware.recording import Recording
from firmware.replay import replay
from tests.firmware.houses import House, street
from tests.firmware.mqtt.conftest import Broker

SLOT_S = 15
DEADLINE_S = 240.0  # some slots, on a machine that is busy with other things
NEAR_KW = 0.15


def comes(what: Callable[[], Any], said: Callable[[], object] = lambda: "") -> Any:
    """Wait for something true, and return it."""
    end_s = time.monotonic() + DEADLINE_S
    while not (found := what()):
        assert time.monotonic() < end_s, said()
        time.sleep(0.2)
    return found


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[tuple[list[House], Broker]]:
    """Ann has sun and a battery, Bob a load, Cat a load and a battery."""
    broker = Broker(tmp_path)
    broker.start()
    all_houses = [
        House("ann", tmp_path / "ann", pv=True, load_kw=0.5, battery=True),
        House("bob", tmp_path / "bob", load_kw=2.6),
        House("cat", tmp_path / "cat", load_kw=2.5, battery=True, soc_frac=0.4),
    ]
    try:
        with street(all_houses, broker.port, SLOT_S) as served:
            for house in served:
                house.start()
            yield served, broker
    finally:
        broker.stop(signal.SIGKILL)


def delivering(house: House) -> float:
    """Power of the trade that is delivered now, 0 without one."""
    now = house.at_market("now")
    return float(now["bought_kw"]) if now else 0.0


def keeps_to_it(house: House) -> bool:
    """A trade is delivered now, and the connection shows just that."""
    traded_kw = delivering(house)
    return bool(traded_kw) and abs(house.meter_kw() - traded_kw) < NEAR_KW


def last_slot_s(house: House) -> float:
    """End of the newest slot that the house has traded in, 0 before the first."""
    trades = house.at_market("trades") or []
    return max((trade["until_utc_s"] for trade in trades), default=0.0)


def trades_anew(house: House) -> Callable[[], bool]:
    """Whether a slot later than those known now is traded."""
    before_s = max(last_slot_s(house), time.time() + SLOT_S)
    return lambda: last_slot_s(house) > before_s


def battery_reason(house: House) -> tuple[str, str]:
    found = [s for s in house.status().get("setpoints", ()) if s["device"] == "battery"]
    return (found[0]["source"], found[0]["reason"]) if found else ("", "")


def trader_of(house: House) -> int | None:
    """The trading process of a house's service."""
    assert house.process is not None
    for task in Path(f"/proc/{house.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes()
            except FileNotFoundError:
                continue
            if b"firmware.trader" in command:
                return int(child)
    return None


@pytest.mark.timeout(900)
def test_a_street_trades_and_survives(houses: tuple[list[House], Broker]) -> None:
    (ann, bob, cat), broker = houses

    # --- a trade commits, and the plants follow it
    comes(lambda: keeps_to_it(ann), lambda: (ann.status(), ann.log))
    source, reason = comes(
        lambda: (found := battery_reason(ann))[0] == "committed trades" and found
    )
    assert source == "committed trades"
    assert " kW sold to neighbours until " in reason
    comes(lambda: keeps_to_it(cat), lambda: (cat.status(), cat.log))  # her battery stays out of it
    assert ann.at_market("community") == "street"
    assert ann.at_market("house") == "ann"

    # --- the trading process is killed: what is committed is delivered, then it trades again
    first, done = trader_of(ann), trades_anew(ann)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    comes(lambda: trader_of(ann) not in (None, first))
    comes(done, lambda: (ann.status(), ann.log))
    assert "the trading process died; control goes on" in ann.log

    # --- a whole service is killed and started again
    done = trades_anew(bob)
    bob.stop(signal.SIGKILL)
    bob.start()
    comes(done, lambda: (bob.status(), bob.log))

    # --- without a broker the houses go on alone, and come back to it
    broker.stop()
    comes(lambda: str(ann.at_market("problem")).startswith("broker "), lambda: ann.status())
    comes(lambda: not delivering(ann))
    assert ann.status()["mode"]["name"] == "auto"
    broker.start()
    comes(trades_anew(ann), lambda: (ann.status(), ann.log))

    # --- an order stops it, and lets it go on
    ctl = [sys.executable, "-m", "firmware", "ctl", "trade"]
    socket = ["--config", str(ann.site)]
    subprocess.run([*ctl, "off", "--for", "1h", *socket], check=True, timeout=120)
    comes(lambda: ann.at_market("problem") == "switched off by order")
    comes(lambda: not delivering(ann) and not ann.at_market("trades"))
    subprocess.run([*ctl, "on", *socket], check=True, timeout=120)
    comes(trades_anew(ann), lambda: (ann.status(), ann.log))

    # --- control has gone on all the time, and everybody agrees on every trade
    for house in (ann, bob, cat):
        loop = house.status()["loop"]
        assert loop["cycles_missed"] < 0.1 * loop["cycles"]
        assert house.stop() == 0
        assert "Traceback" not in house.log
    ledgers = [str(house.trading / "ledger.db") for house in (ann, bob, cat)]
    verify = [sys.executable, "-m", "firmware", "ledger", "verify", *ledgers]
    checked = subprocess.run(verify, capture_output=True, text=True, timeout=120, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    replayed = list(replay(Recording(ann.folder / "cycles.jsonl.gz")))
    assert not any(each.differs for each in replayed)
    sources = [why.source for each in replayed for why in each.decision.command.why]
    assert "committed trades" in sources
