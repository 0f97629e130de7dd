"""Ridge and LightGBM on the network's own inputs, trained on the same sets as the network."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.forecast_scores import HORIZONS_S, columns
from models import baselines, features
from models.history import Floats, History, Target
from models.training import ridge
from models.training.examples import Examples, collect

Rival = Callable[[features.Singles, int], Floats]  # flat inputs, step_s -> (B, horizons), own unit
TREES = {
    "objective": "l2",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "lambda_l2": 5.0,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.5,
    "bagging_freq": 1,
    "num_threads": 1,
    "seed": 0,
    "deterministic": True,
    "verbose": -1,
}
ROUNDS = 200


def train(data: list[Path], target: Target, trees: bool) -> dict[str, Rival]:
    """Rivals trained on some sets; LightGBM where it is installed and wanted."""
    examples = collect(data, target, seed=0)
    linear = ridge.fit(examples)

    def straight(flat: features.Singles, step_s: int) -> Floats:
        days = features.from_quarters(linear.centre(flat), 86_400 // step_s)
        return np.asarray(days[:, columns(step_s)])

    found: dict[str, Rival] = {"ridge": straight}
    if trees and importlib.util.find_spec("lightgbm") is not None:
        found["LightGBM"] = _boosted(examples)
    return found


def _boosted(examples: Examples) -> Rival:
    import lightgbm

    models: list[Any] = []
    for horizon_s in HORIZONS_S.values():
        lead = horizon_s // 900 - 1
        rows = examples.weight[:, lead] > 0
        told = lightgbm.Dataset(
            examples.flat[rows], examples.truth[rows, lead], weight=examples.weight[rows, lead]
        )
        models.append(lightgbm.train(TREES, told, num_boost_round=ROUNDS))

    def grown(flat: features.Singles, step_s: int) -> Floats:
        return np.stack([np.asarray(model.predict(flat)) for model in models], axis=1)

    return grown


def forecasts(
    rivals: dict[str, Rival], history: History, origins: NDArray[np.int64], target: Target
) -> dict[str, Floats]:
    """Each rival's centre at the horizons (B, 4), in the unit of the history, never negative."""
    at = columns(history.step_s)
    made = {name: np.empty((len(origins), len(at))) for name in rivals}
    for group in baselines.neighbours(origins):
        past = baselines.look_back(history, origins[group], target)
        given = features.inputs(past, target)
        for name, rival in rivals.items():
            centre = given.base[:, at] + given.unit[:, at] * rival(given.flat, history.step_s)
            dark = (past.top[:, at] <= 0) if target == "pv" else np.zeros_like(centre, dtype=bool)
            made[name][group] = np.where(dark, 0.0, np.maximum(centre, 0.0))
    return made
