"""The nowcast of irradiance beside persistence, under the bench's skies, minute by minute.

    python -m bench.nowcast

Four seeds and days of each kind of sky, every third minute from two hours after sunrise on; each
nowcast has the four hours before it. The skies are synthetic: sun and cloud take turns at random,
some minutes each, which is what a nowcast of this kind can use.
"""

import numpy as np
from rich.console import Console
from rich.table import Table

from control.nowcast import MINUTES, nowcast
from control.sky import KEPT_MINUTES
from control.sun import clear_sky_ghi_w_m2, solar_position
from hil.weather import KINDS, SyntheticWeather

PLACE = (37.5, -2.0)
START_UTC_S = 1_776_038_400.0  # 2026-04-13
DAYS = range(4)
SHOWN = (1, 2, 5, 10, 15)
FIRST, LAST, EVERY = 420, 1020, 3  # minutes of the day
Errors = list[np.ndarray]


def day(kind: str, number: int) -> tuple[Errors, Errors, Errors, Errors]:
    """Errors of nowcast and persistence (15,), and what lay inside the bands of minutes, means."""
    start = START_UTC_S + 86_400.0 * number
    sun = SyntheticWeather(kind, *PLACE, seed=number).means(start, 1440, 60.0).ghi_w_m2
    clear = clear_sky_ghi_w_m2(solar_position(start + 60.0 * np.arange(1440) + 30.0, *PLACE)[0])
    ours, simple, inside, means_inside = Errors(), Errors(), Errors(), Errors()
    for now in range(FIRST, LAST, EVERY):
        past, ahead = slice(max(0, now - KEPT_MINUTES), now), slice(now, now + MINUTES)
        made = nowcast(sun[past], clear[past], clear[ahead])
        if made is None:
            continue
        truth = sun[ahead]
        mean = np.cumsum(truth) / np.arange(1, MINUTES + 1)
        ours.append(made.minutes.p50_w_m2 - truth)
        simple.append(sun[now - 1] - truth)
        inside.append((made.minutes.p10_w_m2 <= truth) & (truth <= made.minutes.p90_w_m2))
        means_inside.append((made.means.p10_w_m2 <= mean) & (mean <= made.means.p90_w_m2))
    return ours, simple, inside, means_inside


def main() -> None:
    """Print the table."""
    table = Table("sky", "", *(f"minute {minute}" for minute in SHOWN))
    shown = np.array(SHOWN) - 1
    for kind in KINDS:
        parts = zip(*(day(kind, number) for number in DAYS), strict=True)
        ours, simple, inside, means = (
            np.concatenate([np.array(p) for p in part]) for part in parts
        )
        rows = {
            "RMSE, W/m2": np.sqrt((ours**2).mean(axis=0)),
            "persistence": np.sqrt((simple**2).mean(axis=0)),
        }
        for name, values in rows.items():
            table.add_row(kind, name, *(f"{value:.0f}" for value in values[shown]))
        for name, shares in (("inside p10..p90", inside), ("means inside", means)):
            table.add_row(kind, name, *(f"{v:.2f}" for v in shares.mean(axis=0)[shown]))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
