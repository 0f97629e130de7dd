"""A quantity's forecasters in service: one serves, the others run in shadow and are scored.

Beside the store, in `forecast/`: `<target>_scores.json`, and weights with their .json:
`challenger/<target>.tflite`, put there by hand and taken up without a restart;
`champion/<target>.tflite`, a challenger that has won. Without a store nothing is kept.
`challenger/<target>.trying` stands while a new challenger has not proved that it runs: weights
that take the process with them are refused by its successor.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from control.records import Series
from models.challenger import BASELINE, CHALLENGER, CHAMPION, judge, mean_ratio
from models.forecaster import Forecaster
from models.gru import sidecar
from models.history import DAY_S, History, Target
from models.scoring import HORIZONS_S, PERSISTENCE, Band, Scores

SAVE_EVERY_S = 3600
TRIAL_END_UTC_S, TRIAL_DAYS, TRIAL_STEP_S = 1_000 * DAY_S, 9, 900
NO_NETWORK = Path("none")  # no such file: the forecaster goes by its statistics
log = logging.getLogger(__name__)


def _any_days() -> History:
    """A week and more of something, for a network to show that it runs."""
    count = TRIAL_DAYS * DAY_S // TRIAL_STEP_S
    values = 1.0 + np.sin(2 * np.pi * np.arange(count) * TRIAL_STEP_S / DAY_S)
    return History(TRIAL_END_UTC_S - TRIAL_DAYS * DAY_S, TRIAL_STEP_S, values)


class Watch:
    """Forecasts of one quantity by whoever has earned it; `make` builds a forecaster of weights."""

    def __init__(
        self,
        target: Target,
        make: Callable[[Path | None], Forecaster],
        folder: Path | None,
        *,
        networks: bool = True,
    ) -> None:
        """Without `networks` the site wants none: nobody is compared."""
        self._target, self._make, self._folder = target, make, folder
        self._networks = networks
        self._events: list[str] = []
        self._networked = False  # the champion's last forecast came from its network
        self._forecasters = {CHAMPION: self._champion(), BASELINE: make(NO_NETWORK)}
        self.serving, self._why = CHAMPION, ""  # why the baseline serves
        self._scored: tuple[int, ...] = ()  # the challenger's files that the scores are of
        self._scores = self._saved_scores()
        self._forecasters[BASELINE].problem = self._why or "in shadow"
        self._seen: tuple[int, ...] | None = None  # the challenger's files, as last looked at
        self._settled_utc_s = self._scores.first_open_utc_s
        self._claimed_utc_s = self._saved_utc_s = 0

    @property
    def problem(self) -> str | None:
        """Why the champion cannot use its network."""
        return self._forecasters[CHAMPION].problem

    def take_events(self) -> list[str]:
        """What has changed since the last time, a line each."""
        events, self._events = self._events, []
        return events

    def forecast(self, history: History, steps: int) -> Series:
        """Forecast from the history's end on; the day before is scored on the way."""
        origin = history.end_utc_s
        self._settle(history)
        if self._networks:
            self._look_for_challenger()
            if origin != self._claimed_utc_s:
                return self._all(history, max(steps, DAY_S // history.step_s), steps)
        return self._with_skill(self._forecasters[self.serving].forecast(history, origin, steps))

    def _all(self, history: History, wanted: int, steps: int) -> Series:
        """Everybody forecasts; what they said is noted, then it is judged who serves."""
        origin, step_s = history.end_utc_s, history.step_s
        made = {n: f.forecast(history, origin, wanted) for n, f in self._forecasters.items()}
        last_kw = float(history.values[-1])
        leads = [max(ahead // step_s, 1) - 1 for ahead in HORIZONS_S.values()]
        served = made[self.serving]
        if last_kw == last_kw:  # not NaN
            said = {n: tuple(s.p50_kw[lead] for lead in leads) for n, s in made.items()}
            said[PERSISTENCE] = (last_kw,) * len(leads)
            low, high = (tuple(q[lead] for lead in leads) for q in (served.p10_kw, served.p90_kw))
            self._scores.claim(origin, step_s, said, Band(low, high))
        self._claimed_utc_s = origin
        self._notice_fallback(made[CHAMPION].source)
        self._judge()
        served = made.get(self.serving, served)
        self._save(origin)
        low, middle, high = (q[:steps] for q in (served.p10_kw, served.p50_kw, served.p90_kw))
        return self._with_skill(Series(low, middle, high, served.source))

    def _with_skill(self, series: Series) -> Series:
        skill, coverage = (
            tuple(found.get(horizon) for horizon in HORIZONS_S) if found else ()
            for found in (self._scores.skill(self.serving), self._scores.coverage())
        )
        return replace(series, skill=skill, coverage=coverage, shadow=self.standing())

    def standing(self) -> str:
        """How the challenger does; empty without one."""
        challenger = self._forecasters.get(CHALLENGER)
        if challenger is None:
            return ""
        ratios = self._scores.ratios(CHALLENGER, CHAMPION)
        said = "not scored yet"
        if ratios:
            days = self._scores.days(CHALLENGER)
            said = f"RMSE {mean_ratio(ratios):.3f} of the champion's in {days:.1f} days"
        return f"challenger {challenger.network_name}: {said}"

    def _settle(self, history: History) -> None:
        """Judge what was said for the intervals that ended since the last time."""
        step_s, end = history.step_s, history.end_utc_s
        first = max(self._settled_utc_s or end, end - 2 * DAY_S)
        for start in range(first, end, step_s):
            index = (start - history.start_utc_s) // step_s
            self._scores.settle(start, float(history.values[index]))
        self._scores.forget_before(end - 2 * DAY_S)
        self._settled_utc_s = end

    def _notice_fallback(self, source: str) -> None:
        """Say so when the network gives up, or comes back, for what it finds in the history."""
        name = self._forecasters[CHAMPION].network_name
        networked = bool(name) and source.startswith(name)
        if self._networked and not networked:
            self._tell(f"fallback to {source}")
        elif networked and not self._networked:
            self._tell(f"served by {source}")
        self._networked = networked

    def _judge(self) -> None:
        verdict = judge(self._scores, self.serving)
        if verdict.promote:
            self._promote()
        self.serving = verdict.serving
        if verdict.reason:
            self._why = verdict.reason.partition(":")[0] if self.serving == BASELINE else ""
            self._forecasters[BASELINE].problem = self._why or "in shadow"
            self._tell(verdict.reason)

    # --- challenger and champion -----------------------------------------------------------

    def _look_for_challenger(self) -> None:
        """Take up weights that have been put into the folder, drop what has gone."""
        path = self._path(CHALLENGER)
        if path is None:
            return
        try:
            seen = tuple(p.stat().st_mtime_ns for p in (path, sidecar(path)))
        except OSError:
            seen = ()
        if seen == self._seen:
            return
        self._seen = seen
        had = self._forecasters.pop(CHALLENGER, None)
        if seen != self._scored:
            self._scores.forget(CHALLENGER)
            self._scored = seen
        if not seen:
            if had is not None:
                self._tell("the challenger is gone")
            return
        if self._was_tried(seen):
            self._tell(f"challenger refused: {path}: the process died of it; put a sound one there")
            return
        self._mark_trying(seen)
        forecaster = self._make(path)
        if not forecaster.problem:
            forecaster.forecast(_any_days(), TRIAL_END_UTC_S, 1)
        self._mark_tried()
        if forecaster.problem:
            self._tell(f"challenger refused: {forecaster.problem}")
            return
        self._forecasters[CHALLENGER] = forecaster
        self._tell(f"a challenger runs in shadow: {forecaster.network_name}")

    def _mark(self) -> Path:
        assert self._folder is not None
        return self._folder / CHALLENGER / f"{self._target}.trying"

    def _was_tried(self, seen: tuple[int, ...]) -> bool:
        """Whether a process has tried these files and not lived to say so."""
        try:
            return self._mark().read_text(encoding="utf-8") == repr(seen)
        except (OSError, ValueError):
            return False

    def _mark_trying(self, seen: tuple[int, ...]) -> None:
        with contextlib.suppress(OSError):  # a folder that takes nothing costs this guard
            self._mark().write_text(repr(seen), encoding="utf-8")

    def _mark_tried(self) -> None:
        with contextlib.suppress(OSError):
            self._mark().unlink(missing_ok=True)

    def _promote(self) -> None:
        """The challenger's files become the champion's; both at once or, next time, neither."""
        new, old = self._path(CHALLENGER), self._path(CHAMPION)
        if new is None or old is None:
            return
        try:
            old.parent.mkdir(parents=True, exist_ok=True)
            os.replace(sidecar(new), sidecar(old))
            os.replace(new, old)
        except OSError as error:
            self._tell(f"{old}: {error.strerror}: the challenger serves until the next start")
        self._forecasters[CHAMPION] = self._forecasters.pop(CHALLENGER)
        for name in (CHAMPION, CHALLENGER):
            self._scores.forget(name)
        self._seen = self._scored = ()

    def _champion(self) -> Forecaster:
        path = self._path(CHAMPION)
        if path is not None and path.exists():
            forecaster = self._make(path)
            if not forecaster.problem:
                return forecaster
            self._tell(f"champion refused: {forecaster.problem}")
        shipped = self._make(None)
        if self._networks and shipped.problem:
            self._tell(f"network refused: {shipped.problem}")
        return shipped

    def _path(self, role: str) -> Path | None:
        return self._folder / role / f"{self._target}.tflite" if self._folder else None

    def _tell(self, text: str) -> None:
        self._events.append(f"{'PV' if self._target == 'pv' else 'load'} forecast: {text}")

    # --- scores on disk --------------------------------------------------------------------

    def _scores_file(self) -> Path | None:
        return self._folder / f"{self._target}_scores.json" if self._folder else None

    def _saved_scores(self) -> Scores:
        path = self._scores_file()
        if path is None or not path.exists():
            return Scores()
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            made = Scores.from_plain(plain)
            if plain.get("serving") == BASELINE:
                self.serving = BASELINE
                self._why = str(plain.get("why", "the network did worse"))
            self._scored = tuple(int(part) for part in plain.get("challenger", []))
            return made
        except (OSError, ValueError, TypeError) as error:
            self._tell(f"{path}: {error}: scores begin anew")
            return Scores()

    def _save(self, now_utc_s: int) -> None:
        path = self._scores_file()
        if path is None or 0 <= now_utc_s - self._saved_utc_s < SAVE_EVERY_S:
            return
        self._saved_utc_s = now_utc_s
        partial = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(
                {
                    **self._scores.plain(),
                    "serving": self.serving,
                    "why": self._why,
                    "challenger": self._scored,
                }
            )
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        except OSError as error:
            log.warning("%s: %s: scores not saved", path, error.strerror)
