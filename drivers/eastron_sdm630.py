"""An Eastron SDM630 meter at the grid connection: floats in input registers, function code 4."""

from control.records import GridMeasurement, Quantity, Setpoint
from drivers.device import DeviceError, Identity, Registers, Table
from drivers.modbus_device import ModbusDevice, kilo
from drivers.registers import Kind, Register, RegisterMap


def _float(name: str, address: int, low: float, high: float) -> Register:
    return Register(name, address, Kind.F32, low=low, high=high, table=Table.INPUT)


_FAST = RegisterMap(
    _float("power_w", 0x0034, -1e6, 1e6),
    _float("frequency_hz", 0x0046, 0, 70),  # 0: a dead line
    _float("import_kwh", 0x0048, 0, 1e9),
    _float("export_kwh", 0x004A, 0, 1e9),
    gap=16,
)
_VOLTAGES = RegisterMap(
    _float("l1_v", 0x0000, 0, 1000),
    _float("l2_v", 0x0002, 0, 1000),
    _float("l3_v", 0x0004, 0, 1000),
)
_VOLTAGE_EVERY = 5  # readings


class EastronSdm630(ModbusDevice[GridMeasurement]):
    """Wired so that positive power is import."""

    quantities: frozenset[Quantity] = frozenset()

    def __init__(self, *, name: str, unit: int) -> None:
        super().__init__(name=name, unit=unit)
        self._voltage_v: float | None = None
        self._until_voltage = 0

    def connect(self, registers: Registers, now_s: float) -> Identity:
        """The meter has no name to ask for; frequency and power must look like a meter's."""
        values = _FAST.read(registers)
        if values["frequency_hz"] is None or values["power_w"] is None:
            raise DeviceError("does not look like an SDM630: no mains frequency at 0x46")
        self._until_voltage = 0
        return Identity("Eastron", "SDM630")

    def read(self, registers: Registers, now_s: float) -> GridMeasurement:
        """Power, frequency and energy in one request; voltages every fifth time."""
        if self._until_voltage <= 0:
            self._until_voltage = _VOLTAGE_EVERY
            self._voltage_v = _mean(list(_VOLTAGES.read(registers).values()))
        self._until_voltage -= 1
        values = _FAST.read(registers)
        return GridMeasurement(
            power_kw=kilo(values["power_w"]),
            voltage_v=self._voltage_v,
            frequency_hz=values["frequency_hz"],
            import_kwh=values["import_kwh"],
            export_kwh=values["export_kwh"],
        )

    def write(self, registers: Registers, setpoint: Setpoint, now_s: float) -> float:
        """Meters take no setpoints."""
        raise DeviceError("a meter takes no setpoints")

    def release(self, registers: Registers, now_s: float) -> None:
        """Nothing to give back."""


def _mean(volts: list[float | None]) -> float | None:
    """Over the connected phases: an unused one reads zero, all of them only on a dead line."""
    known = [each for each in volts if each is not None]
    live = [each for each in known if each > 1] or known
    return sum(live) / len(live) if live else None
