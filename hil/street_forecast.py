"""What each house of a street expects of the next day: clock-time means, corrected by now."""

from collections.abc import Iterator

import numpy as np

from hil.street_result import Floats

DAYS = 28
LOAD_FADES_PER_H = 0.5
PV_FADES_PER_H = 0.85
PV_WINDOW_H = 3.0
MOST_PV_RATIO = 1.3
LEAST_WINDOW_KWH = 0.1
LEARNT_DAYS = 14  # of errors
LEAST_ERROR_KW = 0.1


class Forecaster:
    """Forecasts from what is known when a slot begins; series are (slots, houses)."""

    def __init__(self, load_kw: Floats, pv_kw: Floats, step_h: float) -> None:
        self._load_kw, self._pv_kw, self._step_h = load_kw, pv_kw, step_h
        self._day = round(24.0 / step_h)
        self._mean_load_kw = _means(load_kw, self._day)
        self._mean_pv_kw = _means(pv_kw, self._day)

    def net_kw(self, slot: int) -> Floats:
        """Load less PV of the coming day, (slots of a day, houses), from what was before `slot`."""
        ahead = np.minimum(np.arange(slot, slot + self._day), len(self._load_kw) - 1)
        hours = ((np.arange(self._day) + 1) * self._step_h)[:, None]
        load_off_kw = self._load_kw[slot - 1] - self._mean_load_kw[slot - 1]
        load_kw = self._mean_load_kw[ahead] + load_off_kw * LOAD_FADES_PER_H**hours
        window = slice(slot - round(PV_WINDOW_H / self._step_h), slot)
        pv_kwh = self._pv_kw[window].sum(axis=0) * self._step_h
        mean_kwh = self._mean_pv_kw[window].sum(axis=0) * self._step_h
        ratio = np.clip(pv_kwh / np.maximum(mean_kwh, 1e-9), 0.0, MOST_PV_RATIO)
        ratio = np.where(mean_kwh < LEAST_WINDOW_KWH, 1.0, ratio)
        pv_kw = self._mean_pv_kw[ahead] * (1.0 + (ratio - 1.0) * PV_FADES_PER_H**hours)
        return np.asarray(np.maximum(0.0, load_kw) - pv_kw)

    def error_kw(self, slot: int) -> Floats:
        """Error of the street's balance by how far ahead, (slots of a day,), seen before `slot`."""
        together = [np.square(error.sum(axis=1)) for error in self._errors_kw(slot)]
        return np.asarray(np.maximum(LEAST_ERROR_KW, np.sqrt(np.mean(together, axis=0))))

    def house_error_kw(self, slot: int) -> Floats:
        """Error of each house's next slot, (houses,), as seen before `slot`."""
        next_slot = [np.square(error[0]) for error in self._errors_kw(slot)]
        return np.asarray(np.sqrt(np.mean(next_slot, axis=0)))

    def _errors_kw(self, slot: int) -> Iterator[Floats]:
        """Errors of load less PV of earlier forecasts, (slots of a day, houses) each."""
        day, truth_kw = self._day, self._load_kw - self._pv_kw
        begun = range(max(2 * day, slot - LEARNT_DAYS * day), slot - day, max(1, day // 24))
        return (truth_kw[t : t + day] - self.net_kw(t) for t in begun)


def _means(series_kw: Floats, day: int) -> Floats:
    """For each slot the mean of the same clock time on up to DAYS days before it."""
    means = np.zeros_like(series_kw)
    for slot in range(day, len(series_kw)):
        means[slot] = series_kw[slot % day : slot : day][-DAYS:].mean(axis=0)
    return means
