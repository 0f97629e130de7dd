"""The plant's energy account."""

from hil.plant_records import Energy


class Totals:
    """Running sums behind `Energy`; plain attributes because every step adds to them."""

    __slots__ = tuple(Energy.__dataclass_fields__)

    def __init__(self) -> None:
        self.battery_charge_kwh = 0.0
        self.battery_discharge_kwh = 0.0
        self.battery_loss_kwh = 0.0
        self.black_s = 0.0
        self.curtailed_kwh = 0.0
        self.dumped_kwh = 0.0
        self.export_excess_kwh = 0.0
        self.export_excess_s = 0.0
        self.fuel_l = 0.0
        self.generator_kwh = 0.0
        self.generator_low_load_s = 0.0
        self.generator_reverse_kwh = 0.0
        self.grid_export_kwh = 0.0
        self.grid_import_kwh = 0.0
        self.import_excess_kwh = 0.0
        self.import_excess_s = 0.0
        self.load_kwh = 0.0
        self.pv_kwh = 0.0
        self.served_kwh = 0.0
        self.unserved_kwh = 0.0
        self.wind_kwh = 0.0

    def book_load(
        self,
        step_h: float,
        load_kw: float,
        unserved_kw: float,
        curtailed_kw: float,
        dumped_kw: float,
    ) -> None:
        """Where the energy went, or should have gone."""
        self.load_kwh += load_kw * step_h
        self.served_kwh += (load_kw - unserved_kw) * step_h
        self.unserved_kwh += unserved_kw * step_h
        self.curtailed_kwh += curtailed_kw * step_h
        self.dumped_kwh += dumped_kw * step_h

    def book_sources(
        self, step_h: float, pv_kw: float, wind_kw: float, generator_kw: float
    ) -> None:
        """What the machines fed."""
        self.pv_kwh += pv_kw * step_h
        self.wind_kwh += wind_kw * step_h
        if generator_kw >= 0.0:
            self.generator_kwh += generator_kw * step_h
        else:
            self.generator_reverse_kwh -= generator_kw * step_h

    def book_battery(self, step_h: float, battery_kw: float) -> None:
        """AC energy of the battery."""
        if battery_kw >= 0.0:
            self.battery_discharge_kwh += battery_kw * step_h
        else:
            self.battery_charge_kwh -= battery_kw * step_h

    def book_grid(
        self, step_h: float, grid_kw: float, import_max_kw: float, export_max_kw: float
    ) -> None:
        """Energy through the grid connection, and what of it was beyond the contract."""
        if grid_kw >= 0.0:
            self.grid_import_kwh += grid_kw * step_h
        else:
            self.grid_export_kwh -= grid_kw * step_h
        if grid_kw > import_max_kw:
            self.import_excess_kwh += (grid_kw - import_max_kw) * step_h
            self.import_excess_s += step_h * 3600.0
        elif -grid_kw > export_max_kw:
            self.export_excess_kwh += (-grid_kw - export_max_kw) * step_h
            self.export_excess_s += step_h * 3600.0

    def snapshot(self) -> Energy:
        """The sums as they stand."""
        return Energy(
            pv_kwh=self.pv_kwh,
            wind_kwh=self.wind_kwh,
            grid_import_kwh=self.grid_import_kwh,
            grid_export_kwh=self.grid_export_kwh,
            generator_kwh=self.generator_kwh,
            generator_reverse_kwh=self.generator_reverse_kwh,
            battery_charge_kwh=self.battery_charge_kwh,
            battery_discharge_kwh=self.battery_discharge_kwh,
            battery_loss_kwh=self.battery_loss_kwh,
            load_kwh=self.load_kwh,
            served_kwh=self.served_kwh,
            unserved_kwh=self.unserved_kwh,
            curtailed_kwh=self.curtailed_kwh,
            dumped_kwh=self.dumped_kwh,
            fuel_l=self.fuel_l,
            import_excess_kwh=self.import_excess_kwh,
            export_excess_kwh=self.export_excess_kwh,
            import_excess_s=self.import_excess_s,
            export_excess_s=self.export_excess_s,
            generator_low_load_s=self.generator_low_load_s,
            black_s=self.black_s,
        )
