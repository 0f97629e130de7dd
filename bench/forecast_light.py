"""What forecasting costs: the peak of a process that learns on a year, and the time of it.

Run as `python -m bench.forecast_light`; prints one line of JSON.
"""

import json
import time
from pathlib import Path

import numpy as np

from control.sun import clear_sky_ghi_w_m2, solar_position
from models import features
from models.forecaster import Forecaster
from models.gru import WEIGHTS, Network
from models.history import DAY_S, History, parse_utc_s

DAYS = 365
REPEATS = 50


def made_up_year() -> History:
    """A roof under wandering clouds, on quarter hours."""
    start = parse_utc_s("2023-01-01T00:00:00Z")
    times = start + np.arange(0, DAYS * DAY_S, 900)
    sky = clear_sky_ghi_w_m2(solar_position(times + 450, 48.0, 11.0)[0]) / 1000.0
    clouds = 0.65 + 0.35 * np.sin(np.cumsum(np.random.default_rng(0).normal(0, 0.5, len(times))))
    return History(start, 900, 5.0 * sky * clouds)


def network_ms() -> float:
    """CPU time of the network alone, its inputs quantised and its answer read included."""
    network, dice = Network(WEIGHTS / "pv.tflite", "pv"), np.random.default_rng(0)
    given = features.Inputs(
        dice.normal(size=(1, features.SEQUENCE_STEPS, features.CHANNELS)).astype(np.float32),
        dice.normal(size=(1, features.flat_width("pv"))).astype(np.float32),
        base=np.zeros((1, 96)),
        unit=np.ones((1, 96)),
    )
    network.run(given)
    begun = time.process_time()
    for _ in range(REPEATS):
        network.run(given)
    return 1000.0 * (time.process_time() - begun) / REPEATS


def main() -> None:
    """Learn on a year once, then forecast again and again."""
    history, forecaster = made_up_year(), Forecaster("pv", 48.0, 11.0)
    begun = time.process_time()
    forecaster.forecast(history, history.end_utc_s, 96)
    learnt = time.process_time() - begun
    begun = time.process_time()
    for _ in range(REPEATS):
        forecaster.forecast(history, history.end_utc_s, 96)
    each = (time.process_time() - begun) / REPEATS
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kb = int(status.split("VmHWM:")[1].split()[0])
    print(
        json.dumps(
            {
                "learning_a_year_s": round(learnt, 2),
                "one_forecast_ms": round(1000 * each, 2),
                "of_it_network_ms": round(network_ms(), 2),
                "peak_mb": round(peak_kb / 1024, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
