"""One site file, strictly: the example is valid; all that is wrong is said at once, in lines."""

import copy
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware.config import Site, SiteError, load_site, site_from_dict

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "site.toml"
CONTENT = tomllib.loads(EXAMPLE.read_text())
DROP = object()


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """The example with values set, or dropped, at dotted keys."""
    content = copy.deepcopy(CONTENT)
    for path, value in changes.items():
        *parents, key = path.split(".")
        table: Any = content
        for part in parents:
            table = table[int(part)] if isinstance(table, list) else table.setdefault(part, {})
        if value is DROP:
            del table[key]
        elif isinstance(table, list):
            table[int(key) :] = [value]
        else:
            table[key] = value
    return content


def errors(content: dict[str, Any]) -> list[str]:
    """What is said about it, without the file's name."""
    try:
        site_from_dict(content)
    except SiteError as error:
        return [line.removeprefix("site.toml: ") for line in error.errors]
    return []


def test_the_example_is_valid() -> None:
    site = load_site(EXAMPLE)
    assert site.battery[0].soc_min_frac == 0.15
    assert site.prices is not None
    assert site.prices.period[0].from_ == "17:00"
    assert [device.name for device in site.devices] == ["roof", "battery", "genset", "grid"]


def test_the_defaults_that_the_example_shows_are_the_defaults() -> None:
    text, shown = re.subn(r"^# (\w+ = )", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert shown > 40
    assert site_from_dict(tomllib.loads(text)) == load_site(EXAMPLE)


def test_the_options_that_the_example_does_not_use_are_valid_too() -> None:
    text = re.sub(r"^#(\w+ = |\[)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    site = site_from_dict(tomllib.loads(text))
    assert [wind.name for wind in site.wind] == ["mast"]
    assert site.irradiance is not None
    assert site.irradiance.reference_channel_v == 1.65


def keys_of(model: Any, prefix: str = "") -> set[str]:
    """Every key that a model allows, dotted."""
    from firmware.config_words import tables

    found = set()
    for key, (_, field) in model.entries().items():
        inner = tables(field.annotation)
        found |= {f"{prefix}{key}"} if not inner else set()
        for table in inner:
            found |= keys_of(table, f"{prefix}{key}.")
    return found


def keys_in(content: dict[str, Any], prefix: str = "") -> set[str]:
    """Every key that a file uses, dotted."""
    found = set()
    for key, value in content.items():
        for item in value if isinstance(value, list) else [value]:
            inner = keys_in(item, f"{prefix}{key}.") if isinstance(item, dict) else set()
            found |= inner or {f"{prefix}{key}"}
    return found


def test_the_example_shows_every_key() -> None:
    text = re.sub(r"^# ?(\w+ = |\[)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    assert keys_in(tomllib.loads(text)) == keys_of(Site)


def test_an_island_with_a_battery_alone_is_enough() -> None:
    content = {key: CONTENT[key] for key in ("site", "bus", "battery")}
    site = site_from_dict(content)
    assert site.grid is None
    assert site.battery[0].inverter_rated_kw == 4.0
    assert site.planner.weight_generation == 0.45


POWER = "must be between 0.05 and 250 (kW, not W)"
FRACTION = "must be between 0 and 1 (a fraction, not percent)"
BAD: list[tuple[dict[str, Any], list[str]]] = [
    # orders of magnitude
    ({"battery.0.soc_min_frac": 15}, [f"battery[0].soc_min_frac = 15: {FRACTION}"]),
    ({"pv.0.rated_kw": 5000}, [f"pv[0].rated_kw = 5000: {POWER}"]),
    ({"pv.0.rated_kw": 0.0}, [f"pv[0].rated_kw = 0.0: {POWER}"]),
    (
        {"battery.0.capacity_kwh": 12000},
        ["battery[0].capacity_kwh = 12000: must be between 0.1 and 1000 (kWh, not Wh)"],
    ),
    (
        {"mqtt": {"tls_ca": "ca.pem", "tls_certificate": "own.crt"}},
        ['mqtt.tls_key = "" (default): tls_certificate needs it'],
    ),
    (
        {"mqtt": {"host": "broker", "password_file": "secret"}, "pv.0.name": "ack"},
        [
            'mqtt.username = "" (default): password_file needs it',
            'pv[0].name = "ack": must not be "ack" or "set": MQTT topics of the site',
        ],
    ),
    (
        {"trading": {"enabled": True, "strategy": "qayyum2023", "broker": {"port": 1884}}},
        [
            'trading.strategy = "qayyum2023": must be "together" or "alone"',
            'trading.broker.host = "" (default): the other keys of [trading.broker] need it',
            "trading.enabled = true: needs a broker: mqtt.host, or trading.broker.host",
        ],
    ),
    (
        {"trading": {"broker": {"host": "market", "tls_key": "own.key"}}},
        ['trading.broker.tls_certificate = "" (default): tls_key needs it'],
    ),
    ({"site.latitude_deg": 95.0}, ["site.latitude_deg = 95.0: must be between -90 and 90"]),
    ({"loop.period_s": 0.01}, ["loop.period_s = 0.01: must be between 0.05 and 60"]),
    (
        {"loop.period_s": float("nan")},
        ["loop.period_s = nan: not a number; must be between 0.05 and 60"],
    ),
    (
        {"generator.0.fuel_linear_l_per_kwh": 210},
        ["generator[0].fuel_linear_l_per_kwh = 210: must be between 0.05 and 2 (l/kWh, not g/kWh)"],
    ),
    (
        {"prices.buy_per_kwh": 30},
        [
            "prices.buy_per_kwh = 30: must be between -5 and 5 (EUR per kWh, not cents)",
            "planner.unserved_cost_per_kwh = 5.0 (default): "
            "must be above the highest buy_per_kwh = 30",
        ],
    ),
    (
        {"irradiance.w_m2_per_v": 150},
        ["irradiance.w_m2_per_v = 150: reference_v would show 495 W/m2 at most; must reach 1500"],
    ),
    (
        {"irradiance.w_m2_per_v": 100000.0},
        [
            "irradiance.w_m2_per_v = 100000.0: a step of mcp3208 would be 81 W/m2; "
            "must be at most 25: amplify the sensor"
        ],
    ),
    (
        {"site.longitude_deg": -112.5},
        [
            "site.longitude_deg = -112.5: the sun there is 8 h from the clock of "
            "Europe/Copenhagen; east is positive"
        ],
    ),
    # types
    ({"loop.period_s": "1"}, ['loop.period_s = "1": not a number; must be between 0.05 and 60']),
    (
        {"loop.realtime_priority": 1.5},
        ["loop.realtime_priority = 1.5: must be a whole number between 0 and 99"],
    ),
    ({"planner.enabled": 1}, ["planner.enabled = 1: must be true or false"]),
    ({"battery": CONTENT["battery"][0]}, ["battery = a table: must be written as [[battery]]"]),
    ({"loop": [{}]}, ["loop = [a table]: must be written as [loop]"]),
    ({"pv.0": 5}, ["pv[0] = 5: must be written as [[pv]]"]),
    (
        {"prices.period.0.days": ["mon", "Tue"]},
        [
            'prices.period[0].days[1] = "Tue": '
            'must be "mon", "tue", "wed", "thu", "fri", "sat" or "sun"'
        ],
    ),
    (
        {"prices.period.0.days": []},
        [
            "prices.period[0].days = []: must be a list, not empty, of "
            '"mon", "tue", "wed", "thu", "fri", "sat" or "sun"'
        ],
    ),
    (
        {"prices.period.0.from": "5 pm"},
        ['prices.period[0].from = "5 pm": must be a local time like "17:00"'],
    ),
    # unknown and missing keys
    (
        {"battery.0.soc_min": 0.1},
        ["battery[0].soc_min = 0.1: unknown key, did you mean soc_min_frac?"],
    ),
    ({"baterry": 1}, ["baterry = 1: unknown key, did you mean battery?"]),
    ({"site.period_s": 1}, ["site.period_s = 1: unknown key here, it belongs to [loop]"]),
    (
        {"recording.a\nb": "c\nd"},
        ['recording."a\\nb" = "c\\nd": unknown key, allowed are path, max_mb'],
    ),
    ({"pv.0.rated_kw": DROP}, [f"pv[0].rated_kw: missing: {POWER}"]),
    ({"site": DROP}, ["site: missing: must be a [site] table"]),
    (
        {"bus.0.kind": DROP},
        ['bus[0].kind: missing: must be "tcp" or "rtu"'],
    ),
    ({"bus.0.kind": "udp"}, ['bus[0].kind = "udp": must be "tcp" or "rtu"']),
    ({"bus.2.baud": 9600}, ["bus[2].baud = 9600: unknown key, did you mean baudrate?"]),
    (
        {"bus.0.port": "/dev/ttyUSB1"},
        ['bus[0].port = "/dev/ttyUSB1": must be a whole number between 1 and 65535'],
    ),
    # names, addresses, drivers
    ({"site.name": "Clinic 1"}, ['site.name = "Clinic 1": must be a-z, 0-9, - and _, up to 32']),
    (
        {"site.timezone": "Europe/Kopenhagen"},
        [
            'site.timezone = "Europe/Kopenhagen": unknown time zone, did you mean '
            '"Europe/Copenhagen"?; must be an IANA name like "Europe/Copenhagen"'
        ],
    ),
    (
        {"pv.0.driver": "victron-gx"},
        ['pv[0].driver = "victron-gx": that drives battery; must be "sunspec-inverter"'],
    ),
    (
        {"grid.driver": "eastron"},
        ['grid.driver = "eastron": must be "eastron-sdm630" or "sunspec-meter"'],
    ),
    (
        {"pv.0.bus": "lan-vp"},
        [
            'pv[0].bus = "lan-vp": unknown bus, did you mean "lan-pv"? '
            'must be "lan-pv", "lan-gx" or "rs485"'
        ],
    ),
    ({"grid.name": "roof"}, ['grid.name = "roof": must be unique; pv[0] has it']),
    (
        {"bus.1.name": "lan-pv", "battery.0.bus": "lan-pv"},
        ['bus[1].name = "lan-pv": must be unique; bus[0] has it'],
    ),
    (
        {"grid.unit": 10},
        ['grid.unit = 10: generator[0].unit has the same address on bus "rs485"'],
    ),
    (
        {"battery.0.battery_unit": 227},
        ['battery[0].battery_unit = 227: battery[0].unit has the same address on bus "lan-gx"'],
    ),
    ({"grid.unit": 0}, ["grid.unit = 0: must be between 1 and 247 on a serial bus"]),
    (
        {"bus.1.host": "192.168.1.20"},
        ['bus[1].host = "192.168.1.20": bus[0] has the same endpoint'],
    ),
    (
        {"battery.0.driver": "sunspec-storage"},
        ['battery[0].battery_unit = 225: must be left out with driver "sunspec-storage"'],
    ),
    # limits that contradict each other
    (
        {"battery.0.soc_min_frac": 0.95},
        ["battery[0].soc_min_frac = 0.95: must be below soc_max_frac = 0.95"],
    ),
    (
        {"battery.0.reserve_soc_frac": 0.1},
        [
            "battery[0].reserve_soc_frac = 0.1: "
            "must be between soc_min_frac = 0.15 and soc_max_frac = 0.95"
        ],
    ),
    (
        {"battery.0.soc_min_frac": 0.3},
        [
            "battery[0].reserve_soc_frac = 0.25 (default): "
            "must be between soc_min_frac = 0.3 and soc_max_frac = 0.95"
        ],
    ),
    (
        {"battery.0.inverter_rated_kw": 3.0},
        [
            "battery[0].charge_max_kw = 4.0: must be at most inverter_rated_kw = 3",
            "battery[0].discharge_max_kw = 4.0: must be at most inverter_rated_kw = 3",
        ],
    ),
    (
        {"battery.0.charge_max_kw": 70.0},
        ["battery[0].charge_max_kw = 70.0: must be at most 60, 5 times capacity_kwh"],
    ),
    (
        {"generator.0.min_load_frac": 30},
        ["generator[0].min_load_frac = 30: must be between 0 and 0.8 (a fraction, not percent)"],
    ),
    (
        {"generator.0.max_run_s": 1900},
        [
            "generator[0].max_run_s = 1900: "
            "must be at least 1980 (warm_up_s + min_run_s + cool_down_s)"
        ],
    ),
    (
        {"grid.import_max_kw": 0.0},
        ["battery[0].charge_from_grid = true (default): must be false: grid.import_max_kw is 0"],
    ),
    ({"grid.nominal_hz": 55}, ["grid.nominal_hz = 55: must be 50 or 60"]),
    (
        {"local.socket": "/run/" + 95 * "x"},
        [f'local.socket = "/run/{51 * "x"}...: must be 99 bytes long at most, from the root'],
    ),
    (
        {"loop.period_s": 20},
        ["safety.lease_s = 30.0 (default): must be at least 60, 3 times loop.period_s"],
    ),
    (
        {"bus.0.timeout_s": 5},
        ["bus[0].timeout_s = 5: must be below loop.stale_after_s = 5"],
    ),
    (
        {"planner.weight_generation": 0.5},
        [
            "planner.weight_generation = 0.5: "
            "the three weights must add up to 1, not 0.5 + 0.45 + 0.1"
        ],
    ),
    (
        {"planner.slot_s": 700},
        [
            "planner.slot_s = 700: must divide an hour: "
            "60, 120, 180, 300, 600, 900, 1200, 1800 or 3600"
        ],
    ),
    (
        {"planner.interval_s": 20.0, "planner.budget_s": 20.0},
        ["planner.budget_s = 20.0: must be below interval_s = 20"],
    ),
    (
        {"planner.expiry_s": 300.0},
        ["planner.expiry_s = 300.0: must be at least 301 (interval_s + budget_s)"],
    ),
    (
        {"prices.period.0.to": "17:00"},
        [
            'prices.period[0].to = "17:00": '
            'must differ from `from`; a whole day is from "00:00" to "24:00"'
        ],
    ),
    (
        {"prices.period.0.from": "24:00"},
        ['prices.period[0].from = "24:00": must be "00:00" for midnight at the start of a day'],
    ),
    (
        {"prices.period.0.buy_per_kwh": DROP},
        [
            "prices.period[0].buy_per_kwh: missing: "
            "a period sets buy_per_kwh or sell_per_kwh or both"
        ],
    ),
    ({"prices": DROP}, ["prices: missing: a grid connection needs a [prices] table"]),
    (
        {"generator.0.fuel_price_per_l": 160},
        ["generator[0].fuel_price_per_l = 160: must be between 0 and 10 (EUR per l, not cents)"],
    ),
    # the Pi
    ({"gpio.led_pin": 22}, ["gpio.led_pin = 22: gpio.heartbeat_pin has that pin"]),
    ({"gpio.led_pin": 9}, ["gpio.led_pin = 9: SPI bus 0 has that pin"]),
    (
        {"gpio.led_pin": 15, "bus.2.port": "/dev/serial0"},
        ["gpio.led_pin = 15: the serial port has that pin"],
    ),
    (
        {"gpio.led_pin": 40},
        [
            "gpio.led_pin = 40: must be a whole number between 2 and 27 "
            "(the BCM number, not the header's)"
        ],
    ),
    (
        {"gpio.generator_relay_pin": DROP},
        ['gpio.generator_relay_pin: missing: generator start = "relay" needs it'],
    ),
    (
        {"generator.0.start": "gencomm"},
        ['gpio.generator_relay_pin = 27: no [[generator]] has start = "relay"'],
    ),
    (
        {"irradiance.reference_channel": 0, "irradiance.reference_channel_v": 1.65},
        ["irradiance.reference_channel = 0: must differ from channel = 0"],
    ),
    (
        {"irradiance.reference_channel": 7},
        ["irradiance.reference_channel_v: missing: reference_channel needs it"],
    ),
    (
        {"irradiance.reference_channel_v": 3.3},
        [
            "irradiance.reference_channel: missing: reference_channel_v needs it",
            "irradiance.reference_channel_v = 3.3: must be below reference_v = 3.3",
        ],
    ),
    ({"irradiance.spi_device": 2}, ["irradiance.spi_device = 2: must be 0 or 1 on SPI bus 0"]),
]


@pytest.mark.parametrize(("changes", "lines"), BAD)
def test_what_is_wrong_is_said(changes: dict[str, Any], lines: list[str]) -> None:
    assert errors(changed(changes)) == lines


def test_several_batteries_and_generators() -> None:
    battery = CONTENT["battery"][0] | {"name": "second", "unit": 100, "battery_unit": 226}
    generator = CONTENT["generator"][0] | {"name": "spare", "unit": 101, "start": "gencomm"}
    content = changed({"battery.1": battery, "generator.1": generator})
    made = site_from_dict(content)
    assert [each.name for each in made.battery] == ["battery", "second"]
    assert [each.name for each in made.generator] == ["genset", "spare"]
    twice = changed({"battery.1": battery | {"name": "battery"}})
    assert errors(twice) == ['battery[1].name = "battery": must be unique; battery[0] has it']


def test_one_contact_starts_one_generator() -> None:
    second = CONTENT["generator"][0] | {"name": "spare", "unit": 101}
    assert errors(changed({"generator.1": second})) == [
        'generator[1].start = "relay": generator[0] is started by the relay, and there is one '
        'relay; must be "gencomm"'
    ]


def test_a_site_needs_something_to_measure() -> None:
    assert errors({"site": CONTENT["site"]}) == [
        "grid: missing: a site needs a [[pv]], [[wind]], [[battery]], [[generator]] or [grid]"
    ]


def test_all_errors_at_once() -> None:
    changes = {
        "battery.0.soc_max_frac": 95,
        "battery.0.inverter_rated_kw": 3.0,
        "pv.0.name": "Roof",
        "pv.0.bus": "lan",
        "gpio.led_pin": 22,
        "colour": "red",
    }
    assert [line.split(" = ")[0] for line in errors(changed(changes))] == [
        "pv[0].name",
        "battery[0].soc_max_frac",
        "colour",
        "battery[0].charge_max_kw",
        "battery[0].discharge_max_kw",
        "pv[0].bus",
        "gpio.led_pin",
    ]


def test_the_file_is_named() -> None:
    with pytest.raises(SiteError) as caught:
        site_from_dict(changed({"pv.0.unit": -1}), origin="/etc/nanogrid/site.toml")
    assert str(caught.value) == (
        "/etc/nanogrid/site.toml: pv[0].unit = -1: "
        "must be a whole number between 0 and 255 (the Modbus unit address)"
    )


# --- files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"[site]\nname 3\n", "line 2, column 6: expected '=' after a key in a key/value pair"),
        (b"[site]\n[site]\n", "line 2, column 6: cannot declare ('site',) twice"),
        (b"a = [1, 2", "end of document: unclosed array"),
        (b"name = '\xff'", "not UTF-8 text (byte 8)"),
        (b"a = " + 5000 * b"[", "not a site file: nested too deeply or too long"),
        (b"a = " + 5000 * b"9", "not a site file: nested too deeply or too long"),
    ],
)
def test_a_broken_file_is_one_line(tmp_path: Path, text: bytes, line: str) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes(text)
    with pytest.raises(SiteError) as caught:
        load_site(path)
    assert caught.value.errors == [f"{path}: {line}"]


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "none.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
    ]:
        with pytest.raises(SiteError) as caught:
            load_site(path)
        assert caught.value.errors == [f"{path}: {reason}"]


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(EXAMPLE.read_text().replace('# history = ""', 'history = "past.csv"'))
    site = load_site(path)
    assert site.forecast.history == str(tmp_path / "past.csv")
    assert site.forecast.pv_model == ""


def test_a_site_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_site(EXAMPLE).loop.period_s = 2.0  # type: ignore[misc]


def test_importing_it_loads_nothing_slow() -> None:
    script = "import firmware.config, sys; print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    modules = set(out.stdout.split())
    assert not modules & {"numpy", "pymodbus", "rich", "serial", "click", "asyncio"}


# --- whatever the file holds ----------------------------------------------------------------

VALUES = st.one_of(
    st.none().map(lambda _: DROP),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=8),
    st.dates(),
    st.times(),
    st.sampled_from([0, 1, -1, 0.0, 10**400, "", "lan-pv", "rtu", "tcp", "UTC", "grid", 17, 27]),
    st.lists(st.one_of(st.integers(), st.text(max_size=3)), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
    st.just([{}]),
)


def places(content: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a file, tables and values."""
    items: Any = content.items() if isinstance(content, dict) else enumerate(content)
    found = []
    for key, value in items:
        found.append((*prefix, key))
        if isinstance(value, dict | list):
            found += places(value, (*prefix, key))
    return found


TEXT = re.sub(r"^# ?(\w+ = |\[)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
FULL = tomllib.loads(TEXT)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(places(FULL)), VALUES), max_size=4), st.text(max_size=5))
def test_no_content_breaks_the_reader(edits: list[tuple[Any, Any]], key: str) -> None:
    content: Any = copy.deepcopy(FULL)
    for place, value in edits:
        table = content
        try:
            for part in place[:-1]:
                table = table[part]
            if value is DROP:
                del table[place[-1]]
            else:
                table[place[-1]] = copy.deepcopy(value)  # no file holds itself
        except (KeyError, IndexError, TypeError):
            continue  # an earlier edit took the place away
    if key:
        content[key] = key
    for line in errors(content):
        assert line.splitlines() == [line]
        assert line.isprintable()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_text_breaks_the_reader(data: st.DataObject) -> None:
    lines = TEXT.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = data.draw(
            st.sampled_from([lines[at][1:], lines[at] * 2, "", "[[pv]]", "a.b = 1"])
        )
    try:
        content = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return
    for line in errors(content):
        assert line.splitlines() == [line]


def test_shapes_that_leave_values_without_a_term_are_named(tmp_path: Path) -> None:
    shapes = "[[0.0, 0.0, 0.1], [0.4, 0.5, 1.0], [0.5, 1.0, 1.0]]"
    path = tmp_path / "site.toml"
    path.write_text(
        EXAMPLE.read_text().replace("[surplus]", f"[surplus]\ninterest_frac = {shapes}")
    )
    with pytest.raises(SiteError, match=r"surplus.*interest: no term covers 0.1"):
        load_site(path)


@pytest.mark.parametrize("text", ["cheapest", "cheapest within 5% of the cleanest", "best of all"])
def test_a_preference_is_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "site.toml"
    good = "cheapest within 5 % of the cleanest"
    given = EXAMPLE.read_text().replace("[planner]", f'[planner]\npreference = "{good}"')
    path.write_text(given)
    assert load_site(path).planner.preference == good
    path.write_text(given.replace(good, text))
    with pytest.raises(SiteError, match=r"planner.preference = .* like"):
        load_site(path)
