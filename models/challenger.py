"""Who serves: the champion, a challenger that has earned it in shadow, or the safe baseline."""

import math
from dataclasses import dataclass

from models.scoring import Scores

CHAMPION, CHALLENGER, BASELINE = "champion", "challenger", "baseline"
TRIAL_DAYS = 12.0  # of judged forecasts, faded: two weeks; before, no challenger takes over
BETTER = 0.98  # of the champion's RMSE, geometric mean over horizons
NOWHERE_WORSE = 1.05
DRIFT_DAYS = 1.5
DRIFT = 1.10  # of the baseline's RMSE lately: something is wrong
RECOVERED = 1.00


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who serves from now on; `reason` is empty where nothing changes."""

    serving: str  # CHAMPION or BASELINE
    promote: bool = False  # the challenger becomes the champion
    reason: str = ""


def judge(scores: Scores, serving: str) -> Verdict:
    """Decide by the scores. Switching back and forth is damped by different thresholds."""
    lately = mean_ratio(scores.ratios(CHAMPION, BASELINE, "fast"))
    known = scores.days(CHAMPION, "fast") >= DRIFT_DAYS
    if scores.days(CHALLENGER) >= TRIAL_DAYS and scores.days(CHAMPION) >= TRIAL_DAYS:
        against = scores.ratios(CHALLENGER, CHAMPION)
        mean, worst = mean_ratio(against), max(against.values(), default=math.inf)
        if mean < BETTER and worst < NOWHERE_WORSE:
            return Verdict(CHAMPION, True, f"the challenger takes over: RMSE {mean:.2f} of before")
    if serving == CHAMPION and known and lately > DRIFT:
        return Verdict(
            BASELINE,
            reason=f"the network errs {lately:.2f} times the baseline: the baseline serves",
        )
    if serving == BASELINE and known and lately < RECOVERED:
        return Verdict(CHAMPION, reason=f"the network serves again: {lately:.2f} of the baseline")
    return Verdict(serving)


def mean_ratio(ratios: dict[str, float]) -> float:
    """Geometric mean; NaN where nothing is known."""
    values = [max(value, 1e-9) for value in ratios.values()]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else math.nan
