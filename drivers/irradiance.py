"""An irradiance sensor behind the converter: calibration, and faults told apart.

Every bad reading's detail starts with one word (`Fault`), then the numbers. What each rests on:

bus        no device, an I/O error, a frame out of step, or zeros on the reference channel too.
reference  the reference channel is off by more than 1 %.
open       the input is at the converter's upper rail. A broken wire gets there by a pull-up that
           the installer adds (1 MOhm or more to the supply); without one it floats.
short      0 V (at most one code). A 0 to 1.5 V sensor gives that at night too, when it is the
           truth; so it counts only when even the darkest overcast (2 % of clear sky) would give
           three codes. A sensor with a live zero gives 0 V never. (A zero that is off by more
           than 2 W/m2 belongs into the calibration.)
range      below -20 or above 1700 W/m2. Up to 1500 and more is real at the edge of a cloud.
night      more than 20 W/m2 with the sun lower than -6 deg.
stuck      not one conversion differed for longer than a quantised sensor can stand still.
bright     for a minute, far more than a clear sky gives to a surface in any position: 1.5 times
           what one facing the sun gets, and 100 W/m2. (The plane of the sensor is not known.)
dark       for 20 minutes below 1 % of clear sky. Covered, snowed in, or the sun's position (clock,
           site) is wrong: no overcast is as dark for so long. Between 1 % and a normal overcast
           the sensor alone cannot know; PV power can.

Without a wall clock nothing is known of the sun, and short, night, stuck, bright and dark rest.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from control.records import Observed, Quality
from control.sun import clear_sky_ghi_w_m2, solar_position
from drivers.adc import Adc, AdcError, Burst

RANGE_W_M2 = (-20.0, 1700.0)
DARKEST_FRAC = 0.02  # of clear sky, under the thickest clouds
REOPEN_S = 2.0
SUN_HOLDS_S = 10.0  # it moves 0.04 deg meanwhile
EARTH_RAD_PER_S = 2 * math.pi / 86_164.0


class Fault(StrEnum):
    """The first word of a bad reading's detail."""

    BUS = "bus"
    REFERENCE = "reference"
    OPEN = "open"
    SHORT = "short"
    RANGE = "range"
    NIGHT = "night"
    STUCK = "stuck"
    BRIGHT = "bright"
    DARK = "dark"


@dataclass(frozen=True, slots=True)
class Calibration:
    """G = gain * (U - offset) * w_m2_per_v, from the sensor's certificate."""

    w_m2_per_v: float
    gain: float = 1.0
    offset_v: float = 0.0

    def irradiance_w_m2(self, volts: float) -> float:
        """Irradiance for a voltage, unchecked."""
        return self.gain * (volts - self.offset_v) * self.w_m2_per_v


@dataclass(frozen=True, slots=True)
class _Sun:
    """NaN throughout without a wall clock: every comparison is then false."""

    elevation_deg: float = math.nan
    clear_w_m2: float = math.nan  # on the horizontal
    facing_w_m2: float = math.nan  # on a surface facing the sun


class _Lasting:
    """For how long a condition has held without interruption."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def seconds(self, holds: bool, now_s: float) -> float:
        if not holds:
            self._since_s = None
            return 0.0
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s


class _Stillness:
    """Tells a frozen converter from a quiet one.

    A noisy input (three codes or more within most bursts) cannot fall silent: 300 s are enough. A
    quiet one may well: near the turning point of its daily course G * cos(w * t) a sensor stays
    within one code for 2 * sqrt(2 * code / G) / w, tens of minutes at noon. 1.5 times that (at
    least 300 s) leaves room for the course of a tilted sensor, which is flatter.
    """

    def __init__(self) -> None:
        self._code = -1
        self._still = _Lasting()
        self._noisy_frac = 0.0  # of the recent bursts, about fifty, before it fell silent
        self._stuck = False

    def stuck_for_s(self, burst: Burst, g_lsb: float, is_day: bool, now_s: float) -> float:
        """Seconds of impossible standstill, 0 while all is well; `g_lsb` is G in codes."""
        silent = burst.identical and burst.codes[0] == self._code
        if not silent:
            self._noisy_frac += 0.02 * ((burst.noise >= 2) - self._noisy_frac)
        self._code = burst.codes[0]
        still_s = self._still.seconds(silent and (is_day or self._stuck), now_s)
        self._stuck = still_s > self._longest_s(g_lsb)
        return still_s if self._stuck else 0.0

    def _longest_s(self, g_lsb: float) -> float:
        if self._noisy_frac > 0.2:
            return 300.0
        if g_lsb <= 0.0:
            return math.inf
        return max(300.0, 1.5 * 2.0 * math.sqrt(2.0 / g_lsb) / EARTH_RAD_PER_S)


class IrradianceSensor:
    """One sensor on one channel at one place."""

    def __init__(
        self,
        adc: Adc,
        channel: int,
        calibration: Calibration,
        latitude_deg: float,
        longitude_deg: float,
        reference: tuple[int, float] | None = None,
    ) -> None:
        """`reference`: a channel wired to a known voltage, and that voltage."""
        self._adc = adc
        self._channel = channel
        self._calibration = calibration
        self._place = latitude_deg, longitude_deg
        self._reference = reference
        self._lsb_w_m2 = calibration.gain * adc.lsb_v * calibration.w_m2_per_v
        self._live_zero = calibration.irradiance_w_m2(0.0) < RANGE_W_M2[0]
        self._sun = _Sun()
        self._sun_utc_s = -math.inf
        self._bus_fault: Observed[float] = Observed()
        self._reopen_at_s = -math.inf
        self._forget()

    def read(self, now_s: float, utc_s: float | None) -> Observed[float]:
        """Irradiance in W/m2; `now_s` is monotonic, `utc_s` None while the wall clock is not set.

        A bad reading carries its number where there is one; small negative ones are 0.
        """
        if now_s < self._reopen_at_s:
            return self._bus_fault
        try:
            off = self._adc.check_reference(*self._reference) if self._reference else ""
            burst = self._adc.read(self._channel)
        except AdcError as error:
            self._adc.close()
            self._forget()
            self._reopen_at_s = now_s + REOPEN_S
            self._bus_fault = Observed(None, detail=str(error))
            return self._bus_fault
        self._locate_sun(utc_s)
        g = self._calibration.irradiance_w_m2(burst.median * self._adc.lsb_v)
        wrong = self._wrong(burst, g, now_s)
        if detail := off or wrong:
            return Observed(g, 0.0, Quality.BAD, detail)
        return Observed(max(g, 0.0), 0.0, Quality.GOOD, "")

    def _wrong(self, burst: Burst, g: float, now_s: float) -> str:
        """What is wrong, the most certain first; all timers run whatever is found."""
        stuck_s = self._stillness.stuck_for_s(
            burst, g / self._lsb_w_m2, self._sun.elevation_deg > 5.0, now_s
        )
        implausible = self._implausible(g, now_s)
        at_input = self._at_input(burst, g)
        if at_input:
            return at_input
        if stuck_s:
            return f"{Fault.STUCK}: {burst.codes[0]} counts without a change for {stuck_s:.0f} s"
        return implausible

    def _at_input(self, burst: Burst, g: float) -> str:
        """Faults that one burst shows."""
        top = self._adc.converter.full_scale
        if burst.codes[0] == top or (burst.median >= 0.98 * top and g > RANGE_W_M2[1]):
            return f"{Fault.OPEN}: input at the rail, {burst.median:.0f} of {top} counts"
        must_show = DARKEST_FRAC * self._sun.clear_w_m2 >= 3 * self._lsb_w_m2
        if burst.codes[-1] <= 1 and (self._live_zero or must_show):
            return f"{Fault.SHORT}: {burst.median:.0f} counts, sun {self._height()}"
        if not RANGE_W_M2[0] <= g <= RANGE_W_M2[1]:
            return f"{Fault.RANGE}: {g:.0f} W/m2"
        return ""

    def _implausible(self, g: float, now_s: float) -> str:
        """Faults that the sun shows."""
        sun = self._sun
        bright_s = self._bright.seconds(g > 1.5 * sun.facing_w_m2 + 100.0, now_s)
        # at 200 W/m2 and more an offset of a few W/m2 is not what decides
        dark = sun.clear_w_m2 > max(200.0, 100 * self._lsb_w_m2) and g < 0.01 * sun.clear_w_m2
        dark_s = self._dark.seconds(dark, now_s)
        if sun.elevation_deg < -6.0 and g > 20.0:
            return f"{Fault.NIGHT}: {g:.0f} W/m2, sun {self._height()}"
        if bright_s > 60.0:
            return f"{Fault.BRIGHT}: {g:.0f} W/m2 for {bright_s:.0f} s, sun {self._height()}"
        if dark_s > 1200.0:
            return f"{Fault.DARK}: {g:.0f} W/m2 for {dark_s:.0f} s, sun {self._height()}"
        return ""

    def _height(self) -> str:
        return f"at {self._sun.elevation_deg:.1f} deg"

    def _forget(self) -> None:
        """Nothing is known of the time in which nothing was read."""
        self._stillness = _Stillness()
        self._bright = _Lasting()
        self._dark = _Lasting()

    def _locate_sun(self, utc_s: float | None) -> None:
        if utc_s is None:
            self._sun, self._sun_utc_s = _Sun(), -math.inf
        elif not abs(utc_s - self._sun_utc_s) < SUN_HOLDS_S:
            elevation = float(solar_position(utc_s, *self._place)[0])
            clear = float(clear_sky_ghi_w_m2(elevation))
            facing = clear / max(math.sin(math.radians(elevation)), 1e-9)
            self._sun, self._sun_utc_s = _Sun(elevation, clear, facing), utc_s
