"""PV and wind inverters of the simulated plant."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import exp

from hil.plant_records import InverterState, Weather

STC_DEGC = 25.0
STC_W_M2 = 1000.0
NOCT_W_M2 = 800.0  # the conditions at which a module's NOCT is stated
NOCT_AMBIENT_DEGC = 20.0


@dataclass(frozen=True, slots=True)
class PvTruth:
    """A PV array with its inverter as it really is."""

    name: str
    rated_kw: float  # AC
    array_kw: float  # DC at standard test conditions
    module_efficiency_frac: float = 0.20
    soiling_frac: float = 0.03
    mismatch_frac: float = 0.02
    temperature_per_k: float = -0.0037
    noct_degc: float = 45.0
    inverter_efficiency_frac: float = 0.97
    response_s: float = 1.5  # time constant with which a limit takes hold
    reconnect_s: float = 60.0  # waits this long after the bus has come back
    throttles: bool = True  # gives way to a rising frequency; without it trips instead


@dataclass(frozen=True, slots=True)
class WindTruth:
    """A wind turbine with its inverter and, on an island, its dump load."""

    name: str
    rated_kw: float
    cut_in_m_s: float = 3.0
    rated_m_s: float = 11.0
    cut_out_m_s: float = 25.0
    response_s: float = 2.0
    reconnect_s: float = 60.0


def cell_degc(truth: PvTruth, plane_w_m2: float, ambient_degc: float) -> float:
    """Cell temperature by the nominal operating cell temperature of the module."""
    return ambient_degc + plane_w_m2 / NOCT_W_M2 * (truth.noct_degc - NOCT_AMBIENT_DEGC)


def pv_dc_kw(truth: PvTruth, plane_w_m2: float, ambient_degc: float) -> float:
    """DC power of the array (Qian 2024, eq. 1); soiling and mismatch stand for its 1 - tau."""
    area_m2 = truth.array_kw / truth.module_efficiency_frac
    warm = cell_degc(truth, plane_w_m2, ambient_degc) - STC_DEGC
    clean = (1.0 - truth.soiling_frac) * (1.0 - truth.mismatch_frac)
    return max(
        0.0,
        truth.module_efficiency_frac
        * area_m2
        * (plane_w_m2 / STC_W_M2)
        * clean
        * (1.0 + truth.temperature_per_k * warm),
    )


def pv_ac_kw(truth: PvTruth, plane_w_m2: float, ambient_degc: float) -> float:
    """AC power that the inverter could deliver, clipped at its rating."""
    dc_kw = pv_dc_kw(truth, plane_w_m2, ambient_degc)
    return min(truth.rated_kw, truth.inverter_efficiency_frac * dc_kw)


def wind_kw(truth: WindTruth, wind_m_s: float) -> float:
    """Power of the turbine (Qian 2024, eq. 2)."""
    if wind_m_s <= truth.cut_in_m_s or wind_m_s > truth.cut_out_m_s:
        return 0.0
    if wind_m_s >= truth.rated_m_s:
        return truth.rated_kw
    cut_in = truth.cut_in_m_s**3
    return truth.rated_kw * (wind_m_s**3 - cut_in) / (truth.rated_m_s**3 - cut_in)


class Inverter(ABC):
    """Connection, limit and energy counter that PV and wind inverters have in common."""

    __slots__ = (
        "_available_kw",
        "_efficiency_frac",
        "_energy_kwh",
        "_limit_kw",
        "_reconnect_s",
        "_response_s",
        "_temperature_degc",
        "_wait_s",
        "_wanted_kw",
        "name",
        "power_kw",
        "rated_kw",
    )

    def __init__(
        self,
        name: str,
        rated_kw: float,
        response_s: float,
        reconnect_s: float,
        efficiency_frac: float = 1.0,
    ) -> None:
        self.name = name
        self.rated_kw = rated_kw
        self.power_kw = 0.0  # set by the bus after `offer`; `settle` books it
        self._response_s = response_s
        self._reconnect_s = reconnect_s
        self._efficiency_frac = efficiency_frac
        self._available_kw = 0.0
        self._wanted_kw = rated_kw
        self._limit_kw = rated_kw
        self._wait_s = 0.0
        self._energy_kwh = 0.0
        self._temperature_degc = 0.0

    @abstractmethod
    def _potential_kw(self, weather: Weather) -> float:
        """AC power under this weather, kW; keeps the temperature as well."""

    def look(self, weather: Weather) -> float:
        """AC power that the weather allows, in kW."""
        self._available_kw = self._potential_kw(weather)
        return self._available_kw

    def offer(self, dt_s: float, wanted_limit_kw: float | None, connected: bool) -> float:
        """AC power after connection delay and limit, in kW."""
        if wanted_limit_kw is None:
            self._wanted_kw = self.rated_kw
        else:
            self._wanted_kw = min(self.rated_kw, max(0.0, wanted_limit_kw))
        if not connected:
            self.trip()
        elif self._wait_s > 0.0:
            self._wait_s = max(0.0, self._wait_s - dt_s)
            self.power_kw = 0.0
        else:
            closer = 1.0 - exp(-dt_s / self._response_s)
            self._limit_kw += closer * (self._wanted_kw - self._limit_kw)
            self.power_kw = min(self._available_kw, self._limit_kw)
        return self.power_kw

    def trip(self) -> None:
        """Disconnect; the reconnection delay starts over."""
        self.power_kw = 0.0
        self._limit_kw = 0.0
        self._wait_s = self._reconnect_s

    @property
    def curtailed_kw(self) -> float:
        """What the weather would have given and the bus did not get."""
        return self._available_kw - self.power_kw

    def settle(self, dt_s: float) -> InverterState:
        """Book the step."""
        self._energy_kwh += self.power_kw * dt_s / 3600.0
        return InverterState(
            self.name,
            self.power_kw,
            self._available_kw,
            self._wanted_kw,
            self.power_kw / self._efficiency_frac,
            self._energy_kwh,
            self._temperature_degc,
            self._word(),
        )

    def _word(self) -> str:
        if self._wait_s >= self._reconnect_s > 0.0:
            return "off"
        if self._wait_s > 0.0:
            return "starting"
        if self._available_kw <= 0.0:
            return "sleeping"
        return "throttled" if self.curtailed_kw > 0.01 * self.rated_kw else "running"


class PvInverter(Inverter):
    """A PV array behind a grid-following inverter."""

    __slots__ = ("_gain_kw", "_per_k", "_rise_k", "throttles")

    def __init__(self, truth: PvTruth) -> None:
        super().__init__(
            truth.name,
            truth.rated_kw,
            truth.response_s,
            truth.reconnect_s,
            truth.inverter_efficiency_frac,
        )
        self.throttles = truth.throttles
        # equation (1) with its constants multiplied out: this runs in every step
        reference_kw = pv_dc_kw(truth, STC_W_M2, STC_DEGC - cell_degc(truth, STC_W_M2, 0.0))
        self._gain_kw = reference_kw * truth.inverter_efficiency_frac / STC_W_M2
        self._rise_k = (truth.noct_degc - NOCT_AMBIENT_DEGC) / NOCT_W_M2
        self._per_k = truth.temperature_per_k

    def _potential_kw(self, weather: Weather) -> float:
        plane = weather.plane_w_m2
        self._temperature_degc = weather.ambient_degc + self._rise_k * plane
        power = self._gain_kw * plane * (1.0 + self._per_k * (self._temperature_degc - STC_DEGC))
        return min(self.rated_kw, max(0.0, power))


class WindInverter(Inverter):
    """A wind turbine behind a grid-following inverter."""

    __slots__ = ("_truth",)

    def __init__(self, truth: WindTruth) -> None:
        super().__init__(truth.name, truth.rated_kw, truth.response_s, truth.reconnect_s)
        self._truth = truth

    def _potential_kw(self, weather: Weather) -> float:
        self._temperature_degc = weather.ambient_degc
        return wind_kw(self._truth, weather.wind_m_s)
