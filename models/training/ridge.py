"""The linear start of the network: ridge regression from the flat vector to the answer's centre."""

from dataclasses import dataclass

import numpy as np

from models import features
from models.history import Floats
from models.training.examples import Examples

LEAST_SPREAD = 0.3  # of a feature: rarer changes would get weights that int8 cannot hold
PENALTY = 300.0  # in units of an average example's weight


@dataclass(frozen=True, slots=True)
class Linear:
    """answer = flat @ weights + bias; the flat vector as the network sees it."""

    weights: Floats  # (F, knots)
    bias: Floats  # (knots,)

    def centre(self, flat: features.Singles) -> Floats:
        """Centre at the 96 quarter hours, shape (N, 96)."""
        return np.asarray((flat @ self.weights + self.bias) @ features.INTERPOLATION.T)


def fit(examples: Examples, penalty: float = PENALTY) -> Linear:
    """Weighted least squares per lead with a penalty, brought to the knots."""
    mean = examples.flat.mean(axis=0, dtype=float)
    scale = np.maximum(examples.flat.std(axis=0, dtype=float), LEAST_SPREAD)
    design = np.ones((len(examples), examples.flat.shape[1] + 1))
    design[:, 1:] = (examples.flat - mean) / scale
    penalties = np.full(design.shape[1], penalty)
    penalties[0] = 0.0
    solution = np.empty((design.shape[1], features.QUARTERS))
    for lead in range(features.QUARTERS):
        weight = examples.weight[:, lead] / max(float(examples.weight[:, lead].mean()), 1e-9)
        weighted = design * weight[:, None]
        solution[:, lead] = np.linalg.solve(
            weighted.T @ design + np.diag(penalties), weighted.T @ examples.truth[:, lead]
        )
    knots = solution @ np.linalg.pinv(features.INTERPOLATION).T
    weights = knots[1:] / scale[:, None]
    return Linear(weights, knots[0] - mean @ weights)
