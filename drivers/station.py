"""One device on a bus: its connection, its leased setpoints, and its part of the process image."""

from dataclasses import dataclass, replace
from math import inf

from control.records import Ack, Quantity, Setpoint
from drivers.device import BusError, DeviceError, Identity
from drivers.line import Line, UnitRegisters
from drivers.modbus_device import Measurement, ModbusDevice

FIRST_RETRY_S = 0.5  # doubles with every failure in a row ...
LAST_RETRY_S = 30.0  # ... up to this
REWRITE_S = 1.0  # a refused or disregarded setpoint is written again after this
RENEW_FRACTION = 1 / 3  # of the lease: two renewals may get lost


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """What the bus knows of one device. Immutable; times are those of the bus's clock."""

    name: str
    measurement: Measurement | None = None  # the last one read, however old: see read_at_s
    read_at_s: float = -inf  # before the request went out
    identity: Identity | None = None
    online: bool = False  # the last exchange with it succeeded
    error: str = "never connected"  # why it is not online
    acks: tuple[Ack, ...] = ()  # t_s is -inf while no write has succeeded yet
    errors: int = 0  # exchanges that failed
    resyncs: int = 0  # connections closed because of it


@dataclass(slots=True)
class _Wish:
    """A setpoint, until its lease runs out."""

    setpoint: Setpoint
    expires_s: float
    written_s: float = -inf  # when the device took it; -inf: it has to be written
    written_until_s: float = -inf  # the lease that the device knows of
    retry_s: float = -inf  # not before this
    obeyed: bool = True

    def due(self, now_s: float) -> bool:
        if now_s < self.retry_s:
            return False
        if self.written_s == -inf or not self.obeyed:
            return True
        renewal_s = self.written_s + self.setpoint.lease_s * RENEW_FRACTION
        return now_s >= renewal_s and self.expires_s > self.written_until_s


class Station:
    """Drives one device; only the bus's own thread calls it."""

    def __init__(self, device: ModbusDevice[Measurement], line: Line, turn_s: float) -> None:
        self.device = device
        self.image = DeviceImage(device.name)
        self.connected = False
        self.retry_at_s = -inf
        self._line = line
        self._registers = UnitRegisters(line, device.unit)
        self._turn_s = turn_s
        self._failures = 0
        self._wishes: dict[Quantity, _Wish] = {}
        self._acks: dict[Quantity, Ack] = {}

    def wish(self, setpoint: Setpoint, now_s: float) -> None:
        """Take over a setpoint; the same value again only prolongs the lease."""
        expires_s = now_s + setpoint.lease_s
        wish = self._wishes.get(setpoint.quantity)
        if wish is not None and wish.setpoint.value == setpoint.value:
            wish.setpoint, wish.expires_s = setpoint, expires_s
        else:
            self._wishes[setpoint.quantity] = _Wish(setpoint, expires_s)

    def connect(self, now_s: float, budget_s: float) -> None:
        """Connect within `budget_s` and exchange; the outcome is in `image`."""
        resyncs = self._line.resyncs
        self._line.allow(budget_s)
        try:
            identity = self.device.connect(self._registers, now_s)
        except (BusError, DeviceError) as error:
            self._fail(str(error), now_s, self._line.resyncs - resyncs)
            return
        self.connected = True
        self.image = replace(self.image, identity=identity)
        for wish in self._wishes.values():
            wish.written_s = wish.retry_s = -inf
        self.exchange(now_s)

    def exchange(self, now_s: float, *, read: bool = True) -> None:
        """Write what is due, then read; the outcome is in `image`."""
        resyncs = self._line.resyncs
        self._line.allow(self._turn_s)
        try:
            self._write(now_s)
            if read:
                measurement = self.device.read(self._registers, now_s)
                self.image = replace(self.image, measurement=measurement, read_at_s=now_s)
                self._failures = 0
        except (BusError, DeviceError) as error:
            self._fail(str(error), now_s, self._line.resyncs - resyncs)
        else:
            self.image = replace(self.image, online=True, error="", acks=self._all_acks())

    def release(self, now_s: float) -> None:
        """Forget all wishes and give the device back to itself; the connection stays."""
        self._wishes.clear()
        self._acks.clear()
        self.image = replace(self.image, acks=())
        if not self.connected:
            return
        resyncs = self._line.resyncs
        self._line.allow(self._turn_s)
        try:
            self.device.release(self._registers, now_s)
        except (BusError, DeviceError) as error:
            self._fail(f"not released: {error}", now_s, self._line.resyncs - resyncs)

    def disconnect(self) -> None:
        """The end: nothing is known from here on."""
        error = "stopped" if self.connected else self.image.error
        self.connected = False
        self.image = replace(self.image, online=False, error=error)

    def _write(self, now_s: float) -> None:
        for quantity, wish in list(self._wishes.items()):
            if now_s >= wish.expires_s:
                del self._wishes[quantity]
                self._refused(wish, "lease ran out")
            elif wish.due(now_s):
                self._write_one(wish, now_s)

    def _write_one(self, wish: _Wish, now_s: float) -> None:
        setpoint = replace(wish.setpoint, lease_s=wish.expires_s - now_s)
        wish.retry_s = now_s + REWRITE_S
        try:
            held = self.device.write(self._registers, setpoint, now_s)
        except DeviceError as error:
            self._refused(wish, str(error))
            return
        except BusError as error:
            self._refused(wish, str(error))
            raise
        wish.obeyed = abs(held - setpoint.value) <= 0.005 * (1 + abs(setpoint.value))
        if wish.obeyed:
            wish.retry_s = -inf
        wish.written_s, wish.written_until_s = now_s, wish.expires_s
        error_text = "" if wish.obeyed else f"the device holds {held:g}"
        self._acks[setpoint.quantity] = Ack(
            self.device.name, setpoint.quantity, setpoint.value, held, now_s, error_text
        )

    def _refused(self, wish: _Wish, why: str) -> None:
        quantity = wish.setpoint.quantity
        last = self._acks.get(quantity)
        t_s = last.t_s if last else -inf
        self._acks[quantity] = Ack(self.device.name, quantity, wish.setpoint.value, None, t_s, why)

    def _fail(self, why: str, now_s: float, resyncs: int) -> None:
        self.connected = False
        self.retry_at_s = now_s + min(LAST_RETRY_S, FIRST_RETRY_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 10)
        self.image = replace(
            self.image,
            online=False,
            error=why,
            acks=self._all_acks(),
            errors=self.image.errors + 1,
            resyncs=self.image.resyncs + resyncs,
        )

    def _all_acks(self) -> tuple[Ack, ...]:
        return tuple(self._acks.values())
