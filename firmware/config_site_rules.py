"""Rules across the tables of site.toml: names, addresses, pins, counterparts, prices, the place.

A rule yields where the trouble is and what is allowed.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from firmware.config_errors import Unknown
from firmware.config_operation import Broker
from firmware.config_surplus import Surplus
from firmware.config_tables import Gpio, Site
from firmware.config_words import Where, dotted, listed, near, number, shown

Problem = tuple[Where, str]
SiteRule = Callable[[Site], Iterator[Problem]]

_DEVICE_TABLES = ("pv", "wind", "battery", "generator")
_TOPICS = ("ack", "set")
_PERIODS_PER_LEASE = 3
_ZONE_TOLERANCE_H = 4.0  # western China is 3.1 h off its sun
_MAJOR_CURRENCIES = ("AUD", "CAD", "CHF", "EUR", "GBP", "NZD", "SGD", "USD")
_MAX_MAJOR_PER_KWH = 5.0
_MAX_MAJOR_PER_L = 10.0
# BCM numbers that the Pi's own interfaces take
_SPI_PINS = {0: (9, 10, 11), 1: (19, 20, 21)}
_SPI_SELECTS = {0: (8, 7), 1: (18, 17, 16)}
_UART_PINS = (14, 15)
_SOCKET_BYTES = 99  # 107 of an address, less what a new socket's name has more: ".4194304"
_UART_PORTS = ("/dev/serial0", "/dev/ttyAMA0", "/dev/ttyS0")


def _usable(items: Iterable[Any], *names: str) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Index and the named attributes of each item that has them all."""
    for i, item in enumerate(items):
        try:
            yield i, tuple(getattr(item, name) for name in names)
        except Unknown:
            continue


def _devices(site: Site, *names: str) -> Iterator[tuple[Where, tuple[Any, ...]]]:
    """Place and the named attributes of each device that has them all."""
    for table in _DEVICE_TABLES:
        with contextlib.suppress(Unknown):
            for i, values in _usable(getattr(site, table), *names):
                yield (table, i), values
    with contextlib.suppress(Unknown):
        for _, values in _usable([] if site.grid is None else [site.grid], *names):
            yield ("grid",), values


def _anything(site: Site) -> Iterator[Problem]:
    if site.grid is None and not any(getattr(site, table) for table in _DEVICE_TABLES):
        yield ("grid",), "a site needs a [[pv]], [[wind]], [[battery]], [[generator]] or [grid]"


def _names(site: Site) -> Iterator[Problem]:
    buses: list[tuple[Where, tuple[Any, ...]]]
    buses = [(("bus", i), values) for i, values in _usable(site.bus, "name")]
    for named in (buses, list(_devices(site, "name"))):
        first: dict[str, Where] = {}
        for where, (name,) in named:
            if name in first:
                yield (*where, "name"), f"must be unique; {dotted(first[name])} has it"
            first.setdefault(name, where)


def _topics(site: Site) -> Iterator[Problem]:
    if not site.mqtt.host:
        return
    for where, (name,) in _devices(site, "name"):
        if name in _TOPICS:
            yield (*where, "name"), f"must not be {listed(_TOPICS)}: MQTT topics of the site"


def _endpoints(site: Site) -> Iterator[Problem]:
    first: dict[tuple[Any, ...], Where] = {}
    tcp = [(i, "host", v) for i, v in _usable(site.bus, "host", "port")]
    rtu = [(i, "port", v[:1]) for i, v in _usable(site.bus, "port", "baudrate")]
    for i, key, endpoint in (*tcp, *rtu):
        endpoint = tuple(str(part).lower() if key == "host" else part for part in endpoint)
        if endpoint in first:
            yield ("bus", i, key), f"{dotted(first[endpoint])} has the same endpoint"
        first.setdefault(endpoint, ("bus", i))


def _buses(site: Site) -> Iterator[Problem]:
    known = [name for _, (name,) in _usable(site.bus, "name")]
    if len(known) < len(site.bus):
        return  # a device may mean the one whose name is wrong
    for where, (bus,) in _devices(site, "bus"):
        if bus not in known:
            meant = near(bus, known)
            hint = f", did you mean {shown(meant)}?" if meant else ";"
            choice = f"must be {listed(known)}" if known else "there is no [[bus]]"
            yield (*where, "bus"), f"unknown bus{hint} {choice}"


def _addresses(site: Site) -> Iterator[Problem]:
    serial = {name for _, (name, _) in _usable(site.bus, "name", "baudrate")}
    first: dict[tuple[str, int], Where] = {}
    units = [((*where, "unit"), values) for where, values in _devices(site, "bus", "unit")]
    for i, (bus, unit) in _usable(site.battery, "bus", "battery_unit"):
        units += [] if unit is None else [(("battery", i, "battery_unit"), (bus, unit))]
    for where, (bus, unit) in units:
        if bus in serial and not 1 <= unit <= 247:
            yield where, "must be between 1 and 247 on a serial bus"
        if (bus, unit) in first:
            yield where, f"{dotted(first[bus, unit])} has the same address on bus {shown(bus)}"
        first.setdefault((bus, unit), where)


def _pins(site: Site) -> Iterator[Problem]:
    taken: dict[int, str] = {}
    if site.irradiance is not None:
        spi, select = site.irradiance.spi_bus, site.irradiance.spi_device
        chip_select = _SPI_SELECTS[spi][select : select + 1]
        taken |= dict.fromkeys((*_SPI_PINS[spi], *chip_select), f"SPI bus {spi}")
    if any(port in _UART_PORTS for _, (port,) in _usable(site.bus, "port")):
        taken |= dict.fromkeys(_UART_PINS, "the serial port")
    for key in Gpio.model_fields:
        for _, (pin,) in _usable([site.gpio], key):
            if pin in taken:
                yield ("gpio", key), f"{taken[pin]} has that pin"
            elif pin is not None:
                taken[pin] = f"gpio.{key}"


def _spi_select(site: Site) -> Iterator[Problem]:
    sensor = site.irradiance
    if sensor is not None and sensor.spi_device >= len(_SPI_SELECTS[sensor.spi_bus]):
        yield ("irradiance", "spi_device"), "must be 0 or 1 on SPI bus 0"


def _relay(site: Site) -> Iterator[Problem]:
    pin = site.gpio.generator_relay_pin
    relays = [i for i, (start,) in _usable(site.generator, "start") if start == "relay"]
    by_relay = bool(relays)
    for i in relays[1:]:
        yield (
            ("generator", i, "start"),
            (
                f"generator[{relays[0]}] is started by the relay, and there is one relay; "
                'must be "gencomm"'
            ),
        )
    if by_relay and pin is None:
        yield ("gpio", "generator_relay_pin"), 'generator start = "relay" needs it'
    if pin is not None and not by_relay:
        yield ("gpio", "generator_relay_pin"), 'no [[generator]] has start = "relay"'


def _times(site: Site) -> Iterator[Problem]:
    least = _PERIODS_PER_LEASE * site.loop.period_s
    if site.safety.lease_s < least:
        yield ("safety", "lease_s"), f"must be at least {number(least)}, 3 times loop.period_s"


def _bus_times(site: Site) -> Iterator[Problem]:
    for i, (timeout_s,) in _usable(site.bus, "timeout_s"):
        if timeout_s >= site.loop.stale_after_s:
            limit = number(site.loop.stale_after_s)
            yield ("bus", i, "timeout_s"), f"must be below loop.stale_after_s = {limit}"


def _socket(site: Site) -> Iterator[Problem]:
    if len(site.local.socket.encode()) > _SOCKET_BYTES:
        yield ("local", "socket"), f"must be {_SOCKET_BYTES} bytes long at most, from the root"


def _charging(site: Site) -> Iterator[Problem]:
    if site.grid is None or site.grid.import_max_kw > 0:
        return
    for i, (may,) in _usable(site.battery, "charge_from_grid"):
        if may:
            yield ("battery", i, "charge_from_grid"), "must be false: grid.import_max_kw is 0"


def _prices_given(site: Site) -> Iterator[Problem]:
    if site.grid is not None and site.prices is None:
        yield ("prices",), "a grid connection needs a [prices] table"


def _price_values(site: Site) -> Iterator[tuple[Where, float]]:
    """Every price of a kWh that is given and usable."""
    if site.prices is None:
        return
    for key in ("buy_per_kwh", "sell_per_kwh"):
        for _, (value,) in _usable([site.prices], key):
            yield ("prices", key), value
        for i, (value,) in _usable(site.prices.period, key):
            if value is not None:
                yield ("prices", "period", i, key), value


def _price_magnitude(site: Site) -> Iterator[Problem]:
    currency = site.site.currency
    if currency not in _MAJOR_CURRENCIES:
        return
    for where, price in _price_values(site):
        if abs(price) > _MAX_MAJOR_PER_KWH:
            limits = f"between -{_MAX_MAJOR_PER_KWH:g} and {_MAX_MAJOR_PER_KWH:g}"
            yield where, f"must be {limits} ({currency} per kWh, not cents)"
    for i, (price,) in _usable(site.generator, "fuel_price_per_l"):
        if price > _MAX_MAJOR_PER_L:
            where = ("generator", i, "fuel_price_per_l")
            yield where, f"must be between 0 and {_MAX_MAJOR_PER_L:g} ({currency} per l, not cents)"


def _unserved(site: Site) -> Iterator[Problem]:
    prices = [price for where, price in _price_values(site) if where[-1] == "buy_per_kwh"]
    if prices and site.planner.unserved_cost_per_kwh <= max(prices):
        where = ("planner", "unserved_cost_per_kwh")
        yield where, f"must be above the highest buy_per_kwh = {number(max(prices))}"


def _surplus(site: Site) -> Iterator[Problem]:
    given = {name: getattr(site.surplus, name) for name in Surplus.model_fields}
    if given == dict(Surplus()):
        return
    from control.surplus import (
        SurplusSettings,
        require_usable,
    )  # and numpy, which a check can mostly do without

    try:
        require_usable(SurplusSettings(**given))
    except ValueError as error:
        yield ("surplus",), str(error)


def _zone(site: Site) -> Iterator[Problem]:
    name, longitude_deg = site.site.timezone, site.site.longitude_deg
    if "/" not in name or name.startswith("Etc/"):
        return
    offset = datetime(2026, 1, 1, tzinfo=UTC).astimezone(ZoneInfo(name)).utcoffset()
    clock_h = offset.total_seconds() / 3600 if offset else 0.0
    apart_h = abs((clock_h - longitude_deg / 15 + 12) % 24 - 12)
    if apart_h > _ZONE_TOLERANCE_H:
        hours = f"the sun there is {apart_h:.0f} h from the clock of {name}"
        yield ("site", "longitude_deg"), f"{hours}; east is positive"


def _trading(site: Site) -> Iterator[Problem]:
    broker = site.trading.broker
    given = {name: getattr(broker, name) for name in Broker.model_fields}
    if given != dict(Broker()) and not broker.host:
        yield ("trading", "broker", "host"), "the other keys of [trading.broker] need it"
    if not site.trading.enabled:
        return
    if site.grid is None:
        yield ("trading", "enabled"), "needs a [grid] connection: that is where energy is exchanged"
    if not broker.host and not site.mqtt.host:
        yield ("trading", "enabled"), "needs a broker: mqtt.host, or trading.broker.host"


SITE_RULES: tuple[SiteRule, ...] = (
    _anything,
    _names,
    _topics,
    _endpoints,
    _buses,
    _addresses,
    _pins,
    _spi_select,
    _relay,
    _times,
    _bus_times,
    _socket,
    _charging,
    _prices_given,
    _price_magnitude,
    _unserved,
    _surplus,
    _trading,
    _zone,
)
