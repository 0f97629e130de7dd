"""`nanogrid check`: is the site file right, and are the devices what it says?"""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.safety import SAFE_PERIOD_S
from firmware.config import Site, SiteError, load_site
from firmware.config_models import Battery, Device, Generator, Grid, Pv, TcpBus, Wind

if TYPE_CHECKING:
    from firmware.probe import Probed, ProbedPart
    from firmware.trading.readiness import Readiness

# What is left of our control when this controller is gone: docs/fail-safe.md.
_WITHOUT_US = {
    "sunspec-inverter": "limit ends within {lease} s: at 0 % (704), or at full power (123)",
    "victron-gx": "setpoint ends 60 s after the last write; idle until a controller is back",
    "sunspec-storage": "setpoint ends within {lease} s: at 0 kW (704), or in its own mode (124)",
    "deepsea-gencomm": "the start is latched: a running set keeps running",
}
_RELAY_DROPS = "heartbeat ends, its relay opens the run contact: it cools down and stops"
_RELAY_MAY_STAY = "no heartbeat_pin: while the Pi has power the contact may stay closed"
_SHORTEST_TIMER_S = 10.0  # what drivers arm at least
_MEASURED = "nothing: it is only measured"


@click.command()
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), help="The site file to check."
)
@click.option("--probe", is_flag=True, help="Then ask every device; nothing is ever written.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(config: Path, probe: bool, as_json: bool) -> None:
    """Validate a site file; with --probe, talk to every device.

    Exit status 2 when the file is wrong, one line per error; 1 when a device does not answer or is
    not what the file says. A serial line has room for one master: stop the service before --probe.
    """
    try:
        site = load_site(config)
        _require_files(site, str(config))
    except SiteError as error:
        if as_json:
            click.echo(json.dumps({"valid": False, "errors": error.errors}))
        click.echo("\n".join(error.errors), err=True)
        sys.exit(2)
    result: dict[str, Any] = {"valid": True, "site": site.model_dump(mode="json", by_alias=True)}
    problems: list[str] = []
    result["warnings"] = _warn(site, str(config))
    if not as_json:
        _show_site(site, str(config))
    if site.trading.enabled:
        from firmware.trading.readiness import readiness

        ready = readiness(Path(site.trading.folder))
        result["trading"] = dataclasses.asdict(ready)
        if not as_json:
            _show_trading(site, ready)
    if probe:
        from firmware.probe import probe_devices, probe_pi

        devices, parts = probe_devices(site), probe_pi(site)
        result["devices"] = [dataclasses.asdict(device) for device in devices]
        result["parts"] = [dataclasses.asdict(part) for part in parts]
        said = [(x.name, x.problems) for x in devices] + [(x.name, x.problems) for x in parts]
        problems = [f"{name}: {problem}" for name, texts in said for problem in texts]
        result["problems"] = problems
        if not as_json:
            _show_probe(devices, parts)
    if as_json:
        click.echo(json.dumps(result, indent=2))
    for problem in problems:
        click.echo(problem, err=True)
    sys.exit(1 if problems else 0)


def _warn(site: Site, origin: str) -> list[str]:
    """Say, and return, what is allowed and yet unwise."""
    period_s = site.loop.period_s
    if not site.generator or not (site.battery or site.pv) or period_s <= SAFE_PERIOD_S:
        return []
    warning = (
        f"{origin}: warning: loop.period_s = {period_s:g}: a generator may trip on reverse power "
        f"between two cycles when a load is switched off; at most {SAFE_PERIOD_S:g} is safe"
    )
    click.echo(warning, err=True)
    return [warning]


def _require_files(site: Site, origin: str) -> None:
    """The files that the site file names must be there."""
    errors = [
        f"{origin}: forecast.{key} = {json.dumps(path)}: no such file"
        for key in ("history", "pv_model", "load_model")
        if (path := getattr(site.forecast, key)) and not Path(path).is_file()
    ]
    if site.mqtt.host:
        from firmware.mqtt.credentials import problems

        errors += [f"{origin}: {problem}" for problem in problems(site.mqtt)]
    if site.trading.broker.host:
        from firmware.mqtt.credentials import problems

        errors += [f"{origin}: {problem}" for problem in problems(site.trading.broker)]
    folder = Path(site.recording.path).absolute().parent
    if site.recording.path and not folder.is_dir():
        errors.append(f"{origin}: recording.path: no such folder {json.dumps(str(folder))}")
    if errors:
        raise SiteError(errors)


def _show_site(site: Site, origin: str) -> None:
    mode = "with a grid connection" if site.grid else "island"
    place = f"{site.site.latitude_deg:g}, {site.site.longitude_deg:g} ({site.site.timezone})"
    click.echo(f"{origin}: valid. {site.site.name}, {mode}, at {place}")
    _table("Buses", ("bus", "where", "timeout"), [_bus_row(bus) for bus in site.bus])
    rows = [
        (device.name, device.driver, f"{device.bus}, unit {device.unit}", *_facts(device, site))
        for device in site.devices
    ]
    _table("Devices", ("device", "driver", "bus", "limits", "if this controller dies"), rows)


def _show_trading(site: Site, ready: "Readiness") -> None:
    broker = f"broker {site.market_broker.host}:{site.market_broker.port}"
    if ready.problem:
        click.echo(f"Trading: not yet, {broker}: {ready.problem}")
        return
    ledger = f"ledger sound, {ready.entries} entries" if ready.entries else "no ledger yet"
    who = f"as {ready.house or 'a house without a name'} ({ready.peer})"
    click.echo(f"Trading: in {ready.community} {who}, {ready.members} members, {broker}, {ledger}")


def _bus_row(bus: Any) -> tuple[str, str, str]:
    where = (
        f"{bus.host}:{bus.port}" if isinstance(bus, TcpBus) else f"{bus.port}, {bus.baudrate} Bd"
    )
    return bus.name, where, f"{bus.timeout_s:g} s"


def _facts(device: Device, site: Site) -> tuple[str, str]:
    """A device's limits, and what happens to it without us."""
    lease_s = max(_SHORTEST_TIMER_S, site.safety.lease_s)
    gone = _WITHOUT_US.get(device.driver, _MEASURED).format(lease=f"{lease_s:g}")
    if isinstance(device, Wind):
        gone = _MEASURED
    if isinstance(device, Generator) and device.start == "relay":
        gone = _RELAY_MAY_STAY if site.gpio.heartbeat_pin is None else _RELAY_DROPS
    return _limits(device), gone


def _limits(device: Device) -> str:
    if isinstance(device, Battery):
        soc = f"{device.soc_min_frac:.0%} to {device.soc_max_frac:.0%}"
        bms = "" if device.battery_unit or device.driver != "victron-gx" else ", no BMS"
        powers = f"{-device.charge_max_kw:g} to {device.discharge_max_kw:g} kW"
        return f"{device.capacity_kwh:g} kWh, {soc}, {powers}{bms}"
    if isinstance(device, Generator):
        least_kw = device.min_load_frac * device.rated_kw
        return f"{least_kw:.3g} to {device.rated_kw:g} kW, runs at least {device.min_run_s:g} s"
    if isinstance(device, Grid):
        return f"{0 - device.export_max_kw:g} to {device.import_max_kw:g} kW"
    assert isinstance(device, Pv | Wind)
    return f"0 to {device.rated_kw:g} kW"


# --- the probe ------------------------------------------------------------------------------


def _show_probe(devices: Iterable["Probed"], parts: Iterable["ProbedPart"]) -> None:
    rows = [
        (
            device.name,
            f"{device.bus}, unit {device.unit}",
            _identity(device),
            _values(device.values),
            "-" if device.round_trip_ms is None else f"{device.round_trip_ms:.1f} ms",
            "; ".join((*device.problems, *device.notes)) or "ok",
        )
        for device in devices
    ]
    _table("Probe", ("device", "bus", "is", "values", "round trip", "remarks"), rows)
    pi = [(part.name, _values(part.values), "; ".join(part.problems) or "ok") for part in parts]
    if pi:
        _table("Pi", ("part", "values", "remarks"), pi)


def _identity(device: "Probed") -> str:
    said = device.identity
    if said is None:
        return "?"
    serial = f"no. {said.serial}" if said.serial else ""
    return " ".join(filter(None, (said.maker, said.model, serial, said.version)))


_SHOWN = {
    "power_kw": "{:.3f} kW",
    "limit_kw": "limit {:.3f} kW",
    "soc_frac": "SOC {:.1%}",
    "charge_limit_kw": "charge <= {:.2f} kW",
    "discharge_limit_kw": "discharge <= {:.2f} kW",
    "setpoint_kw": "setpoint {:.3f} kW",
    "voltage_v": "{:.1f} V",
    "frequency_hz": "{:.2f} Hz",
    "energy_kwh": "{:.1f} kWh",
    "import_kwh": "import {:.1f} kWh",
    "export_kwh": "export {:.1f} kWh",
    "temperature_degc": "{:.0f} degC",
    "fuel_frac": "fuel {:.0%}",
    "state": "{}",
    "phase": "{}",
    "mode": "mode {}",
    "volts": "{:.3f} V",
    "irradiance_w_m2": "{:.0f} W/m2",
    "pin": "pin {}",
}


def _values(values: dict[str, Any]) -> str:
    texts = [text.format(values[key]) for key, text in _SHOWN.items() if key in values]
    if "pressed" in values:
        texts.append("pressed" if values["pressed"] else "released")
    return ", ".join([*texts, *values.get("alarms", ())])


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal, elsewhere a line per row with the columns' names."""
    if not sys.stdout.isatty():
        for row in rows:
            facts = [f"{name}: {cell}" for name, cell in zip(columns[1:], row[1:], strict=True)]
            click.echo(f"{columns[0]} {row[0]} | {' | '.join(facts)}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    Console(markup=False, highlight=False).print(table)  # what devices say is text
