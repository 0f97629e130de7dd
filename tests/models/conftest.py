"""Made-up sites: a roof under passing clouds, a house with morning and evening peaks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from control.sun import clear_sky_ghi_w_m2, solar_position
from models.history import DAY_S, History, parse_utc_s

START = parse_utc_s("2023-03-01T00:00:00Z")
LATITUDE, LONGITUDE = 48.0, 11.0
Maker = Callable[..., History]


@pytest.fixture
def start() -> int:
    """First instant of the made-up histories, UTC seconds."""
    return START


@pytest.fixture
def place() -> tuple[float, float]:
    """Latitude and longitude of the made-up roof."""
    return LATITUDE, LONGITUDE


@pytest.fixture
def roof() -> Maker:
    """A 5 kW roof: clear sky times a clearness that wanders from hour to hour."""

    def make(days: int = 45, step_s: int = 900, seed: int = 0, start: int = START) -> History:
        rng = np.random.default_rng(seed)
        times = start + np.arange(0, days * DAY_S, step_s) + step_s / 2
        elevation, _ = solar_position(times, LATITUDE, LONGITUDE)
        wander = np.cumsum(rng.normal(0, (step_s / 3600) ** 0.5, len(times)))
        cloud = 0.65 + 0.35 * np.sin(wander)
        return History(start, step_s, 5.0 * clear_sky_ghi_w_m2(elevation) / 1000.0 * cloud)

    return make


@pytest.fixture
def house() -> Maker:
    """A house of some 0.5 kW with peaks at 7 and 19 UTC."""

    def make(days: int = 45, step_s: int = 900, seed: int = 0, start: int = START) -> History:
        rng = np.random.default_rng(seed)
        times = start + np.arange(0, days * DAY_S, step_s)
        hour = times % DAY_S / 3600
        usual = 0.3 + np.exp(-((hour - 7) ** 2)) + 1.5 * np.exp(-((hour - 19) ** 2) / 2)
        return History(start, step_s, usual * rng.gamma(4.0, 0.25, len(times)))

    return make


@pytest.fixture
def measured() -> Path:
    """The folder of measured series, which a fresh clone does not have."""
    folder = Path(__file__).parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no measured data in {folder}")
    return folder
