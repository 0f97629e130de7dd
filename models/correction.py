"""What a site's own record says about the network's errors: a linear correction, kept in check.

Per lead, the error is regressed on the clues of `models/clues.py` and on the network's own flat
inputs in its unit. It is Bayesian least squares: every weight is expected to
be 0 within a narrow width, so that the record has to outweigh the network; old days fade. Practice
forecasts are corrected by what was known before they were made, and a correction that did not pay
there is scaled down (a plain refit per site can be far worse than none).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.history import DAY_S, Floats, Target

# Leads in quarter hours at which weights are fitted; in between linearly.
KNOTS = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96)
FLAT_STD = {"pv": 0.03, "load": 0.06}
RECORD_HALF_DAYS = 240.0
CHECK_HALF_DAYS = 56.0
CHECK_STD = 0.3  # of the share of the correction that is used, before the record speaks
LEAST_DAYS = 3.5
INDEPENDENT_S = 172_800.0  # a day's errors of a lead are worth so many seconds / lead, at most all
QUARTER_S = 900
FAINT_FRAC = 0.1  # of the day's largest unit
LEAST_NOISE_FRAC = 0.2  # of the uncorrected error: a fit on little data looks too good


def knot_leads(step_s: int) -> NDArray[np.intp]:
    """Indices of the leads on the grid at which weights are fitted."""
    ends = np.array(KNOTS) * QUARTER_S
    return np.unique(np.maximum(-(-ends // step_s), 1) - 1)


@dataclass(frozen=True, slots=True)
class Material:
    """What a correction of B forecasts at L leads is made of."""

    clues: Floats  # (E, B, L) in the unit of the history
    flat: Floats  # (B, F) the network's flat inputs, with a column of ones
    unit: Floats  # (B, L) the network's unit

    def rows(self, rows: slice | NDArray[np.bool_]) -> "Material":
        """What belongs to some of the forecasts."""
        return Material(self.clues[:, rows], self.flat[rows], self.unit[rows])

    def design(self, lead: int) -> Floats:
        """Regressors at one of the leads (B, E + F)."""
        flat = self.unit[:, lead, None] * self.flat
        return np.concatenate([self.clues[:, :, lead].T, flat], axis=1)


@dataclass(frozen=True, slots=True)
class Weights:
    """A fitted correction: one row of weights per knot."""

    rows: Floats  # (K, E + F)
    leads: NDArray[np.intp]  # (K,)

    def apply(self, material: Material) -> Floats:
        """Return the correction (B, D); a row does not depend on the rows beside it.

        `material` is at all leads of the day.
        """
        count, per_day = len(material.clues), material.unit.shape[1]
        between = [np.interp(np.arange(per_day), self.leads, k) for k in np.eye(len(self.leads))]
        spread = self.rows.T @ np.stack(between)
        made = material.unit * np.einsum("bf,fd->bd", material.flat, spread[count:])
        for clue, weight in zip(material.clues, spread[:count], strict=True):
            made += weight * clue
        return np.asarray(made)


class Correction:
    """Sums over a site's record, day by day; `weights` is what they teach.

    `widths` says how large the weight of each clue is expected to be, `flat` how many flat inputs
    there are, `every_s` how often practice forecasts are made.
    """

    def __init__(
        self, target: Target, widths: Floats, flat: int, step_s: int, every_s: int
    ) -> None:
        self.leads = knot_leads(step_s)
        size, knots = len(widths) + flat, len(self.leads)
        self._even = target == "load"
        self._std = np.r_[widths, np.full(flat, FLAT_STD[target])]
        ends = (self.leads + 1) * step_s
        self._a_day = DAY_S / every_s
        self._new_frac = np.clip(INDEPENDENT_S / ends, 1.0, self._a_day) / self._a_day
        self._gram, self._moment = np.zeros((knots, size, size)), np.zeros((knots, size))
        self._squares, self._count = np.zeros(knots), np.zeros(knots)
        self._rows = np.zeros((knots, size))
        self._check = np.zeros((4, knots))  # sums of error x correction, correction^2, left^2, 1

    @property
    def days(self) -> float:
        """Days' worth of practice in the record."""
        return float(self._count.max()) / self._a_day

    @property
    def share(self) -> Floats:
        """How much of the correction has deserved to be used (K,), 0..1."""
        both, made, left, count = self._check
        noise = left / np.maximum(count * self._new_frac, 1.0)
        prior = noise / CHECK_STD**2
        share = (both + prior) / np.maximum(made + prior, 1e-12)
        return np.where(count > 0, share.clip(0.0, 1.0), 1.0)

    @property
    def weights(self) -> Weights:
        """The correction as it stands."""
        return Weights(self.share[:, None] * self._rows, self.leads)

    def absorb(self, material: Material, error: Floats) -> Floats:
        """Take in one day's practice: errors (B, K) of the network's centre, NaN where unknown.

        Both at the knots. Returns what was left of the errors after the correction known before.
        """
        weights, shares = self._weight(material.unit), self.share
        left = np.full(error.shape, np.nan)
        for knot in range(len(self.leads)):  # one by one: all at once takes memory
            known = np.isfinite(error[:, knot])
            design, wanted = material.design(knot)[known], error[known, knot]
            made = design @ self._rows[knot]
            left[known, knot] = wanted - shares[knot] * made
            self._add(knot, design, wanted, weights[known, knot], made)
        return left

    def _add(self, knot: int, design: Floats, wanted: Floats, weight: Floats, made: Floats) -> None:
        """Let the sums of one lead fade by a day, and add the day's."""
        if self._rows[knot].any():
            sums = [float(weight @ s) for s in (wanted * made, made**2, (wanted - made) ** 2)]
            self._check[:, knot] *= 0.5 ** (1 / CHECK_HALF_DAYS)
            self._check[:, knot] += [*sums, len(wanted)]
        for record in (self._gram, self._moment, self._squares, self._count):
            record[knot] *= 0.5 ** (1 / RECORD_HALF_DAYS)
        turned = design.T * weight
        self._gram[knot] += turned @ design
        self._moment[knot] += turned @ wanted
        self._squares[knot] += weight @ wanted**2
        self._count[knot] += len(wanted)

    def _weight(self, unit: Floats) -> Floats:
        """Weights of squared errors (B, K): PV errs in proportion to the sun, which says less."""
        if self._even:
            return np.ones_like(unit)
        faintest = FAINT_FRAC * unit.max(axis=1, keepdims=True)
        return np.asarray(1.0 / np.maximum(np.maximum(unit, faintest), 1e-9))

    def refit(self) -> None:
        """Solve for the weights anew."""
        for knot, row in enumerate(self._rows):
            gram, moment, squares = self._gram[knot], self._moment[knot], self._squares[knot]
            if self._count[knot] < self._a_day * LEAST_DAYS:
                row[:] = 0.0
                continue
            left = max(squares - 2 * row @ moment + row @ gram @ row, LEAST_NOISE_FRAC * squares)
            noise = left / max(self._count[knot] * self._new_frac[knot], 1.0)
            faint = 1e-9 * np.trace(gram) + 1e-12
            row[:] = np.linalg.solve(gram + np.diag(noise / self._std**2 + faint), moment)
