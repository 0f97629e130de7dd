"""Commanded, acknowledged, obeyed: alarms that are right, and none that are not."""

from dataclasses import replace
from typing import Any

import pytest

from control.obedience import LAG_S, SETTLE_S, watch
from control.records import (
    Ack,
    BatteryMeasurement,
    InverterMeasurement,
    Quantity,
    Sample,
)
from control.site import SiteParameters
from control.state import Estimate, Obedience, State

POWER, LIMIT, RUN = Quantity.POWER_KW, Quantity.LIMIT_KW, Quantity.RUN
ON_GRID = Estimate(grid_present=True, generator_phase="stopped")


def ack(device: str, value: float, held: float | None = None, error: str = "") -> Ack:
    quantity = {"battery": POWER, "roof": LIMIT, "genset": RUN}.get(device, LIMIT)
    return Ack(device, quantity, value, value if held is None else held, 0.0, error)


def judge(
    site: SiteParameters,
    sample: Sample,
    *acks: Ack,
    plant: Estimate = ON_GRID,
    seconds: float = 0.0,
    state: State | None = None,
) -> tuple[Obedience, State]:
    """Judge the same thing for so many seconds."""
    state = replace(state or State(t_s=sample.t_s - 1.0), estimate=plant)
    for second in range(int(seconds) + 1):
        now = replace(sample, t_s=sample.t_s + second)
        state = replace(watch(site, state, now, acks), t_s=now.t_s)
    return state.obedience[0], state


def battery(build: Any, power_kw: float | None, **changes: Any) -> Sample:
    measured = build.silent if power_kw is None else build.seen(BatteryMeasurement(power_kw, 0.5))
    sample: Sample = build.sample(batteries=(measured,), **changes)
    return sample


# --- acknowledged --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "held", "error", "status"),
    [
        (2.0, 2.0, "", "obeyed"),
        (2.0, 1.96, "", "obeyed"),
        (2.0, 1.94, "", "unacknowledged"),
        (0.0, 0.05, "", "obeyed"),
        (0.0, 0.06, "", "unacknowledged"),
        (2.0, 2.0, "no answer", "unacknowledged"),
        (float("nan"), 2.0, "", "unacknowledged"),
    ],
)
def test_acknowledged(build: Any, value: float, held: float, error: str, status: str) -> None:
    sample = battery(build, value if value == value else 2.0)
    item, _ = judge(build.site(), sample, ack("battery", value, held, error), seconds=SETTLE_S)
    assert item.status == status


def test_never_read_back_is_unacknowledged(build: Any) -> None:
    never = replace(ack("battery", 2.0), acknowledged=None)
    item, _ = judge(build.site(), battery(build, 2.0), never, seconds=SETTLE_S)
    assert item.status == "unacknowledged"


# --- the battery ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured_kw", "status"),
    [
        (2.0, "obeyed"),
        (2.31, "obeyed"),  # 8 % of 4 kW
        (1.69, "obeyed"),
        (2.33, "disobeyed"),
        (1.67, "disobeyed"),
        (-2.0, "disobeyed"),
        (None, "unacknowledged"),
    ],
)
def test_the_measured_power_follows(build: Any, measured_kw: float | None, status: str) -> None:
    sample, told = battery(build, measured_kw), ack("battery", 2.0)
    item, _ = judge(build.site(), sample, told, seconds=SETTLE_S)
    assert item.status == status
    if status != "obeyed":
        assert judge(build.site(), sample, told, seconds=SETTLE_S - 1)[0].status == "settling"


def test_a_small_battery_may_be_a_little_off(build: Any) -> None:
    for charge_kw, most_kw in ((0.5, 0.45), (4.0, 0.62)):  # 150 W, or 8 % of the larger rating
        site = build.site(battery=build.battery(charge_max_kw=charge_kw, discharge_max_kw=0.5))
        for measured_kw, status in ((most_kw - 0.01, "obeyed"), (most_kw + 0.01, "disobeyed")):
            sample = battery(build, measured_kw)
            assert judge(site, sample, ack("battery", 0.3), seconds=SETTLE_S)[0].status == status


def test_a_slow_loop_is_patient_for_three_periods(build: Any) -> None:
    site, sample = build.site(period_s=20.0), battery(build, 0.0)
    assert judge(site, sample, ack("battery", 2.0), seconds=59)[0].status == "settling"
    assert judge(site, sample, ack("battery", 2.0), seconds=60)[0].status == "disobeyed"


@pytest.mark.parametrize(
    ("present", "for_s", "phase", "status"),
    [
        (True, float("inf"), "stopped", "disobeyed"),
        (True, 60.0, "stopped", "disobeyed"),
        (True, 40.0, "stopped", "not applicable"),  # its inverter has yet to reconnect
        (True, 40.0, "running", "not applicable"),
        (False, 500.0, "running", "disobeyed"),
        (False, 500.0, "stopped", "not applicable"),  # it forms the grid: the load decides
        (False, 500.0, "warming", "not applicable"),
    ],
)
def test_who_can_follow_a_setpoint(
    build: Any, present: bool, for_s: float, phase: str, status: str
) -> None:
    plant = Estimate(grid_present=present, grid_for_s=for_s, generator_phase=phase)
    sample, told = battery(build, 0.0), ack("battery", 2.0)
    assert judge(build.site(), sample, told, plant=plant, seconds=20)[0].status == status


@pytest.mark.parametrize("lag_s", [1, 3, 5])
def test_a_battery_that_is_always_on_its_way_is_no_alarm(build: Any, lag_s: int) -> None:
    """Clouds: the setpoint sweeps the whole range and back, and the battery lags behind."""
    site, state, sent = build.site(), State(t_s=999.0, estimate=ON_GRID), [0.0] * 10
    for second in range(300):
        sweep = abs((second % 24) - 12) / 12.0
        sent.append(8.0 * sweep - 4.0)
        sample = replace(battery(build, sent[-1 - lag_s]), t_s=1000.0 + second)
        state = watch(site, state, sample, (ack("battery", sent[-1]),))
        state = replace(state, t_s=sample.t_s)
        assert state.obedience[0].status in ("obeyed", "settling")


def test_a_battery_that_sleeps_through_the_clouds_is_an_alarm(build: Any) -> None:
    site, state = build.site(), State(t_s=999.0, estimate=ON_GRID)
    statuses = []
    for second in range(120):
        sample = replace(battery(build, 0.0), t_s=1000.0 + second)
        told = ack("battery", 3.0 if second % 20 < 10 else 3.5)
        state = replace(watch(site, state, sample, (told,)), t_s=sample.t_s)
        statuses.append(state.obedience[0].status)
    assert statuses.index("disobeyed") <= SETTLE_S + LAG_S
    assert set(statuses[-80:]) == {"disobeyed"}


def test_a_jump_is_given_the_time_to_be_followed(build: Any) -> None:
    site, told = build.site(), ack("battery", 4.0)
    _, before = judge(site, battery(build, -4.0), ack("battery", -4.0), seconds=20)
    for lag_s, alarm in ((4.0, False), (20.0, True)):
        state, power_kw, seen = before, -4.0, set()
        for second in range(40):
            item, state = judge(
                site, battery(build, power_kw, t_s=1021.0 + second), told, state=state
            )
            power_kw += (4.0 - power_kw) / (1.0 + lag_s)
            seen.add(item.status)
        assert ("disobeyed" in seen) is alarm


def test_an_alarm_ends_with_obedience_and_begins_anew_after_patience(build: Any) -> None:
    site, told = build.site(), ack("battery", 2.0)
    item, state = judge(site, battery(build, 0.0), told, seconds=20)
    assert (item.status, item.since_s, item.deviates_since_s) == ("disobeyed", 1015.0, 1000.0)
    item, state = judge(site, battery(build, 2.0, t_s=1021.0), told, state=state)
    assert (item.status, item.since_s, item.deviates_since_s) == ("obeyed", 1021.0, None)
    item, state = judge(site, battery(build, 0.0, t_s=1022.0), told, state=state)
    assert (item.status, item.deviates_since_s) == ("settling", 1022.0)


def test_an_alarm_stays_while_another_fault_settles(build: Any) -> None:
    site = build.site()
    _, state = judge(site, battery(build, 0.0), ack("battery", 2.0), seconds=20)
    mute = replace(ack("battery", 2.0), acknowledged=None)
    item, _ = judge(site, battery(build, 0.0, t_s=1021.0), mute, state=state)
    assert item.status == "unacknowledged"


# --- PV ------------------------------------------------------------------------------------


def roof(build: Any, power_kw: float | None) -> Sample:
    measured = build.silent if power_kw is None else build.seen(InverterMeasurement(power_kw))
    sample: Sample = build.sample(pv=(measured,))
    return sample


@pytest.mark.parametrize(
    ("power_kw", "missing", "status"),
    [
        (0.0, (), "obeyed"),  # a limit is no order to produce
        (3.4, (), "obeyed"),
        (3.5, (), "disobeyed"),
        (None, ("roof",), "unacknowledged"),
        (None, (), "not applicable"),  # it sleeps
    ],
)
def test_a_limit(build: Any, power_kw: float | None, missing: tuple[str, ...], status: str) -> None:
    plant = replace(ON_GRID, missing=missing)
    told = ack("roof", 3.0)
    item, _ = judge(build.site(), roof(build, power_kw), told, plant=plant, seconds=20)
    assert item.status == status


def test_a_sleeping_inverter_that_does_not_answer_is_no_alarm(build: Any) -> None:
    mute = ack("roof", 6.0, error="no answer")
    item, _ = judge(build.site(), roof(build, None), mute, seconds=20)
    assert item.status == "not applicable"


def test_an_inverter_on_its_way_down_is_no_alarm(build: Any) -> None:
    site = build.site()
    _, state = judge(site, roof(build, 6.0), ack("roof", 6.0), seconds=2)
    low = replace(roof(build, 5.0), t_s=1003.0)
    assert judge(site, low, ack("roof", 0.0), state=state)[0].status == "obeyed"
    late = replace(roof(build, 5.0), t_s=1004.0)
    assert judge(site, late, ack("roof", 0.0), state=state, seconds=25)[0].status == "disobeyed"


# --- generator -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "phase", "patience_s", "status"),
    [
        (1.0, "running", 0, "obeyed"),
        (1.0, "starting", 0, "obeyed"),
        (1.0, "warming", 0, "obeyed"),
        (1.0, "stopped", 165, "disobeyed"),  # 15 + 30 + start_timeout_s
        (1.0, "cooling", 165, "disobeyed"),
        (0.0, "stopped", 0, "obeyed"),
        (0.0, "cooling", 0, "obeyed"),
        (0.0, "running", 345, "disobeyed"),  # 15 + 30 + cool_down_s
        (1.0, "unknown", 0, "not applicable"),
    ],
)
def test_the_set(build: Any, value: float, phase: str, patience_s: int, status: str) -> None:
    plant = replace(ON_GRID, generator_phase=phase)
    told, sample = ack("genset", value), build.sample()
    site = build.site(generator=build.generator(cool_down_s=300.0))
    item, _ = judge(site, sample, told, plant=plant, seconds=patience_s)
    assert item.status == status
    if patience_s:
        early, _ = judge(site, sample, told, plant=plant, seconds=patience_s - 1)
        assert early.status == "settling"


# --- all together --------------------------------------------------------------------------


def test_every_setpoint_is_judged_by_itself_and_old_ones_are_forgotten(build: Any) -> None:
    site, sample = build.site(), battery(build, 0.0)
    _, state = judge(site, sample, ack("battery", 2.0), ack("roof", 6.0), ack("genset", 0.0))
    assert [(item.device, item.status) for item in state.obedience] == [
        ("battery", "settling"),
        ("roof", "obeyed"),
        ("genset", "obeyed"),
    ]
    assert watch(site, state, sample, ()).obedience == ()


def test_a_device_that_the_site_does_not_have_is_not_judged(build: Any) -> None:
    assert judge(build.site(), build.sample(), ack("shed", 1.0))[0].status == "not applicable"
    site = build.site(battery=None, generator=None)
    for device in ("battery", "genset"):
        judge(site, build.sample(), ack(device, 1.0))


def test_the_same_time_twice(build: Any) -> None:
    sample, told = battery(build, 0.0), ack("battery", 2.0)
    once, state = judge(build.site(), sample, told)
    again, _ = judge(build.site(), sample, told, state=state)
    assert again == once
