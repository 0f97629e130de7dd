import numpy as np
import pytest

from hil.household import KINDS, SyntheticLoad

MONDAY = 1_781_474_400.0  # 2026-06-14T22:00Z, midnight in Copenhagen
DAY_S = 86_400.0


def load(kind: str = "home", kwh_per_day: float = 10.0, seed: int = 1) -> SyntheticLoad:
    return SyntheticLoad(kind, kwh_per_day, 55.79, 12.53, "Europe/Copenhagen", seed)


@pytest.mark.parametrize("kind", KINDS)
def test_energy_of_a_year_is_met(kind: str) -> None:
    means = load(kind, 15.0).means(MONDAY, 365 * 24, step_s=3600.0)
    assert means.sum() / 365 == pytest.approx(15.0, rel=0.05)
    assert means.min() > 0.0


@pytest.mark.parametrize("kind", ["clinic", "workshop"])
def test_work_happens_on_workdays(kind: str) -> None:
    days = load(kind).means(MONDAY, 28, step_s=DAY_S).reshape(4, 7)
    assert days[:, :5].mean() > 1.5 * days[:, 5:].mean()


def test_home_peaks_in_the_evening_and_sleeps_at_night() -> None:
    hours = load().means(MONDAY, 28 * 24, step_s=3600.0).reshape(28, 24).mean(axis=0)
    assert 17 <= int(hours.argmax()) <= 21
    assert hours[2:5].mean() < 0.5 * hours.mean()


def test_darkness_costs_light() -> None:
    home = load()
    winter = MONDAY + 189 * DAY_S + 3600.0  # standard time
    light, dark = (
        [home.means(start + n * DAY_S + 20 * 3600.0, 1, step_s=3600.0)[0] for n in range(28)]
        for start in (MONDAY, winter)
    )
    assert np.mean(dark) > np.mean(light)


def test_minutes_have_spikes() -> None:
    home = load()
    minutes = [home.at(MONDAY + n * 60.0) for n in range(1440)]
    assert max(minutes) > 2.0 > 5.0 * min(minutes)


def test_load_depends_on_seed_and_time_alone() -> None:
    asked_late, asked_early = load(), load()
    asked_early.means(MONDAY - 28 * DAY_S, 28 * 96)
    times = [MONDAY + n * 611.0 for n in range(300)]
    values = [asked_late.at(time) for time in times]
    assert values == [asked_early.at(time) for time in times]
    other = load(seed=2)
    assert values != [other.at(time) for time in times]


def test_means_are_the_means_of_what_is_seen() -> None:
    home = load()
    seen = [home.at(MONDAY + n * 60.0) for n in range(60)]
    assert home.means(MONDAY, 4) == pytest.approx(np.reshape(seen, (4, 15)).mean(axis=1))


def test_clock_change_keeps_habits_on_local_time() -> None:
    clinic = load("clinic")
    friday = 1_774_569_600.0 + 3600.0 * 7  # 2026-03-27T07:00Z is 08:00 in Copenhagen
    monday = friday + 3 * DAY_S - 3600.0  # after the change it is 06:00Z
    before = [clinic.at(friday - 3600.0 + n * 60.0) for n in range(120)]
    after = [clinic.at(monday - 3600.0 + n * 60.0) for n in range(120)]
    assert np.mean(before[90:]) > np.mean(before[:20]) + 0.1
    assert np.mean(after[90:]) > np.mean(after[:20]) + 0.1


@pytest.mark.parametrize(
    ("kind", "kwh", "message"),
    [("palace", 10.0, "allowed are home, clinic, workshop"), ("home", 0.0, "above 0")],
)
def test_wrong_wishes_are_refused(kind: str, kwh: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(kind, kwh)
