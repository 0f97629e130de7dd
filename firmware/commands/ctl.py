"""`nanogrid ctl`: orders to the running service, one subcommand each."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from firmware.commands.ctl_send import Operation, sent, with_address
from firmware.commands.ctl_values import Duration, Power, Share, read_prices

F = TypeVar("F", bound=Callable[..., Any])
DEVICE = click.option("--device", help="Which one, where the site has several.")


def for_time(text: str, **more: Any) -> Callable[[F], F]:
    """The option --for; `more` as click has it."""
    return click.option("--for", "ttl_s", type=Duration(), help=text, **more)


@click.group()
@with_address
def ctl(config: Path | None, socket: Path | None) -> None:
    """Order the running service to do something, as a local operator.

    Every order goes to the service's Unix socket, so none needs a broker: who may write to that
    file may order. The service says whether it accepts the order, and then whether it took effect;
    safety, and the limits of the site file, hold whatever is ordered. What stands is in `nanogrid
    status`; `nanogrid why` says what came of it. An order that is over leaves the site to its own
    judgement.

    \b
      nanogrid ctl battery -2.0 --for 30m          charge with 2 kW for half an hour
      nanogrid ctl export-limit 0 --for 2h         feed nothing into the grid
      nanogrid ctl generator start --for 1h
      nanogrid ctl mode manual                     only operators' orders count
      nanogrid ctl mode auto                       and back

    The same order as a supervisor over MQTT, signed:

    \b
      nanogrid ctl battery -2.0 --for 30m --print \\
          --source supervisor-1 --key key.pem --seq 812 |
        mosquitto_pub -t ng/1/SITE/cmd -q 1 -s

    Exit status: 0 accepted or done, 1 refused, failed or no service, 2 bad input.
    """


@ctl.command()
@click.argument("mode", type=click.Choice(["auto", "manual", "stopped"]))
@for_time("Back to auto after this.  [default: when ordered]")
@sent
def mode(mode: str, ttl_s: int | None) -> Operation:
    """Set the mode: auto, manual or stopped.

    manual: only operators' setpoints count, the battery rests and the generator stays as it is
    without one; safety still acts. stopped: every device is given back to its own control.

    \b
      nanogrid ctl mode manual --for 1h
    """
    if mode == "auto" and ttl_s is not None:
        raise click.UsageError("auto needs no --for: nothing follows it")
    return "mode.set", _args(mode=mode, ttl_s=ttl_s)


@ctl.command(context_settings={"ignore_unknown_options": True})  # -2.0 is none
@click.argument("power_w", metavar="POWER", type=Power())
@for_time("How long.", required=True)
@DEVICE
@sent
def battery(power_w: int, ttl_s: int, device: str | None) -> Operation:
    """Discharge (above 0) or charge, in kW: one battery, or all together.

    \b
      nanogrid ctl battery -2.0 --for 30m
      nanogrid ctl battery 800W --for 1h30m
    """
    return "battery.setpoint", _args(p_w=power_w, ttl_s=ttl_s, device=device)


@ctl.command("pv-limit")
@click.argument("power_w", metavar="POWER", type=Power())
@for_time("How long.", required=True)
@DEVICE
@sent
def pv_limit(power_w: int, ttl_s: int, device: str | None) -> Operation:
    """Limit PV, in kW: one inverter, or all together.

    \b
      nanogrid ctl pv-limit 1.5 --for 2h --device roof
    """
    return "pv.limit", _args(p_w=power_w, ttl_s=ttl_s, device=device)


@ctl.command("export-limit")
@click.argument("power_w", metavar="[POWER]", type=Power(), required=False)
@click.option("--lift", is_flag=True, help="Back to the limit of the site file.")
@for_time("How long.  [default: until lifted]")
@sent
def export_limit(power_w: int | None, lift: bool, ttl_s: int | None) -> Operation:
    """Limit what goes into the grid, in kW.

    Never above the limit of the site file.

    \b
      nanogrid ctl export-limit 0 --for 2h
      nanogrid ctl export-limit --lift
    """
    return "grid.export_limit", _limit(power_w, lift, ttl_s)


@ctl.command("import-limit")
@click.argument("power_w", metavar="[POWER]", type=Power(), required=False)
@click.option("--lift", is_flag=True, help="Back to the limit of the site file.")
@for_time("How long.  [default: until lifted]")
@sent
def import_limit(power_w: int | None, lift: bool, ttl_s: int | None) -> Operation:
    """Limit what comes from the grid, in kW.

    Never above the limit of the site file. The battery serves what the limit leaves of the load, as
    far as it can.

    \b
      nanogrid ctl import-limit 3 --for 4h
      nanogrid ctl import-limit --lift
    """
    return "grid.import_limit", _limit(power_w, lift, ttl_s)


@ctl.command()
@click.argument("file", type=click.Path(path_type=Path))
@for_time("How long the table counts at most.", default="24h", show_default=True)
@sent
def prices(file: Path, ttl_s: int) -> Operation:
    """Use the prices in FILE (CSV), not the tariff.

    Each row holds from its time until the next row's; times are UTC unless they say otherwise,
    prices are per kWh of import and export.

    \b
      from,buy,sell
      2026-05-13T16:00:00+02:00,0.42,0.08
      2026-05-13T20:00:00+02:00,0.21,0.08

    \b
      nanogrid ctl prices tonight.csv --for 8h
    """
    return "price.set", _args(prices=read_prices(file), ttl_s=ttl_s)


@ctl.command()
@click.argument("action", type=click.Choice(["start", "stop"]))
@for_time("How long it is to run, or to rest.", required=True)
@DEVICE
@sent
def generator(action: str, ttl_s: int, device: str | None) -> Operation:
    """Start or stop the generator, and keep it so.

    Shortest run, rest and longest run of the site file hold, and an island whose battery is nearly
    empty gets its generator whatever is ordered. Of several without --device the first that can is
    started, and all are stopped.

    \b
      nanogrid ctl generator start --for 1h
    """
    return f"generator.{action}", _args(ttl_s=ttl_s, device=device)


@ctl.command()
@click.argument("charge", metavar="[PERCENT]", type=Share(), required=False)
@click.option("--lift", is_flag=True, help="Back to the reserve of the site file.")
@for_time("How long.  [default: until lifted]")
@sent
def reserve(charge: float | None, lift: bool, ttl_s: int | None) -> Operation:
    """Keep this much charge while the grid serves.

    From the site file's reserve to the battery's ceiling. An outage may use it.

    \b
      nanogrid ctl reserve 60% --for 12h
      nanogrid ctl reserve --lift
    """
    _either(charge, lift, ttl_s, "PERCENT")
    return "battery.reserve", {"soc_frac": charge} | _args(ttl_s=ttl_s)


@ctl.command()
@sent
def replan() -> Operation:
    """Make a new plan now.

    \b
      nanogrid ctl replan
    """
    return "plan.replan", {}


@ctl.command()
@click.argument("switch", type=click.Choice(["on", "off"]))
@for_time("Back to on after this.  [default: when ordered]")
@sent
def trade(switch: str, ttl_s: int | None) -> Operation:
    """Trade with neighbours, or do not.

    \b
      nanogrid ctl trade off --for 6h
    """
    if switch == "on" and ttl_s is not None:
        raise click.UsageError("on needs no --for: nothing follows it")
    return "trade.set", _args(on=switch == "on", ttl_s=ttl_s)


@ctl.command()
@sent
def acknowledge() -> Operation:
    """Clear what is latched.

    That is: an emergency stop that has been released, a generator that is locked.

    \b
      nanogrid ctl acknowledge
    """
    return "alarm.acknowledge", {}


def _args(**given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _limit(power_w: int | None, lift: bool, ttl_s: int | None) -> dict[str, Any]:
    _either(power_w, lift, ttl_s, "POWER")
    return {"p_w": power_w} | _args(ttl_s=ttl_s)


def _either(value: float | None, lift: bool, ttl_s: int | None, name: str) -> None:
    if lift == (value is not None):
        raise click.UsageError(f"either {name} or --lift")
    if lift and ttl_s is not None:
        raise click.UsageError("--lift excludes --for")
