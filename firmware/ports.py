"""Where the loop meets the world: one frozen sample in, one command out, nothing waited for."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from control.records import (
    Ack,
    Applied,
    BatteryMeasurement,
    Command,
    GeneratorMeasurement,
    GridMeasurement,
    InverterMeasurement,
    Observed,
    PricePeriod,
    Quality,
    Sample,
    Setpoint,
)
from control.sun import solar_position
from drivers.bus import Bus
from drivers.irradiance import IrradianceSensor
from drivers.pi_pins import PinError, PiPins
from drivers.station import DeviceImage
from firmware.clock import Clock
from firmware.config import Site
from firmware.tariff import Price, Tariff, ordered_price
from firmware.unexpected import SteadyThread
from firmware.wiring import build_link

M = TypeVar("M")
PINS_RETRY_S = 5.0
SUN_HOLDS_S = 10.0
STOP_S = 10.0


class Ports:
    """Samples and actuates. With `lockstep` the buses are driven here, else by their threads."""

    def __init__(
        self,
        site: Site,
        buses: Sequence[Bus],
        sensor: IrradianceSensor | None,
        pins: PiPins | None,
        clock: Clock,
        *,
        lockstep: bool = False,
    ) -> None:
        """`start` opens what can be opened; what cannot is tried again."""
        self._site = site
        self._buses = tuple(buses)
        self._bus_of = {name: bus for bus in buses for name in bus.image()}
        self._sensor = sensor
        self._pins = pins
        self._clock = clock
        self._lockstep = lockstep
        addresses = {str(build_link(bus)): bus.name for bus in site.bus}
        self._bus_names = sorted(addresses.items(), key=lambda item: -len(item[0]))
        self._tariff = Tariff(site.prices, site.site.timezone)
        self._zone = ZoneInfo(site.site.timezone)
        self._sun = (float("-inf"), 0.0)  # UTC of the last computation, elevation
        self._priced = (-1, Price(0.0, 0.0))  # UTC minute and its prices
        self._pins_retry_s = float("-inf")
        self._pins_error = ""
        self._released = False

    @property
    def images(self) -> Mapping[str, DeviceImage]:
        """What the buses know of every device, by name."""
        return {name: image for bus in self._buses for name, image in bus.image().items()}

    @property
    def faults(self) -> tuple[str, ...]:
        """What keeps the Pi's own pins from working."""
        return (self._pins_error,) if self._pins_error else ()

    def start(self) -> None:
        """Open the pins and let the buses run."""
        self._open_pins(self._clock.monotonic())
        if not self._lockstep:
            for bus in self._buses:
                bus.start(self._site.loop.period_s, SteadyThread)

    def stop(self) -> None:
        """Give every device back to itself; all outputs off.

        A bus that is stuck keeps none of the others waiting, and is left to its leases after a
        while.
        """
        if self._pins is not None:
            self._pins.close()
        threads = [threading.Thread(target=bus.stop, daemon=True) for bus in self._buses]
        for thread in threads:
            thread.start()
        end_s = time.monotonic() + STOP_S
        for thread in threads:
            thread.join(max(0.0, end_s - time.monotonic()))

    def sample(
        self, cycle: int, ordered: Sequence[PricePeriod] = (), interest_frac: float = 0.0
    ) -> Sample:
        """Read everything once; `ordered` prices come before the tariff's."""
        if self._lockstep:
            for bus in self._buses:
                bus.exchange()
        site, images = self._site, self.images  # before the time: nothing is from the future
        now_s, utc_s = self._clock.monotonic(), self._clock.utc()
        price = ordered_price(ordered, utc_s) or self._prices(utc_s)
        self._open_pins(now_s)

        def seen(name: str, kind: type[M]) -> Observed[M]:
            return self._observed(images[name], kind, now_s)

        return Sample(
            cycle=cycle,
            t_s=now_s,
            utc_s=utc_s,
            irradiance_w_m2=self._sensor.read(now_s, utc_s) if self._sensor else None,
            emergency_stop=self._pins.read_emergency_stop() if self._pins else None,
            pv=tuple(seen(pv.name, InverterMeasurement) for pv in site.pv),
            wind=tuple(seen(wind.name, InverterMeasurement) for wind in site.wind),
            batteries=tuple(seen(battery.name, BatteryMeasurement) for battery in site.battery),
            generators=tuple(seen(item.name, GeneratorMeasurement) for item in site.generator),
            grid=seen(site.grid.name, GridMeasurement) if site.grid else None,
            sun_elevation_deg=self._sun_elevation_deg(utc_s),
            hour_local=_hour(datetime.fromtimestamp(utc_s, self._zone)),
            price_buy_per_kwh=price.buy_per_kwh,
            price_sell_per_kwh=price.sell_per_kwh,
            interest_frac=interest_frac,
        )

    def actuate(self, command: Command) -> Applied:
        """Pass on the setpoints; return what the devices last acknowledged of each."""
        self._drive_pins(command)
        if command.release:
            self._release()
            return ()
        self._released = False
        for setpoint in command.setpoints:
            bus = self._bus_of.get(setpoint.device)
            if bus is not None and self._is_on_bus(setpoint):
                bus.submit(setpoint)
        if self._lockstep:
            for bus in self._buses:
                bus.flush()
        return self._acknowledged(command)

    def heartbeat(self) -> None:
        """Toggle the heartbeat relay: a cycle has been completed."""
        if self._pins is not None and self._pins.is_open:
            self._try_pins(self._pins.beat)

    def _acknowledged(self, command: Command) -> Applied:
        images = self.images
        acks = {(ack.device, ack.quantity): ack for image in images.values() for ack in image.acks}
        applied = []
        for setpoint in command.setpoints:
            if not self._is_on_bus(setpoint):
                applied.append(self._relay_ack(setpoint))
                continue
            ack = acks.get((setpoint.device, setpoint.quantity))
            if ack is None:
                ack = Ack(
                    setpoint.device,
                    setpoint.quantity,
                    setpoint.value,
                    None,
                    float("-inf"),
                    images[setpoint.device].error or "not written yet",
                )
            elif not images[setpoint.device].online and not ack.error:
                ack = replace(ack, error=images[setpoint.device].error)
            applied.append(replace(ack, error=self._told(ack.error)) if ack.error else ack)
        return tuple(applied)

    def _is_on_bus(self, setpoint: Setpoint) -> bool:
        """False for the run request of a generator that is started by the relay."""
        return not any(
            generator.name == setpoint.device and generator.start == "relay"
            for generator in self._site.generator
        )

    def _relay_ack(self, setpoint: Setpoint) -> Ack:
        relay = self._pins.generator_relay if self._pins else None
        held = None if relay is None else float(relay)
        return Ack(
            setpoint.device,
            setpoint.quantity,
            setpoint.value,
            held,
            self._clock.monotonic(),
            "" if held is not None else self._pins_error or "no relay",
        )

    def _observed(self, image: DeviceImage, kind: type[M], now_s: float) -> Observed[M]:
        """One device's measurement with age and quality: good only while fresh."""
        measurement = image.measurement
        if measurement is None:
            return Observed(None, float("inf"), Quality.BAD, self._told(image.error))
        if not isinstance(measurement, kind):
            return Observed(None, float("inf"), Quality.BAD, "the driver reads something else")
        age_s = now_s - image.read_at_s
        if age_s > self._site.loop.stale_after_s:
            reason = self._told(image.error) or "not read in time"
            return Observed(measurement, age_s, Quality.STALE, reason)
        return Observed(measurement, age_s, Quality.GOOD, "")

    def _told(self, error: str) -> str:
        """An error with the bus's name for its address, which on the bench is never the same."""
        for address, name in self._bus_names if error else ():
            error = error.replace(address, name)
        return error

    # --- the Pi's own pins -----------------------------------------------------------------

    def _open_pins(self, now_s: float) -> None:
        if self._pins is None or self._pins.is_open or now_s < self._pins_retry_s:
            return
        self._pins_retry_s = now_s + PINS_RETRY_S
        self._try_pins(self._pins.open)

    def _drive_pins(self, command: Command) -> None:
        pins = self._pins
        if pins is None or not pins.is_open:
            return
        if command.generator_relay is not None:
            self._try_pins(lambda: pins.set_generator_relay(bool(command.generator_relay)))
        if pins.is_open:
            self._try_pins(lambda: pins.set_led(command.alarm))

    def _try_pins(self, action: Callable[[], None]) -> None:
        """Do something with the pins; what goes wrong is kept as a fault, not raised."""
        try:
            action()
        except PinError as error:
            self._pins_error = str(error)
        else:
            self._pins_error = ""

    def _release(self) -> None:
        """Once per stop: the devices go back to their own control until the next setpoint."""
        if self._released:
            return
        self._released = True
        for bus in self._buses:
            bus.release()

    # --- time, sun, prices -----------------------------------------------------------------

    def _sun_elevation_deg(self, utc_s: float) -> float:
        if not abs(utc_s - self._sun[0]) < SUN_HOLDS_S:
            place = self._site.site
            elevation, _ = solar_position(utc_s, place.latitude_deg, place.longitude_deg)
            self._sun = (utc_s, float(elevation))
        return self._sun[1]

    def _prices(self, utc_s: float) -> Price:
        """The tariff's prices, which change on the minute at most."""
        minute = int(utc_s // 60)
        if minute != self._priced[0]:
            self._priced = (minute, self._tariff.price_at(utc_s))
        return self._priced[1]


def _hour(moment: datetime) -> float:
    return moment.hour + moment.minute / 60.0 + moment.second / 3600.0
