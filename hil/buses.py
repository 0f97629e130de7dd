"""The simulated side of a site: one server per [[bus]], and the site as the firmware gets it."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from hil.devices.catalogue import build
from hil.devices.device import SimulatedDevice, combined
from hil.modbus_server import RtuBus, SimulatedBus, TcpBus
from hil.plant import Controls, PlantState
from hil.wire_faults import Fault


class Buses:
    """All simulated devices of a site, being served. Close it, or use it in a `with` statement."""

    def __init__(self, site: Mapping[str, Any], der: frozenset[str] = frozenset()) -> None:
        self._site = site
        kinds = {str(bus["name"]): str(bus["kind"]) for bus in site["bus"]}
        self.buses: dict[str, SimulatedBus] = {}
        for name, devices in build(site, der).items():
            self.buses[name] = _BUSES[kinds[name]](name, devices)
        self.devices: dict[str, SimulatedDevice] = {
            device.name: device for bus in self.buses.values() for device in bus.devices
        }
        self._several = [
            str(entry["name"])
            for kind in ("battery", "generator")
            if len(site.get(kind, ())) > 1
            for entry in site[kind]
        ]
        self._parts: list[Controls] = []
        self._together = Controls()

    def __enter__(self) -> "Buses":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop all servers."""
        for bus in self.buses.values():
            bus.close()

    def site(self) -> dict[str, Any]:
        """The site with the addresses of the simulated buses in place of the real ones."""
        return {**self._site, "bus": [self._endpoint(bus) for bus in self._site["bus"]]}

    def update(self, state: PlantState, now_s: float) -> None:
        """Show the plant's state to all devices."""
        for device in self.devices.values():
            device.update(state, now_s)

    def controls(self, now_s: float) -> Controls:
        """What all devices together command the plant."""
        parts = [device.controls(now_s) for device in self.devices.values()]
        if parts != self._parts:  # they seldom change from step to step
            named = dict(zip(self.devices, parts, strict=True))
            units = {name: named[name] for name in self._several}
            self._parts, self._together = parts, combined(parts, units)
        return self._together

    def set_fault(self, fault: Fault, target: str, active: bool = True) -> None:
        """Switch a fault of a device or of a bus, by name, on or off."""
        if target in self.buses:
            self.buses[target].set_fault(fault, None, active)
        elif target in self.devices:
            self.buses[self.devices[target].bus].set_fault(fault, target, active)
        else:
            known = ", ".join((*self.buses, *self.devices))
            raise ValueError(f"no bus or device {target!r}; there are: {known}")

    def _endpoint(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        bus = self.buses[str(entry["name"])]
        if isinstance(bus, TcpBus):
            return {**entry, "host": bus.host, "port": bus.port}
        assert isinstance(bus, RtuBus)
        return {**entry, "port": bus.path}


_BUSES: Mapping[str, type[TcpBus] | type[RtuBus]] = {"tcp": TcpBus, "rtu": RtuBus}
