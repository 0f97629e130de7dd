"""Battery, BMS and inverter of the simulated plant.

The inverter loses standby + linear*P + quadratic*P^2/rated, whose share of P is the well-known
efficiency curve over the load fraction: poor at part load, best at about half load. The cells lose
by their resistance (current squared) and, charging, by the coulombic efficiency. The controller's
model has other equations and other numbers; that is the point.
"""

from dataclasses import dataclass
from math import exp, sqrt

from hil.plant_records import BatteryState


@dataclass(frozen=True, slots=True)
class BatteryTruth:
    """A battery with its inverter as it really is; powers without a note are AC."""

    name: str
    capacity_kwh: float
    charge_max_kw: float
    discharge_max_kw: float
    rated_kw: float  # of the inverter
    floor_soc_frac: float = 0.15  # the device's own setting while another source is there
    initial_soc_frac: float = 0.5
    standby_frac: float = 0.008  # of the rating, while switched on
    loss_linear_frac: float = 0.012
    loss_quadratic_frac: float = 0.020  # at rated power
    ohmic_frac: float = 0.02  # of the cells' power at rated power and nominal voltage
    coulombic_frac: float = 0.985
    nominal_v: float = 51.2
    taper_full_soc_frac: float = 0.90  # the BMS reduces the charge limit above
    taper_empty_soc_frac: float = 0.10  # and the discharge limit below
    empty_soc_frac: float = 0.03  # the BMS forbids discharge here
    restart_soc_frac: float = 0.06  # and allows it again here
    response_s: float = 0.5
    temperature_degc: float = 20.0

    def __post_init__(self) -> None:
        """Refuse what would make the equations meaningless."""
        if not self.empty_soc_frac < min(self.restart_soc_frac, self.taper_empty_soc_frac):
            raise ValueError("empty_soc_frac: has to be below restart and taper_empty")
        if not self.taper_full_soc_frac < 1.0:
            raise ValueError("taper_full_soc_frac: has to be below 1")
        if self.ohmic_frac > 0.1 or self.loss_linear_frac + self.loss_quadratic_frac > 0.3:
            raise ValueError("ohmic_frac, loss_*_frac: more than 10 % and 30 % are not a battery")


class Battery:
    """State of charge and limits; the bus says the AC power."""

    __slots__ = (
        "_charge_max_dc_kw",
        "_charged_kwh",
        "_discharge_max_dc_kw",
        "_discharged_kwh",
        "_empty",
        "_linear",
        "_loss_kwh",
        "_ohmic_per_kw",
        "_power_kw",
        "_quadratic_per_kw",
        "_standby_kw",
        "_truth",
        "highest_kw",
        "lowest_kw",
        "stored_kwh",
    )

    def __init__(self, truth: BatteryTruth) -> None:
        self._truth = truth
        self._standby_kw = truth.standby_frac * truth.rated_kw
        self._linear = truth.loss_linear_frac
        self._quadratic_per_kw = truth.loss_quadratic_frac / truth.rated_kw
        self._ohmic_per_kw = truth.ohmic_frac / truth.rated_kw
        # the BMS limits leave the inverter its full AC rating
        self._discharge_max_dc_kw = self._dc_kw(truth.discharge_max_kw)
        self._charge_max_dc_kw = -self._dc_kw(-truth.charge_max_kw)
        self.stored_kwh = truth.initial_soc_frac * truth.capacity_kwh
        self._empty = truth.initial_soc_frac <= truth.empty_soc_frac
        self._power_kw = 0.0
        self._charged_kwh = 0.0
        self._discharged_kwh = 0.0
        self._loss_kwh = 0.0
        self.lowest_kw = 0.0  # AC limits of this step, see `look`
        self.highest_kw = 0.0

    @property
    def soc_frac(self) -> float:
        """True state of charge, by energy."""
        return self.stored_kwh / self._truth.capacity_kwh

    @property
    def empty(self) -> bool:
        """The BMS forbids discharge (until it has been charged a little)."""
        return self._empty

    @property
    def loss_kwh(self) -> float:
        """Losses so far of inverter and cells."""
        return self._loss_kwh

    @property
    def rated_kw(self) -> float:
        """Rating of the inverter."""
        return self._truth.rated_kw

    @property
    def standby_kw(self) -> float:
        """What the inverter takes when switched on and idle."""
        return self._standby_kw

    def can_wait(self, dt_s: float) -> bool:
        """There is enough for the inverter's own standby during a step."""
        return self.stored_kwh > 2.0 * self._standby_kw * dt_s / 3600.0

    def look(self, dt_s: float) -> None:
        """Find the AC power limits of a step from the BMS limits and the energy that is there."""
        charge_kw, discharge_kw = self.limits_dc_kw()
        step_h = dt_s / 3600.0
        room_kw = (self._truth.capacity_kwh - self.stored_kwh) / self._truth.coulombic_frac / step_h
        held_kw = self.stored_kwh / step_h
        resistance = self._resistance_per_kw()
        charge_kw = min(charge_kw, room_kw + resistance * room_kw * room_kw)
        if held_kw < 0.5 / resistance:
            discharge_kw = min(discharge_kw, held_kw - resistance * held_kw * held_kw)
        self.lowest_kw = self._ac_kw(-charge_kw)
        self.highest_kw = self._ac_kw(discharge_kw)

    def limits_dc_kw(self) -> tuple[float, float]:
        """The BMS's live charge and discharge limits at the battery terminals, both >= 0."""
        truth, soc = self._truth, self.soc_frac
        charge = min(1.0, max(0.0, 1.0 - soc) / (1.0 - truth.taper_full_soc_frac))
        span = truth.taper_empty_soc_frac - truth.empty_soc_frac
        discharge = 0.0
        if not self._empty:  # not to zero: an ever smaller current would never end
            discharge = min(1.0, max(0.1, (soc - truth.empty_soc_frac) / span))
        return charge * self._charge_max_dc_kw, discharge * self._discharge_max_dc_kw

    def follow(self, dt_s: float, target_kw: float) -> float:
        """AC power on the way to a target, inside the limits of the step."""
        if target_kw <= 0.0 and self.soc_frac < self._truth.floor_soc_frac + 0.005:
            # idling must not empty it: the standby power then comes from the AC side
            target_kw = min(target_kw, -self._standby_kw)
        power_kw = self._power_kw
        power_kw += (1.0 - exp(-dt_s / self._truth.response_s)) * (target_kw - power_kw)
        return min(self.highest_kw, max(self.lowest_kw, power_kw))

    def autonomous_kw(self, deficit_kw: float) -> float:
        """What the inverter does on its own: cover a deficit to its floor, or take a surplus."""
        if deficit_kw > 0.0 and self.soc_frac <= self._truth.floor_soc_frac:
            return 0.0
        return deficit_kw

    def settle(
        self, dt_s: float, power_kw: float, on: bool, setpoint_kw: float | None, forming: bool
    ) -> BatteryState:
        """Book a step at constant AC power; switched off, the power has to be 0."""
        step_h = dt_s / 3600.0
        dc_kw = self._dc_kw(power_kw) if on else 0.0
        inner_kw = self._inner_kw(dc_kw)
        ohmic_kw = inner_kw - dc_kw
        coulombic_kw = max(0.0, -inner_kw) * (1.0 - self._truth.coulombic_frac)
        loss_kw = dc_kw - power_kw + ohmic_kw + coulombic_kw
        self.stored_kwh -= (inner_kw + coulombic_kw) * step_h
        self._loss_kwh += loss_kw * step_h
        self._charged_kwh += max(0.0, -power_kw) * step_h
        self._discharged_kwh += max(0.0, power_kw) * step_h
        self._power_kw = power_kw
        self._latch()
        return self._state(power_kw, dc_kw, inner_kw, loss_kw, on, setpoint_kw, forming)

    def _latch(self) -> None:
        soc = self.soc_frac
        if soc <= self._truth.empty_soc_frac:
            self._empty = True
        elif soc >= self._truth.restart_soc_frac:
            self._empty = False

    def _state(
        self,
        power_kw: float,
        dc_kw: float,
        inner_kw: float,
        loss_kw: float,
        on: bool,
        setpoint_kw: float | None,
        forming: bool,
    ) -> BatteryState:
        charge_kw, discharge_kw = self.limits_dc_kw() if on else (0.0, 0.0)
        open_v = self._open_v()
        current_a = 1000.0 * inner_kw / open_v
        voltage_v = 1000.0 * dc_kw / current_a if current_a else open_v
        idle = abs(power_kw) < 0.005 * self._truth.rated_kw
        return BatteryState(
            power_kw,
            dc_kw,
            self.soc_frac,
            self.stored_kwh,
            voltage_v,
            current_a,
            charge_kw,
            discharge_kw,
            setpoint_kw,
            forming,
            loss_kw,
            self._truth.temperature_degc,
            self._charged_kwh,
            self._discharged_kwh,
            "off" if not on else "standby" if idle else "running",
        )

    def _dc_kw(self, ac_kw: float) -> float:
        size = abs(ac_kw)
        loss = self._standby_kw + self._linear * size + self._quadratic_per_kw * size * size
        return ac_kw + loss

    def _ac_kw(self, dc_kw: float) -> float:
        """Inverse of `_dc_kw`: whatever its sign, the smaller root of the loss parabola."""
        a = self._quadratic_per_kw
        above = dc_kw - self._standby_kw
        if above >= 0.0:
            b = 1.0 + self._linear
            return 2.0 * above / (b + sqrt(b * b + 4.0 * a * above))
        b = 1.0 - self._linear
        return 2.0 * above / (b + sqrt(max(0.0, b * b + 4.0 * a * above)))

    def _open_v(self) -> float:
        """Open-circuit voltage: a flat middle with knees, as of LFP cells."""
        soc = self.soc_frac
        knee = 0.03 * max(0.0, soc - 0.9) / 0.1 - 0.08 * max(0.0, 0.1 - soc) / 0.1
        return self._truth.nominal_v * (1.0 + 0.04 * (soc - 0.5) + knee)

    def _resistance_per_kw(self) -> float:
        relative = self._open_v() / self._truth.nominal_v
        return self._ohmic_per_kw / (relative * relative)

    def _inner_kw(self, dc_kw: float) -> float:
        """Power out of the cells before their resistance: dc = inner - resistance * inner^2."""
        return 2.0 * dc_kw / (1.0 + sqrt(1.0 - 4.0 * self._resistance_per_kw() * dc_kw))
