"""A SunSpec meter at the grid connection: models 201-204 (scaled integers) and 211-214 (floats)."""

from control.records import GridMeasurement, Quantity, Setpoint
from drivers.device import DeviceError, Identity, Registers
from drivers.modbus_device import ModbusDevice, kilo, within
from drivers.sunspec import SunspecUnit

METERS = (203, 202, 201, 204, 213, 212, 211, 214)


class SunspecMeter(ModbusDevice[GridMeasurement]):
    """Positive power is import, as most makers have it."""

    quantities: frozenset[Quantity] = frozenset()

    def __init__(self, *, name: str, unit: int) -> None:
        super().__init__(name=name, unit=unit)
        self._sunspec = SunspecUnit()
        self._meter = METERS[0]

    def connect(self, registers: Registers, now_s: float) -> Identity:
        """Find the meter model."""
        identity = self._sunspec.connect(registers)
        meter = self._sunspec.first(*METERS)
        if meter is None:
            raise DeviceError("no SunSpec meter model (201-204 or 211-214)")
        self._meter = meter
        return identity

    def read(self, registers: Registers, now_s: float) -> GridMeasurement:
        """Everything in one request."""
        meter = self._sunspec.read(registers, self._meter)
        return GridMeasurement(
            power_kw=within(kilo(meter.value("W")), -1000, 1000),
            voltage_v=within(meter.value("PhV"), 0, 1000),
            frequency_hz=within(meter.value("Hz"), 0, 70),
            import_kwh=kilo(meter.value("TotWhImp")),
            export_kwh=kilo(meter.value("TotWhExp")),
        )

    def write(self, registers: Registers, setpoint: Setpoint, now_s: float) -> float:
        """Meters take no setpoints."""
        raise DeviceError("a meter takes no setpoints")

    def release(self, registers: Registers, now_s: float) -> None:
        """Nothing to give back."""
