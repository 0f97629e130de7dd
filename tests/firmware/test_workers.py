"""The loop's side of the second process, against processes that die, hang, babble and lie."""

import json
import os
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control.records import Advice, Event, Orders, PricePeriod, Sample, Severity
from control.site import SiteParameters
from control.state import Mode, State
from firmware.codec import encode
from firmware.config import Site
from firmware.loop import Telemetry
from firmware.workers import (
    KEPT_MINUTES,
    LAST_RESTART_S,
    LEARNING_S,
    PATIENCE_S,
    RESTART_S,
    Workers,
)

DEADLINE_S = 60.0
Make = Callable[..., Workers]
BEGIN = """
import json, os, sys, time
hello = sys.stdin.readline()
def answer(id, advice): print(json.dumps({"id": id, "advice": advice}), flush=True)
def requests():
    for line in sys.stdin: yield json.loads(line)
"""
NONE = Orders()
NOTHING = [None, None, ""]


@pytest.fixture
def cycle(run_cycles: Callable[[int], list[Telemetry]]) -> Telemetry:
    """A cycle in which load and state of charge are known."""
    return run_cycles(12)[-1]


@pytest.fixture
def make(
    site: Site, parameters: SiteParameters, tmp_path: Path
) -> Iterator[Callable[..., Workers]]:
    """Workers whose process is a script, or the real one; stopped at the end."""
    made = []

    def start(script: str | None = None, **options: Any) -> Workers:
        if script is not None:
            file = tmp_path / "worker.py"
            file.write_text(BEGIN + textwrap.dedent(script))
            options["command"] = (sys.executable, str(file))
        workers = Workers(site, parameters, **options)
        made.append(workers)
        workers.start()
        return workers

    yield start
    for workers in made:
        workers.stop()


def wait_for(what: Callable[[], bool], said: object = "") -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < end_s, f"waited in vain {said}"
        time.sleep(0.005)


def detail_becomes(workers: Workers, now_s: float, text: str) -> Advice:
    wait_for(lambda: text in workers.latest(now_s).detail, text)
    return workers.latest(now_s)


def fails(workers: Workers, now_s: float) -> float:
    """Wait for it; when it is started again."""
    wait_for(lambda: bool(workers.latest(now_s)) and workers._restart_t_s is not None)
    assert workers._restart_t_s is not None
    return workers._restart_t_s


def starts_again(workers: Workers, now_s: float) -> None:
    wait_for(lambda: bool(workers.latest(now_s)) and workers._restart_t_s is None)


def at(cycle: Telemetry, t_s: float) -> tuple[Sample, State]:
    moved_s = t_s - cycle.sample.t_s
    utc_s = cycle.sample.utc_s + moved_s
    return replace(cycle.sample, t_s=t_s, utc_s=utc_s), cycle.decision.state


def has_a_plan(workers: Workers, now_s: float) -> Callable[[], bool]:
    return lambda: workers.latest(now_s).plan is not None


def lives(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # it may go while its file is open
        return False
    return state != "Z"


def children() -> set[int]:
    """Processes that we have not buried, zombies included."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        found.update(map(int, Path(f"/proc/self/task/{task}/children").read_text().split()))
    return found


# --- the real process -----------------------------------------------------------------------


def test_the_first_plan_is_asked_for_when_load_and_charge_are_known(
    make: Make, cycle: Telemetry
) -> None:
    workers = make()
    sample, state = at(cycle, 100.0)
    for unknown in ("load_kw", "soc_frac"):
        estimate = replace(state.estimate, **{unknown: None})
        workers.observe(sample, replace(state, estimate=estimate), NONE)
        assert workers._request == 0
    assert workers.latest(100.0).detail == "no advice yet"
    workers.observe(sample, state, NONE)
    wait_for(has_a_plan(workers, 101.0))
    plan = workers.latest(101.0).plan
    assert plan is not None
    assert plan.issued_t_s == 100.0


def test_a_killed_process_costs_its_restart_and_no_plan(make: Make, cycle: Telemetry) -> None:
    workers = make()
    workers.observe(*at(cycle, 100.0), NONE)
    wait_for(has_a_plan(workers, 100.0))
    plan, first = workers.latest(100.0).plan, workers.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    advice = detail_becomes(workers, 101.0, "the planning process died")
    assert advice.plan is plan
    told = "the planning process died: the last plan for 60 min at most, then the rules decide"
    assert workers.notices() == (Event(Severity.WARNING, "advice", told),)
    assert not lives(first)
    workers.observe(*at(cycle, 500.0), NONE)  # nobody to ask
    workers.latest(101.0 + RESTART_S)
    wait_for(lambda: workers.pid not in (None, first))
    workers.observe(*at(cycle, 600.0), NONE)
    wait_for(lambda: workers.latest(600.0).plan != plan)
    assert workers.latest(600.0).detail == ""
    told = "the planning process answers again"
    assert Event(Severity.INFO, "advice", told) in workers.notices()


def test_a_process_that_hangs_is_ended(make: Make, cycle: Telemetry) -> None:
    workers = make()
    wait_for(lambda: workers.pid is not None)
    pid = workers.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    workers.observe(*at(cycle, 100.0), NONE)
    workers.latest(100.0 + LEARNING_S + PATIENCE_S)
    assert lives(pid)
    advice = workers.latest(100.0 + LEARNING_S + PATIENCE_S + 11.0)
    assert advice.detail == "the planning process does not answer"
    wait_for(lambda: not lives(pid))


def test_one_that_has_answered_before_is_ended_sooner(make: Make, cycle: Telemetry) -> None:
    workers = make("answer(next(requests())['id'], [None, None, 'yes']); time.sleep(600)")
    workers.observe(*at(cycle, 100.0), NONE)
    detail_becomes(workers, 100.0, "yes")
    workers.observe(*at(cycle, 1000.0), NONE)
    assert workers.latest(1000.0 + PATIENCE_S).detail == "yes"
    late = workers.latest(1000.0 + PATIENCE_S + 11.0)
    assert late.detail == "the planning process does not answer"


def test_what_it_prints_does_not_disturb(make: Make, cycle: Telemetry) -> None:
    noisy = textwrap.dedent("""
        import os
        import firmware.worker as worker
        quiet = worker.Worker.advise
        def advise(*given):
            print("a library says hello")
            os.write(1, b"and C code, too\\n")
            return quiet(*given)
        worker.Worker.advise = advise
        worker.main()
    """)
    workers = make(command=(sys.executable, "-c", noisy))
    workers.observe(*at(cycle, 100.0), NONE)
    wait_for(has_a_plan(workers, 100.0))


def test_ctrl_c_is_not_for_it(make: Make) -> None:
    workers = make()
    wait_for(lambda: workers.pid is not None)
    assert workers.pid is not None
    assert os.getpgid(workers.pid) != os.getpgid(0)


# --- when it is asked -----------------------------------------------------------------------

ECHO = """
for request in requests():
    with open(sys.argv[0] + ".log", "a") as log: print(json.dumps(request), file=log)
    answer(request["id"], [None, None, str(request["id"])])
"""


def asked(tmp_path: Path) -> list[dict[str, Any]]:
    log = tmp_path / "worker.py.log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_it_is_asked_at_intervals_and_when_something_changes(
    make: Make, cycle: Telemetry, site: Site
) -> None:
    workers = make(ECHO)
    number = 0

    def expect(t_s: float, answers: int, **changes: Any) -> None:
        nonlocal number
        sample, state = at(cycle, t_s)
        workers.observe(sample, replace(state, **changes), NONE)
        number += answers
        detail_becomes(workers, t_s, str(number))
        assert workers._request == number

    start_s = cycle.sample.t_s
    expect(start_s, 1)
    expect(start_s + 1.0, 0)
    expect(start_s + 2.0, 1, mode=Mode.DEGRADED)
    island = replace(cycle.decision.state.estimate, grid_present=False)
    expect(start_s + 3.0, 1, mode=Mode.DEGRADED, estimate=island)
    expect(start_s + 4.0, 1)
    expect(start_s + 4.0 + site.planner.interval_s - 1.0, 0)
    expect(start_s + 4.0 + site.planner.interval_s, 1)


def test_every_order_that_a_plan_must_respect_asks_at_once(make: Make, cycle: Telemetry) -> None:
    workers = make(ECHO)
    prices = (PricePeriod(0.0, 9e9, 0.5, 0.1),)
    given = [
        NONE,
        replace(NONE, replans=1),
        replace(NONE, replans=2),
        replace(NONE, export_max_kw=0.0),
        replace(NONE, import_max_kw=1.0),
        replace(NONE, reserve_soc_frac=0.6),
        replace(NONE, prices=prices),
        NONE,
    ]
    for number, orders in enumerate(given, start=1):
        for again in (0.0, 0.5):  # the second time nothing is new
            workers.observe(*at(cycle, cycle.sample.t_s + number + again), orders)
            detail_becomes(workers, cycle.sample.t_s + number, str(number))
    assert workers._request == len(given)
    trading = replace(NONE, trading=False, stop=True, active=("stop",))
    workers.observe(*at(cycle, cycle.sample.t_s + 20.0), trading)
    assert workers._request == len(given)


def test_a_wall_clock_that_steps_asks_anew(make: Make, cycle: Telemetry) -> None:
    workers = make(ECHO)
    workers.observe(*at(cycle, 100.0), NONE)
    detail_becomes(workers, 100.0, "1")
    for number, step_s in enumerate((86_400.0, -86_400.0), start=2):
        sample, state = at(cycle, 100.0 + number)
        workers.observe(replace(sample, utc_s=sample.utc_s + step_s), state, NONE)
        detail_becomes(workers, 100.0 + number, str(number))


def test_minutes_are_told_once_and_again_to_a_successor(
    make: Make, cycle: Telemetry, tmp_path: Path
) -> None:
    workers = make(ECHO)
    minute_s = cycle.sample.t_s - cycle.sample.utc_s % 60.0

    def pass_minutes(first: int, count: int) -> None:
        for minute in range(first, first + count):
            workers.observe(*at(cycle, minute_s + 60.0 * minute), NONE)

    def told(request: int) -> list[int]:
        return [minute[0] for minute in asked(tmp_path)[request]["minutes"]]

    pass_minutes(0, 1)
    detail_becomes(workers, 0.0, "1")
    pass_minutes(1, 9)  # asks again after five minutes
    detail_becomes(workers, 0.0, "2")
    pass_minutes(10, 6)
    detail_becomes(workers, 0.0, "3")
    before = told(1) + told(2)
    assert told(0) == []
    assert before == sorted(set(before))
    assert workers.pid is not None
    os.kill(workers.pid, signal.SIGKILL)
    now_s = minute_s + 60.0 * 16
    detail_becomes(workers, now_s, "died")
    starts_again(workers, now_s + RESTART_S)
    pass_minutes(17, 1)
    detail_becomes(workers, now_s + RESTART_S, "4")
    assert told(3)[: len(before)] == before


def test_a_process_that_reads_nothing_holds_up_nothing(make: Make, cycle: Telemetry) -> None:
    workers = make("time.sleep(600)")
    minute_s = cycle.sample.t_s - cycle.sample.utc_s % 60.0
    estimate = replace(cycle.decision.state.estimate, soc_frac=None, load_kw=4 / 3)
    for minute in range(2 * KEPT_MINUTES):
        sample, state = at(cycle, minute_s + 60.0 * minute)
        workers.observe(sample, replace(state, estimate=estimate), NONE)
    assert len(json.dumps(encode(list(workers._recent)))) > 65_536  # more than a pipe holds
    end_s = minute_s + 120.0 * KEPT_MINUTES
    workers.observe(*at(cycle, end_s), NONE)
    workers.latest(end_s)
    wait_for(lambda: workers.pid is not None)
    pid = workers.pid
    assert pid is not None
    assert "does not answer" in workers.latest(end_s + LEARNING_S + PATIENCE_S + 11.0).detail
    wait_for(lambda: not lives(pid))


# --- processes that babble and lie ----------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "print('Segmentation fault', flush=True); time.sleep(600)",
        "print('[]', flush=True); time.sleep(600)",
        "print('{}', flush=True); time.sleep(600)",
        "print('[' * 100000, flush=True); time.sleep(600)",
        "os.write(1, b'\\xff\\xfe\\n'); time.sleep(600)",
        "os.write(1, b'half a line'); sys.exit()",
        "sys.exit(3)",
        "os.kill(os.getpid(), 11)",
        "while True: answer(0, None)",
        "while True: os.write(1, b'x' * 60000)",
        "os.close(1); time.sleep(600)",
    ],
)
def test_one_that_makes_no_sense_is_ended(make: Make, cycle: Telemetry, script: str) -> None:
    workers = make(script)
    process = workers._process
    assert process is not None
    workers.observe(*at(cycle, 100.0), NONE)
    wait_for(lambda: process.ended)
    assert process.answers.qsize() < 20
    assert process.pid is not None
    assert not lives(process.pid)
    assert workers.latest(100.0).detail == "the planning process died"


def test_one_that_cannot_be_started_is_tried_again(make: Make, cycle: Telemetry) -> None:
    workers = make(command=("/nonexistent/python",))
    detail_becomes(workers, 100.0, "died")
    workers.observe(*at(cycle, 100.0), NONE)
    assert workers.pid is None
    first = workers._process
    workers.latest(100.0 + RESTART_S)
    assert workers._process is not first


def test_restarts_become_rarer_until_one_answers(make: Make, cycle: Telemetry) -> None:
    workers = make("sys.exit()")
    now_s, waits = 0.0, []
    for _ in range(7):
        before_s, now_s = now_s, fails(workers, now_s)
        waits.append(now_s - before_s)
        starts_again(workers, now_s)
    assert waits == [RESTART_S * 2**n for n in range(6)] + [LAST_RESTART_S]
    workers._command = (sys.executable, "-m", "firmware.worker")
    now_s = fails(workers, now_s)
    starts_again(workers, now_s)
    workers.observe(*at(cycle, now_s), NONE)
    wait_for(has_a_plan(workers, now_s))
    assert workers._restart_s == RESTART_S


def test_an_answer_to_another_question_is_not_taken(make: Make, cycle: Telemetry) -> None:
    workers = make("""
        for request in requests():
            for id in (request["id"] - 1, 0, -7, request["id"] + 1):
                answer(id, [None, None, "wrong"])
            answer(request["id"], [None, None, "right"])
            answer(request["id"], [None, None, "twice"])
    """)
    for t_s in (100.0, 1000.0):
        workers.observe(*at(cycle, t_s), NONE)
        detail_becomes(workers, t_s, "right")


def plan(t_s: float = 100.0, **changes: Any) -> list[Any]:
    steps = 4
    fields: dict[str, Any] = {
        "issued_t_s": t_s,
        "start_t_s": t_s - 10.0,
        "step_s": 900.0,
        "expires_t_s": t_s + 3600.0,
        "battery_kw": [0.0] * steps,
        "generator_on": [False] * steps,
        "generator_kw": [0.0] * steps,
        "grid_kw": [0.0] * steps,
        "curtailed_kw": [0.0] * steps,
        "soc_frac": [0.5] * steps,
        "cover_deficit": [False] * steps,
        "store_surplus": [False] * steps,
        "cost": 1.0,
        "solver": "swarm",
    }
    return list({**fields, **changes}.values())


def forecast(t_s: float = 100.0, **changes: Any) -> list[Any]:
    series = [[0.0] * 4, [1.0] * 4, [2.0] * 4, "mean"]
    fields = {
        "issued_t_s": t_s,
        "start_t_s": t_s,
        "step_s": 900.0,
        "pv": changes.pop("pv", series),
        "load": changes.pop("load", series),
    }
    return list({**fields, **changes}.values())


NAN, INF = float("nan"), float("inf")
LIES = {
    "unreadable": [
        [None, ["a plan"], ""],
        [None, plan(battery_kw=[0.0, "1", 0.0, 0.0]), ""],
        [None, plan(generator_on=[1, 0, 0, 0]), ""],
        [None, plan(start_t_s=10**400), ""],
        "advice",
        None,
    ],
    "nonsensical": [
        [None, plan(battery_kw=[0.0, NAN, 0.0, 0.0]), ""],
        [None, plan(battery_kw=[0.0, INF, 0.0, 0.0]), ""],
        [None, plan(battery_kw=[0.0, 1e9, 0.0, 0.0]), ""],
        [None, plan(battery_kw=[0.0] * 3), ""],
        [None, plan(store_surplus=[]), ""],
        [None, plan(step_s=0.0), ""],
        [None, plan(step_s=NAN), ""],
        [None, plan(start_t_s=NAN), ""],
        [None, plan(start_t_s=-INF), ""],
        [None, plan(start_t_s=101.0), ""],  # later than the question
        [None, plan(expires_t_s=INF), ""],  # would never end
        [None, plan(expires_t_s=NAN), ""],
        [None, plan(99.0), ""],  # of another moment
        [None, [*plan(), [], [], [], [[0.0, NAN, 0.0, 0.0]]], ""],  # of one battery
        [None, [*plan(), [], [], [], [], [[True] * 3]], ""],  # of one generator
        [forecast(step_s=0.0), None, ""],
        [forecast(start_t_s=NAN), None, ""],
        [forecast(load=[[], [], [], ""]), None, ""],
        [forecast(load=[[0.0], [0.0], [0.0, 1.0], ""]), None, ""],
        [forecast(load=[[0.0], [NAN], [1.0], ""]), None, ""],
        [forecast(load=[[-1.0], [0.0], [1.0], ""]), None, ""],
        [forecast(load=[[0.0], [0.0], [INF], ""]), None, ""],
        [forecast(load=[[2.0], [1.0], [3.0], ""]), None, ""],  # p10 above p50
        [forecast(load=[[0.0], [1.0], [0.5], ""]), None, ""],
        [forecast(pv=[[0.0], [1.0], [99.0], ""]), None, ""],  # more than the roof can
    ],
}


def test_lies_are_refused_one_by_one_and_the_last_plan_stays(make: Make, cycle: Telemetry) -> None:
    truth = [forecast(), plan(), "so far so good"]
    lies = [(kind, lie) for kind, found in LIES.items() for lie in found]
    script = f"""
        from math import inf, nan
        answers = {[truth, *(lie for _, lie in lies)]!r}
        for request, advice in zip(requests(), answers):
            answer(request["id"], advice)
        time.sleep(600)
    """
    workers = make(script)
    workers.observe(*at(cycle, 100.0), NONE)
    good = detail_becomes(workers, 100.0, "so far so good").plan
    assert good is not None
    told: list[str] = []
    for number, (kind, lie) in enumerate(lies, start=1):
        workers._trigger = None  # ask again at the same moment
        workers.observe(*at(cycle, 100.0), NONE)
        assert workers._request == number + 1
        wait_for(lambda: bool(workers.latest(100.0)) and workers._asked_t_s is None)
        advice = workers.latest(100.0)
        assert advice.detail.startswith(f"{kind} advice refused"), lie
        assert advice.plan is good
        told.extend(event.text.partition(":")[0] for event in workers.notices())
    assert set(told) == {f"{kind} advice refused" for kind in LIES}


def test_a_load_off_the_forecast_by_more_than_its_band_asks_once(
    make: Make, cycle: Telemetry
) -> None:
    """And no second time until it has been back inside: a plan does not follow the next."""
    start_s = cycle.sample.t_s
    said = [forecast(start_s), None, "said"]
    workers = make(f"""
        said = {said!r}
        for request in requests():
            said[0][0] = request["situation"][0]  # made for the moment of the question
            answer(request["id"], said)
    """)
    sample, state = at(cycle, start_s)

    def minutes(first: int, last: int, load_kw: float) -> list[int]:
        asked_in = []
        for minute in range(first, last):
            before = workers._request
            now_s = start_s + 60.0 * minute
            estimate = replace(state.estimate, load_kw=load_kw, pv_kw=1.0)
            workers.observe(replace(sample, t_s=now_s), replace(state, estimate=estimate), NONE)
            wait_for(lambda t_s=now_s: bool(workers.latest(t_s)) and workers._asked_t_s is None)
            asked_in += [minute] if workers._request > before else []
        return asked_in

    workers._planner = workers._planner.model_copy(update={"interval_s": 1e6})
    assert minutes(0, 1, 1.0) == [0]
    assert workers.latest(start_s).forecast is not None
    assert minutes(1, 10, 1.5) == []  # inside the band
    assert len(minutes(10, 30, 5.0)) == 1
    assert len(minutes(30, 50, 1.0)) == 1  # it has come back


def test_a_device_that_is_lost_asks_at_once(make: Make, cycle: Telemetry) -> None:
    workers = make(ECHO)
    sample, state = at(cycle, cycle.sample.t_s)
    for number, missing in enumerate([(), ("roof",), ("roof", "meter"), ("meter",)], start=1):
        estimate = replace(state.estimate, missing=missing)
        workers.observe(sample, replace(state, estimate=estimate), NONE)
        detail_becomes(workers, sample.t_s, str(number))
        assert workers._request == number


# --- leaks ----------------------------------------------------------------------------------


def test_restarts_leave_nothing_behind(make: Make) -> None:
    workers = make("sys.exit()")
    detail_becomes(workers, 0.0, "died")
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    now_s = 0.0
    for _ in range(10):
        now_s = fails(workers, now_s)
        starts_again(workers, now_s)
    fails(workers, now_s)
    process = workers._process
    assert process is not None
    wait_for(lambda: process.ended)
    workers.stop()
    assert len(os.listdir("/proc/self/fd")) <= files
    assert threading.active_count() <= threads
    assert not children()


def test_stop_leaves_no_process_and_may_be_repeated(make: Make) -> None:
    workers = make()
    wait_for(lambda: workers.pid is not None)
    pid = workers.pid
    workers.stop()
    workers.stop()
    assert pid is not None
    assert not lives(pid)
    workers = make()
    workers.stop()  # at once, perhaps before it runs
    wait_for(lambda: not children())


# --- lockstep -------------------------------------------------------------------------------


def test_in_lockstep_the_advice_is_there_in_the_cycle_that_asked(
    make: Make, cycle: Telemetry
) -> None:
    slow = "for request in requests(): time.sleep(0.3); answer(request['id'], [None, None, 'slow'])"
    workers = make(slow, iterations=3)
    workers.observe(*at(cycle, 100.0), NONE)
    assert workers.latest(100.0).detail == "slow"


def test_in_lockstep_the_same_questions_get_the_same_answers(make: Make, cycle: Telemetry) -> None:
    found = []
    for _ in range(2):
        workers = make(iterations=3)
        for t_s in (100.0, 450.0):
            workers.observe(*at(cycle, t_s), NONE)
            found.append(workers.latest(t_s))
    assert found[:2] == found[2:]
    assert all(advice.plan and not advice.detail for advice in found)


def test_in_lockstep_a_death_is_told_and_ends_nothing(make: Make, cycle: Telemetry) -> None:
    workers = make("next(requests()); sys.exit()", iterations=3)
    workers.observe(*at(cycle, 100.0), NONE)
    assert workers.latest(100.0).detail == "the planning process died"


def test_in_lockstep_a_process_that_is_stuck_ends_the_run(
    make: Make, cycle: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firmware.supervised.LOCKSTEP_S", 0.2)
    workers = make("time.sleep(600)", iterations=3)
    with pytest.raises(TimeoutError, match="no answer within"):
        workers.observe(*at(cycle, 100.0), NONE)
