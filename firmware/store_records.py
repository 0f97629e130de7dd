"""What the store keeps, and how it is made from cycles: means per minute, energy, checkpoint."""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import isfinite

from control.records import InverterMeasurement, Observed, Sample, Severity
from control.site import SiteParameters
from control.state import GeneratorState, Mode, State
from firmware.codec import decode, encode
from firmware.minutes import MINUTE_S

POWERS = ("pv_kw", "wind_kw", "battery_kw", "generator_kw", "grid_kw", "load_kw")
COLUMNS = (
    *POWERS,
    "soc_frac",
    "irradiance_w_m2",
    "temperature_degc",
    "price_buy_per_kwh",
    "price_sell_per_kwh",
    "curtailed_frac",
)
COUNTERS = {  # name -> the power it integrates and the sign that counts
    "imported": ("grid_kw", 1),
    "exported": ("grid_kw", -1),
    "pv": ("pv_kw", 1),
    "wind": ("wind_kw", 1),
    "generator": ("generator_kw", 1),
    "discharged": ("battery_kw", 1),
    "charged": ("battery_kw", -1),
    "load": ("load_kw", 1),
}
REGISTERED = ("imported", "exported", "pv", "wind")  # counters that devices keep as well
S_PER_H = 3600.0
GAP_CYCLES = 5  # a longer time without cycles is unknown, and counts for nothing
CURTAILING_FRAC = 0.9  # of its limit: an inverter that gives so much is held by it
MISSED_MARGIN = 1.2  # over ratings, for what registers may say was missed
MISSED_MARGIN_KWH = 0.01
MAX_MINUTES = 1440  # that wait for a disk
MAX_EVENTS = 1000

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class StoredMinute:
    """Means over one UTC minute in the order of COLUMNS; None where half or more is unknown."""

    start_utc_s: int
    values: Values
    mode: Mode  # at the end of the minute


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and when it happened."""

    utc_s: float
    severity: Severity
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class SetKept:
    """One generator's sequence, as it outlives the process."""

    generator: str  # its name
    run: bool = False
    since_s: float | None = None  # None: the set has not been looked at
    carried: bool = False
    attempts: int = 0
    locked: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What outlives the process. Times `_s` are monotonic, of the machine's boot `boot`.

    Of the generator's state what later states can do without is left out.
    """

    boot: str
    t_s: float  # of the cycle it was taken in
    utc_s: float
    mode: Mode
    mode_reason: str
    emergency_latched: bool
    generator: str  # its name
    run: bool = False
    since_s: float | None = None  # None: the set has not been looked at
    carried: bool = False
    attempts: int = 0
    locked: str = ""
    low_soc: bool = False
    registers_kwh: Values = ()  # what the devices' own meters said, in the order of REGISTERED
    sets: tuple[SetKept, ...] = ()  # each by itself, where there are several


_CHECKPOINT = {field.name: field.default for field in fields(Checkpoint)}
_LATER = ("registers_kwh", "sets")  # not in checkpoints of older versions


def checkpoint_of(
    state: State, sample: Sample, boot: str, generator_name: str, sets: Sequence[str] = ()
) -> Checkpoint:
    """The checkpoint of one cycle; `sets` names the generators where there are several."""
    generator = state.generator
    return Checkpoint(
        boot,
        sample.t_s,
        sample.utc_s,
        state.mode,
        state.mode_reason,
        state.emergency_latched,
        generator_name,
        generator.run,
        generator.since_s if isfinite(generator.since_s) else None,
        generator.carried,
        generator.attempts,
        generator.locked,
        generator.low_soc,
        registers_kwh(sample),
        tuple(_kept(name, each) for name, each in zip(sets, state.generators, strict=False)),
    )


def _kept(name: str, own: GeneratorState) -> SetKept:
    since_s = own.since_s if isfinite(own.since_s) else None
    return SetKept(name, own.run, since_s, own.carried, own.attempts, own.locked)


def checkpoint_to_text(checkpoint: Checkpoint) -> str:
    """As JSON, by names: other versions of the program have other fields."""
    return json.dumps(dict(zip(_CHECKPOINT, encode(checkpoint), strict=True)), allow_nan=False)


def checkpoint_from_text(text: str) -> Checkpoint:
    """Raises ValueError for what is none; unknown names are ignored."""
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise ValueError("not a checkpoint")
    plain = {name: _CHECKPOINT[name] for name in _LATER} | plain
    if any(name not in plain for name in _CHECKPOINT):
        raise ValueError("not a checkpoint")
    return decode(Checkpoint, [plain[name] for name in _CHECKPOINT])


def cycle_values(state: State, sample: Sample, pv_rated_kw: float) -> Values:
    """One cycle's values in the order of COLUMNS."""
    plant, limit_kw = state.estimate, state.pv_limit_kw
    held = plant.pv_throttled  # by its limit, or on an island by the frequency
    if limit_kw is not None and plant.pv_kw is not None:
        held |= limit_kw < pv_rated_kw and plant.pv_kw >= CURTAILING_FRAC * limit_kw
    return (
        plant.pv_kw,
        plant.wind_kw,
        plant.battery_kw,
        plant.generator_kw,
        plant.grid_kw,
        plant.load_kw,
        plant.soc_frac,
        sample.irradiance_w_m2.good if sample.irradiance_w_m2 else None,
        sample.temperature_degc,
        sample.price_buy_per_kwh,
        sample.price_sell_per_kwh,
        float(held),
    )


def most_kw(site: SiteParameters) -> dict[str, float]:
    """The most power that each of REGISTERED can have counted."""
    grid, wind_kw = site.grid, sum(wind.rated_kw for wind in site.wind)
    limits_kw = (grid.import_max_kw, grid.export_max_kw) if grid else (0.0, 0.0)
    return dict(zip(REGISTERED, (*limits_kw, site.pv_rated_kw, wind_kw), strict=True))


def registers_kwh(sample: Sample) -> Values:
    """What the devices' own meters count, in the order of REGISTERED; None where one is silent."""
    grid = sample.grid.good if sample.grid else None
    return (
        grid.import_kwh if grid else None,
        grid.export_kwh if grid else None,
        _together_kwh(sample.pv),
        _together_kwh(sample.wind),
    )


def _together_kwh(inverters: tuple[Observed[InverterMeasurement], ...]) -> float | None:
    read = [seen.good.energy_kwh if seen.good else None for seen in inverters]
    known = [kwh for kwh in read if kwh is not None]
    return sum(known) if known and len(known) == len(read) else None


class MinuteMeans:
    """Collects cycles into minutes. A wall clock that steps back starts afresh."""

    def __init__(self) -> None:
        """Start with no minute."""
        self._start_utc_s: int | None = None
        self._mode = Mode.STARTING
        self._clear()

    def add(self, utc_s: float, values: Values, mode: Mode) -> StoredMinute | None:
        """Add one cycle; return the minute before when this one is the next's first."""
        start_utc_s = int(utc_s // MINUTE_S) * MINUTE_S
        finished = None
        if start_utc_s != self._start_utc_s:
            if self._start_utc_s is not None and start_utc_s > self._start_utc_s:
                means = tuple(map(self._mean, range(len(COLUMNS))))
                finished = StoredMinute(self._start_utc_s, means, self._mode)
            self._start_utc_s = start_utc_s
            self._clear()
        self._mode = mode
        self._cycles += 1
        for index, value in enumerate(values):
            if value is not None:
                self._sums[index] += value
                self._counts[index] += 1
        return finished

    def _clear(self) -> None:
        self._cycles = 0
        self._sums = [0.0] * len(COLUMNS)
        self._counts = [0] * len(COLUMNS)

    def _mean(self, index: int) -> float | None:
        if 2 * self._counts[index] <= self._cycles:
            return None
        return self._sums[index] / self._counts[index]


class EnergyMeter:
    """Integrates the cycles' powers; what is unknown counts for nothing.

    What passed since the checkpoint of the process before is counted once, as far as devices keep
    registers of it that go on from there.
    """

    def __init__(
        self,
        period_s: float,
        rated_kw: Mapping[str, float] | None = None,
        before: Checkpoint | None = None,
        boot: str = "",
        counted_kwh: Mapping[str, float] | None = None,
    ) -> None:
        """`period_s` of the loop; most power per counter, by which registers are believed.

        `counted_kwh`: what has been counted already since the checkpoint.
        """
        self._gap_s = GAP_CYCLES * period_s
        self._t_s: float | None = None
        self._rated_kw = rated_kw or {}
        self._before, self._boot = before, boot
        registers = zip(REGISTERED, before.registers_kwh if before else (), strict=False)
        self._registers = {name: kwh for name, kwh in registers if kwh is not None}
        counted = counted_kwh or {}  # until the register is seen again
        self._counted = {name: counted.get(name, 0.0) for name in REGISTERED}

    def add(self, sample: Sample, values: Values) -> dict[str, float]:
        """kWh per counter since the cycle before, at this cycle's powers."""
        before_s, self._t_s = self._t_s, sample.t_s
        found: dict[str, float] = {}
        if before_s is not None and 0.0 < sample.t_s - before_s <= self._gap_s:
            found = _integrated(values, (sample.t_s - before_s) / S_PER_H)
        if self._before is None or not self._registers:
            return found
        for name, kwh in self._missed(self._before, sample, found).items():
            found[name] = found.get(name, 0.0) + kwh
        return found

    def _missed(
        self, before: Checkpoint, sample: Sample, found: Mapping[str, float]
    ) -> dict[str, float]:
        """What registers say beyond what has been counted, once for each that is seen again."""
        booted_s = before.t_s if before.boot == self._boot else 0.0
        away_h = max(sample.utc_s - before.utc_s, sample.t_s - booted_s) / S_PER_H
        missed = {}
        for name, now_kwh in zip(REGISTERED, registers_kwh(sample), strict=True):
            self._counted[name] += found.get(name, 0.0)
            if name not in self._registers or now_kwh is None:
                continue
            passed_kwh = now_kwh - self._registers.pop(name)
            most_kwh = MISSED_MARGIN * self._rated_kw.get(name, 0.0) * away_h + MISSED_MARGIN_KWH
            if self._counted[name] < passed_kwh <= most_kwh:  # else another meter, or reset
                missed[name] = passed_kwh - self._counted[name]
        return missed


def _integrated(values: Values, hours: float) -> dict[str, float]:
    found = {}
    for name, (column, sign) in COUNTERS.items():
        power_kw = values[POWERS.index(column)]
        if power_kw is not None and sign * power_kw > 0:
            found[name] = sign * power_kw * hours
    return found


@dataclass(slots=True)
class Pending:
    """What waits for the disk; bounded, the oldest goes first."""

    minutes: deque[StoredMinute] = field(default_factory=lambda: deque(maxlen=MAX_MINUTES))
    events: deque[StoredEvent] = field(default_factory=lambda: deque(maxlen=MAX_EVENTS))
    kwh: dict[str, float] = field(default_factory=dict)
    checkpoint: Checkpoint | None = None

    def count(self, kwh: Mapping[str, float]) -> None:
        """Add energy to the counters."""
        for name, more_kwh in kwh.items():
            self.kwh[name] = self.kwh.get(name, 0.0) + more_kwh

    def take(self, newer: "Pending") -> None:
        """Add what came later."""
        self.minutes.extend(newer.minutes)
        self.events.extend(newer.events)
        self.count(newer.kwh)
        self.checkpoint = newer.checkpoint or self.checkpoint
