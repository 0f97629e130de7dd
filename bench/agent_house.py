"""The service's trading process as it is in a house, beside a loop that is not there.

`python -m bench.agent_house FOLDER PORT` takes the place of the loop: twice a second it hands
`firmware.trader` a glance at a house that draws or feeds something else in each slot, with powers
that are worth a message in a slot of 10 s. The trading runs in this very process, so that a kill of
it is a kill of the trader.
"""

import json
import os
import random
import signal
import sys
import threading
import time
import tomllib
from pathlib import Path

from control.records import Advice, Forecast, Series
from firmware import trader
from firmware.codec import encode
from firmware.config import site_from_dict
from firmware.position import Glance

LOOK_S = 0.5
SLOT_S = 10.0
STEP_S, STEPS = 900.0, 96
SITE = """
[site]
name = "house"
latitude_deg = 0.0
longitude_deg = 0.0
timezone = "Etc/UTC"
currency = "EUR"
[prices]
buy_per_kwh = 0.30
sell_per_kwh = 0.05
[[bus]]
name = "lan"
kind = "tcp"
host = "127.0.0.1"
[grid]
name = "grid"
driver = "sunspec-meter"
bus = "lan"
unit = 2
import_max_kw = 100.0
export_max_kw = 100.0
[[pv]]
name = "roof"
driver = "sunspec-inverter"
bus = "lan"
unit = 1
rated_kw = 60.0
[trading]
enabled = true
folder = "{folder}"
[trading.broker]
host = "127.0.0.1"
port = {port}
"""


def glance(load_kw: float, pv_kw: float) -> Glance:
    """A house that has a connection and no battery."""
    return Glance(
        utc_s=time.time(),
        t_s=time.monotonic(),
        clock_problem="",
        trading=True,
        grid_present=True,
        soc_frac=None,
        wind_kw=0.0,
        price_buy_per_kwh=0.30,
        temperature_degc=None,
        hour_local=12.0,
        interest_frac=0.5,
        import_kwh=None,
        export_kwh=None,
        import_max_kw=None,
        export_max_kw=None,
        reserve_soc_frac=None,
        prices=(),
        load_kw=load_kw,
        pv_kw=pv_kw,
    )


def advice(load_kw: float, pv_kw: float) -> Advice:
    """A forecast that all stays as it is."""
    utc_s, t_s = time.time(), time.monotonic()
    series = [
        Series((0.8 * kw,) * STEPS, (kw,) * STEPS, (1.2 * kw,) * STEPS, "bench", skill=(1.0,))
        for kw in (pv_kw, load_kw)
    ]
    return Advice(Forecast(t_s, t_s - utc_s % STEP_S, STEP_S, *series))


def ask(questions: int, stopping: threading.Event) -> None:
    """Be the loop, until told to stop."""
    with os.fdopen(questions, "w", encoding="utf-8") as out:
        text = SITE.format(folder=sys.argv[1], port=sys.argv[2])
        site = site_from_dict(tomllib.loads(text), "bench")
        hello = {"site": site.model_dump(mode="json", by_alias=True), "nice": 0}
        out.write(json.dumps(hello) + "\n")
        number = 0
        while not stopping.wait(LOOK_S):
            dice = random.Random(f"{sys.argv[1]} {time.time() // SLOT_S}")
            house = (1.0, 20.0) if dice.random() < 0.5 else (dice.uniform(10.0, 30.0), 0.0)
            number += 1
            said = {
                "id": number,
                "glance": encode(glance(*house)),
                "advice": encode(advice(*house)),
            }
            out.write(json.dumps(said) + "\n")
            out.flush()


def main() -> None:
    """Trade until we are told to stop."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: stopping.set())
    reading, writing = os.pipe()
    threading.Thread(target=ask, args=(writing, stopping), daemon=True).start()
    with os.fdopen(reading, encoding="utf-8") as requests, Path(os.devnull).open("w") as answers:
        trader.serve(requests, answers)


if __name__ == "__main__":
    main()
