"""The loop's side of the second process: feed it, ask it, take its advice, outlive it."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, replace
from typing import Any

from control.records import Advice, Plan, Sample, Series
from control.site import SiteParameters
from control.state import Mode, State
from firmware.codec import decode, encode
from firmware.config import Site
from firmware.day_plan import Situation
from firmware.minutes import Minute, Minutes

NICE = 10
MAX_MINUTES = 600  # kept for a worker that is away; one request fits into a pipe
RESTART_S = 30.0
START_UP_S = 30.0  # a fresh process loads its models first
PV_YIELD_FRAC = 0.8  # of rating per 1000 W/m2: what a curtailed inverter could have given


@dataclass(frozen=True, slots=True)
class Trigger:
    """What a change of makes a new plan worth while, apart from time."""

    slot: int
    mode: Mode
    grid_present: bool
    generator_locked: bool


class Workers:
    """Holds the latest advice. No call waits for the worker, unless `iterations` makes it count.

    With `iterations` (lockstep) the planner counts instead of watching the clock, and every
    request is waited for: the same inputs give the same advice in the same cycle.
    """

    def __init__(
        self, site: Site, parameters: SiteParameters, *, iterations: int | None = None
    ) -> None:
        """`start` brings the process up."""
        self._site = site
        self._parameters = parameters
        self._iterations = iterations
        self._minutes = Minutes()
        self._pending: list[Minute] = []
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._advice = Advice(detail="no advice yet")
        self._asked_t_s: float | None = None  # of the request under way
        self._last_t_s = float("-inf")  # of the last request
        self._trigger: Trigger | None = None
        self._request = 0
        self._fresh = True
        self._retry_t_s = float("-inf")

    def start(self) -> None:
        """Start the process; its models load while the loop already runs."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "firmware.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        self._fresh, self._asked_t_s = True, None
        self._answers = queue.SimpleQueue()
        thread = threading.Thread(
            target=_read, args=(self._process, self._answers), name="advice", daemon=True
        )
        thread.start()
        self._send({"site": self._site.model_dump(mode="json", by_alias=True), "nice": NICE})

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    @property
    def pid(self) -> int | None:
        """The process's id while it lives."""
        return self._process.pid if self._process else None

    def latest(self, now_s: float) -> Advice:
        """Return the last advice; an expired plan stays in it, the follower does not use it."""
        while not self._answers.empty():
            self._take(self._answers.get(), now_s)
        self._supervise(now_s)
        return self._advice

    def observe(self, sample: Sample, state: State) -> None:
        """Note what this cycle saw, and ask for new advice when it is time."""
        plant = state.estimate
        minute = self._minutes.add(sample.utc_s, self._available_pv(sample, state), plant.load_kw)
        if minute is not None:
            self._pending = [*self._pending[-MAX_MINUTES:], minute]
        known = plant.load_kw is not None and (
            plant.soc_frac is not None or self._parameters.battery is None
        )
        if not known or self._process is None or self._asked_t_s is not None:
            return
        planner = self._site.planner
        slot = int(sample.utc_s // planner.slot_s)
        trigger = Trigger(slot, state.mode, plant.grid_present, bool(state.generator.locked))
        if trigger == self._trigger and sample.t_s - self._last_t_s < planner.interval_s:
            return
        self._trigger = trigger
        self._ask(sample, state)
        if self._iterations is not None:
            self._take(self._answers.get(), sample.t_s)

    def _available_pv(self, sample: Sample, state: State) -> float | None:
        """PV power as it would be without a limit: curtailed power is not the weather."""
        pv_kw, limit_kw = state.estimate.pv_kw, state.pv_limit_kw
        rated_kw = self._parameters.pv_rated_kw
        if pv_kw is None or limit_kw is None or limit_kw >= rated_kw or pv_kw < 0.9 * limit_kw:
            return pv_kw
        sun = sample.irradiance_w_m2.good if sample.irradiance_w_m2 else None
        return None if sun is None else max(pv_kw, rated_kw * PV_YIELD_FRAC * sun / 1000.0)

    def _ask(self, sample: Sample, state: State) -> None:
        plant, generator = state.estimate, state.generator
        # Behind a transfer switch the set and the grid never carry the site together.
        usable = not plant.grid_present and not generator.locked and plant.generator_available
        situation = Situation(
            t_s=sample.t_s,
            utc_s=sample.utc_s,
            soc_frac=plant.soc_frac,
            wind_kw=plant.wind_kw or 0.0,
            grid_present=plant.grid_present,
            generator_run=generator.run,
            generator_for_s=min(1e9, sample.t_s - generator.since_s),
            generator_usable=usable,
        )
        self._request += 1
        self._asked_t_s = self._last_t_s = sample.t_s
        self._send(
            {
                "id": self._request,
                "situation": encode(situation),
                "minutes": encode(self._pending),
                "iterations": self._iterations,
            }
        )
        self._pending = []

    def _send(self, line: dict[str, Any]) -> None:
        """Write one line; a process that died is noticed when its output ends."""
        if self._process is None or self._process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()

    def _take(self, answer: dict[str, Any] | None, now_s: float) -> None:
        if answer is None:
            self._fail(now_s, "the planning process died")
            return
        if answer.get("id") != self._request:
            return
        self._asked_t_s, self._fresh = None, False
        try:
            advice = decode(Advice, answer.get("advice"))
        except ValueError as error:
            self._fault(f"unreadable advice refused: {error}")
            return
        nonsense = _nonsense(advice)
        if nonsense:
            self._fault(f"nonsensical advice refused: {nonsense}")
        else:
            self._advice = advice

    def _supervise(self, now_s: float) -> None:
        """Notice a request that takes too long; start a process that ended, after a while."""
        if self._asked_t_s is not None:
            patience_s = 5.0 + 5.0 * self._site.planner.budget_s + START_UP_S * self._fresh
            if now_s - self._asked_t_s > patience_s:
                self._fail(now_s, "the planning process does not answer")
        if self._process is None and now_s >= self._retry_t_s > float("-inf"):
            self.start()

    def _fail(self, now_s: float, why: str) -> None:
        self.stop()
        self._asked_t_s, self._trigger = None, None
        self._retry_t_s = now_s + RESTART_S
        self._fault(why)

    def _fault(self, why: str) -> None:
        """Keep the last advice until it expires, and say what is wrong."""
        self._advice = replace(self._advice, detail=why)


def _read(
    process: subprocess.Popen[str], answers: "queue.SimpleQueue[dict[str, Any] | None]"
) -> None:
    """Queue the process's lines; None when it ended or stopped making sense."""
    if process.stdout is not None:
        try:
            for text in process.stdout:
                answer = json.loads(text)
                answers.put(answer if isinstance(answer, dict) else None)
        except ValueError:  # no JSON, or the stream was closed
            pass
    answers.put(None)


def _nonsense(advice: Advice) -> str:
    """Return what is wrong with an advice that decodes; empty when nothing is."""
    if advice.forecast is not None:
        for name, series in (("PV", advice.forecast.pv), ("load", advice.forecast.load)):
            if not _is_sane(series):
                return f"{name} forecast is not finite or negative"
    return _plan_nonsense(advice.plan) if advice.plan is not None else ""


def _is_sane(series: Series) -> bool:
    values = (*series.p10_kw, *series.p50_kw, *series.p90_kw)
    return bool(values) and all(0.0 <= value < 1e6 for value in values)


def _plan_nonsense(plan: Plan) -> str:
    parts = (plan.battery_kw, plan.generator_kw, plan.grid_kw, plan.curtailed_kw, plan.soc_frac)
    flags = (plan.generator_on, plan.cover_deficit, plan.store_surplus)
    lengths = {len(part) for part in (*parts, *flags)}
    if len(lengths) != 1 or not plan.battery_kw or plan.step_s <= 0:
        return "the plan's parts differ in length"
    if not all(abs(value) < 1e6 for part in parts for value in part):  # false for NaN too
        return "the plan holds values that are not finite"
    return ""
