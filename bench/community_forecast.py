"""What each house of a street expects of its day: clock-time means, corrected by what is now."""

from collections.abc import Iterator

import numpy as np

from bench.community_sets import Community, Floats

DAYS = 28
LOAD_HALVES_PER_H = 0.5
PV_FADES_PER_H = 0.85
PV_WINDOW_H = 3.0
MOST_PV_RATIO = 1.3
LEAST_WINDOW_KWH = 0.1
LEARNT_DAYS = 14  # of errors
LEAST_ERROR_KW = 0.1


class Forecaster:
    """Forecasts of the contract for communities, from what is known when a slot begins."""

    def __init__(self, community: Community) -> None:
        self._community = community
        self._mean_load_kw = _means(community.load_kw, community.slots_per_day)
        self._mean_pv_kw = _means(community.pv_kw, community.slots_per_day)

    def net_kw(self, slot: int) -> Floats:
        """Load less PV of the coming day, (slots, houses), from what was before `slot`."""
        community = self._community
        day, last = community.slots_per_day, slot - 1
        ahead = np.minimum(np.arange(slot, slot + day), len(community.load_kw) - 1)
        hours = ((np.arange(day) + 1) * community.step_h)[:, None]
        load_off_kw = community.load_kw[last] - self._mean_load_kw[last]
        load_kw = self._mean_load_kw[ahead] + load_off_kw * LOAD_HALVES_PER_H**hours
        window = round(PV_WINDOW_H / community.step_h)
        pv_kwh = community.pv_kw[slot - window : slot].sum(axis=0) * community.step_h
        mean_kwh = self._mean_pv_kw[slot - window : slot].sum(axis=0) * community.step_h
        ratio = np.clip(pv_kwh / np.maximum(mean_kwh, 1e-9), 0.0, MOST_PV_RATIO)
        ratio = np.where(mean_kwh < LEAST_WINDOW_KWH, 1.0, ratio)
        pv_kw = self._mean_pv_kw[ahead] * (1.0 + (ratio - 1.0) * PV_FADES_PER_H**hours)
        return np.asarray(np.maximum(0.0, load_kw) - pv_kw)

    def error_kw(self, slot: int) -> Floats:
        """Error of the community's balance by how far ahead, (slots,), as seen before `slot`."""
        together = [np.square(error.sum(axis=1)) for error in self._errors_kw(slot)]
        return np.asarray(np.maximum(LEAST_ERROR_KW, np.sqrt(np.mean(together, axis=0))))

    def house_error_kw(self, slot: int) -> Floats:
        """Error of each house's next slot, (houses,), as seen before `slot`."""
        next_slot = [np.square(error[0]) for error in self._errors_kw(slot)]
        return np.asarray(np.sqrt(np.mean(next_slot, axis=0)))

    def _errors_kw(self, slot: int) -> Iterator[Floats]:
        """Errors of load less PV of earlier forecasts, (slots, houses) each."""
        community, day = self._community, self._community.slots_per_day
        truth_kw = community.load_kw - community.pv_kw
        begun = range(max(2 * day, slot - LEARNT_DAYS * day), slot - day, max(1, day // 24))
        return (truth_kw[t : t + day] - self.net_kw(t) for t in begun)


def _means(series_kw: Floats, day: int) -> Floats:
    """For each slot the mean of the same clock time on up to 28 days before it."""
    means = np.zeros_like(series_kw)
    for slot in range(day, len(series_kw)):
        means[slot] = series_kw[slot % day : slot : day][-DAYS:].mean(axis=0)
    return means
