"""A street's slots as a CSV file: what was given, what was done, what was traded at which price."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from hil.street_result import Given, Outcome

COLUMNS = ("load_kw", "pv_kw", "battery_kw", "drawn_kw", "bought_kwh")


def write_slots(path: Path, given: Given, ran: Outcome) -> None:
    """One row per slot, `HOUSE_COLUMN` per house; an empty price: nothing was traded.

    Raises OSError.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        prices = ("buy_per_kwh", "sell_per_kwh", "paid_per_kwh")
        houses = [f"{name}_{column}" for name in given.names for column in COLUMNS]
        rows.writerow(("ts_utc", *prices, *houses))
        for slot in range(given.slots):
            start_s = given.start_utc_s + 3600.0 * given.step_h * slot
            moment = datetime.fromtimestamp(start_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            paid = ran.price_per_kwh[slot]
            price = [given.buy_per_kwh[slot], given.sell_per_kwh[slot], paid]
            done = (given.load_kw, given.pv_kw, ran.battery_kw, ran.drawn_kw, ran.bought_kwh)
            values = np.column_stack([column[slot] for column in done]).ravel()
            rows.writerow((moment, *(_text(v) for v in price), *(_text(v) for v in values)))


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.5f}"
