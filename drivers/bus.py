"""One physical bus: asks its devices in turn and keeps what they said as a process image."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from control.records import Quantity, Setpoint
from drivers.line import Line, Link
from drivers.modbus_device import Measurement, ModbusDevice
from drivers.station import DeviceImage, Station

TURN_TIMEOUTS = 5  # what a device may take per round, in time-outs
CONNECT_TIMEOUTS = 15  # and all that are to be connected together
LARGEST_VALUE = 1e6  # kW: beyond it a setpoint is a mistake

NewThread = Callable[[str, Callable[[], None]], threading.Thread]  # a name and what it does


def _thread(name: str, work: Callable[[], None]) -> threading.Thread:
    return threading.Thread(target=work, name=name, daemon=True)


class Bus:
    """The devices of one TCP address or serial port, their measurements and their setpoints.

    Call `exchange` from one thread, or `start` a thread that does. `image` and `submit` may be
    called from anywhere and never wait for the wire. `clock` is monotonic; leases, back-off and
    times in the image follow it, while time-outs and budgets always run in real time.

    A device that fails is left alone for 0.5 s, then 1, 2, 4, ... 30 s, and only one such device is
    tried per round, after the others. With T the link's time-out, a silent one costs the round 1 T
    on TCP and 3 T on a serial line, one that drips 2 T or 4 T. Devices that answer, but slowly,
    have 5 T each per round, and all that have to be connected 15 T together; the last request
    begun within a budget may take 3 T, or 5 T when it fails on a serial line.
    """

    def __init__(
        self,
        name: str,
        link: Link,
        devices: Sequence[ModbusDevice[Measurement]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._line = Line(link)
        self._clock = clock
        turn_s = TURN_TIMEOUTS * link.timeout_s
        self._connect_s = CONNECT_TIMEOUTS * link.timeout_s
        self._stations = {each.name: Station(each, self._line, turn_s) for each in devices}
        self._images = {name: station.image for name, station in self._stations.items()}
        self._image: Mapping[str, DeviceImage] = MappingProxyType(self._images)
        self._inbox: dict[tuple[str, Quantity], tuple[Setpoint, float]] = {}
        self._inbox_lock = threading.Lock()
        self._to_release = False
        self._turn = threading.Lock()
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def image(self) -> Mapping[str, DeviceImage]:
        """The newest image of every device, by name; a snapshot that never changes."""
        return self._image

    def submit(self, setpoint: Setpoint) -> None:
        """Wish for a setpoint; it replaces the last one for the same quantity of the same device.

        ValueError for a device or quantity that is not on this bus and for numbers that are none.
        """
        station = self._stations.get(setpoint.device)
        if station is None or setpoint.quantity not in station.device.quantities:
            raise ValueError(f"bus {self.name} cannot set {setpoint.quantity} of {setpoint.device}")
        if not abs(setpoint.value) <= LARGEST_VALUE or not 0 < setpoint.lease_s < math.inf:
            raise ValueError(f"{setpoint.device}: {setpoint} is not a setpoint")
        with self._inbox_lock:
            self._inbox[setpoint.device, setpoint.quantity] = (setpoint, self._clock())
        self._wake.set()

    def release(self) -> None:
        """Forget all setpoints; with the next round every device goes back to its own control.

        It is still read. The next setpoint takes it under control again.
        """
        with self._inbox_lock:
            self._inbox = {}
            self._to_release = True
        self._wake.set()

    def exchange(self) -> None:
        """One round: for each device connect if need be, write what is due, then read."""
        with self._turn:
            self._take_orders()
            self._round(read=True)

    def flush(self) -> None:
        """Write what is due to the devices that are online, read nothing."""
        with self._turn:
            self._take_orders()
            self._round(read=False)

    def start(self, period_s: float, thread: NewThread = _thread) -> None:
        """Repeat `exchange` every `period_s` in a thread; a late round skips, it never bursts.

        What is submitted in between is written at once.
        """
        self._stopping.clear()
        self._thread = thread(f"bus-{self.name}", partial(self._run, period_s))
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its round, give back every device in reach, close the line."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        with self._turn:
            for station in self._stations.values():
                station.release(self._clock())
                station.disconnect()
                self._publish(station)
            self._line.close()

    def _take_orders(self) -> None:
        with self._inbox_lock:
            wishes, self._inbox = self._inbox, {}
            to_release, self._to_release = self._to_release, False
        if to_release:
            for station in self._stations.values():
                station.release(self._clock())
                self._publish(station)
        for (device, _), (setpoint, now_s) in wishes.items():
            self._stations[device].wish(setpoint, now_s)

    def _round(self, *, read: bool) -> None:
        stations = list(self._stations.values())
        waiting = [each for each in stations if not each.connected]
        for station in stations:
            if station.connected:
                station.exchange(self._clock(), read=read)
                self._publish(station)
        if read:
            self._connect(waiting)

    def _connect(self, stations: list[Station]) -> None:
        """Try those that are due up to the first that fails; the others wait for another round."""
        end_s = time.monotonic() + self._connect_s
        for station in sorted(stations, key=lambda each: each.retry_at_s):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            if self._clock() >= station.retry_at_s:
                station.connect(self._clock(), left_s)
                self._publish(station)
                if not station.connected:
                    return

    def _publish(self, station: Station) -> None:
        self._images = {**self._images, station.device.name: station.image}
        self._image = MappingProxyType(self._images)

    def _run(self, period_s: float) -> None:
        deadline_s = time.monotonic()
        while not self._stopping.is_set():
            self.exchange()
            late_s = time.monotonic() - deadline_s
            deadline_s += period_s * max(1, math.ceil(late_s / period_s))
            while self._wake.wait(max(0.0, deadline_s - time.monotonic())):
                self._wake.clear()
                if self._stopping.is_set():
                    return
                self.flush()
