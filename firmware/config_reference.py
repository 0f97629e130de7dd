"""docs/configuration.md, from the models: `python -m firmware.config_reference > FILE`."""

import re

from pydantic.fields import FieldInfo

from firmware.config_models import Says, Table
from firmware.config_tables import Site
from firmware.config_words import allowed, is_array, shown, tables

INTRODUCTION = """\
# Configuration: site.toml

One file describes a site. `nanogrid check --config site.toml` says everything that is wrong with
it, one line per error; `--probe` then asks every device. `examples/site.toml` is a complete one.

Powers are in kW, energies in kWh, shares are fractions of 1, times are seconds, prices are in the
site's currency per kWh. Names are `a-z`, `0-9`, `-`, `_`, up to 32 of them. Relative paths count
from the site file's folder. A key that is not listed here is an error. **required** marks keys
without a default; whole tables may be left out unless their description says otherwise.
"""

RULES = """\
## What must fit together

- Devices have different names, and so have buses. No two devices share bus and unit, no two buses
  an endpoint, no two functions a pin; the SPI bus of the converter and the Pi's serial port, where
  used, have their pins too.
- `soc_min_frac` < `soc_max_frac`, with `reserve_soc_frac` between; `charge_max_kw` and
  `discharge_max_kw` within `inverter_rated_kw` and 5 kW per kWh of capacity.
- The generator's `max_run_s` has room for warm-up, minimum run and cool-down. With
  `start = "relay"` there is a `generator_relay_pin`, and only then.
- A grid connection has prices. In currencies whose unit buys a few kWh (EUR, USD, GBP, ...) prices
  beyond 5 per kWh or 10 per litre of fuel are taken for cents. Load not served costs more than the
  dearest kWh. A battery that the grid may charge needs `import_max_kw` above 0.
- The irradiance sensor reaches 1500 W/m2 within `reference_v`, as the edges of clouds do, and one
  step of the converter is 25 W/m2 or less.
- A setpoint's `lease_s` is 3 periods of the loop or more; a bus answers or gives up within
  `stale_after_s`.
- The three weights of the planner add up to 1; `slot_s` divides an hour; a plan lives longer than
  `interval_s` and `budget_s` together.
- The sun at `longitude_deg` is within 4 h of the clock of `timezone`: east is positive.
- Trading needs a grid connection and a broker, `[mqtt]`'s or its own.
- The path of the local socket, from the root, has 99 bytes at most: addresses of sockets are short.
- Any number of `[[pv]]`, `[[wind]]`, `[[battery]]` and `[[generator]]` ([units.md](units.md)), at
  least one device. One generator at most is started by the relay.
"""

REASONS = """\
## Why these defaults

- `lease_s` 30: a dead controller leaves the site to its devices within half a minute, and two
  renewals, one every third of it, may get lost. A Victron GX ends a setpoint after 60 s anyway.
- `stale_after_s` 5, `timeout_s` 0.2: a serial line with one dead device still serves the others
  several times before their values count as stale. At 9600 Bd give it 0.5 s.
- `grid_v_min_frac` to `grid_hz_above`: the operating range of EN 50549-1, 0.85 to 1.1 of nominal
  voltage and 47.5 to 51.5 Hz. In 60 Hz grids 1.5 and 1.2 Hz fit better. The inverters' own
  protection is faster and decides; this only tells the controller that it is on an island.
- `min_load_frac` 0.3: unburnt fuel and oil foul a diesel engine that runs long below 30 % load.
  `min_run_s`, `min_rest_s`, `warm_up_s`, `cool_down_s` are what makers ask of small sets.
- Fuel: 0.08 l/h per kW rated and 0.246 l/kWh are the usual figures for small diesel sets.
- `pollution_per_kwh`: CO2, NOx, SO2, CO and particles at 0.03, 9, 2.2, 1.2 and 5 USD/kg, times what
  a diesel set and a fairly clean grid emit per kWh. These and the other costs are in the site's
  currency: adapt them where its unit is not near a euro or a dollar.
- The planner's weights are alpha, beta and gamma of Qian 2024, eq. 5.
"""


def reference() -> str:
    """The whole document."""
    parts = [INTRODUCTION]
    for key, (_, field) in Site.entries().items():
        for table in tables(field.annotation):
            parts += _sections(key, field, table)
    return "\n".join([*parts, RULES, REASONS])


def _sections(key: str, field: FieldInfo, table: type[Table]) -> list[str]:
    """A table's section, and those of the tables inside it."""
    parts = [_section(key, field, table)]
    for inner_key, (_, inner_field) in table.entries().items():
        for inner in tables(inner_field.annotation):
            parts += _sections(f"{key}.{inner_key}", inner_field, inner)
    return parts


def _section(key: str, field: FieldInfo, table: type[Table]) -> str:
    name = f"[[{key}]]" if is_array(field) else f"[{key}]"
    kind = table.model_fields.get("kind")
    title = f'{name}, kind = "{_kind(kind)}"' if kind else name
    rows = [
        _row(key, *entry)
        for key, entry in table.entries().items()
        if not tables(entry[1].annotation)
    ]
    text = re.sub(r"\s+", " ", (table.__doc__ or "").strip())
    if not rows:
        return f"## {title}\n\n{text}\n"
    head = "| key | unit | default | allowed | why |\n|---|---|---|---|---|"
    return "\n".join([f"## {title}\n", f"{text}\n", head, *rows, ""])


def _kind(field: FieldInfo) -> str:
    return allowed(field).strip('"')


def _row(key: str, name: str, field: FieldInfo) -> str:
    cells = (
        f"`{key}`",
        _unit(key, field),
        _default(name, field),
        allowed(field),
        field.description,
    )
    return f"| {' | '.join(str(cell).replace('|', ' ') for cell in cells)} |"


def _unit(key: str, field: FieldInfo) -> str:
    """The unit as the type says it, else as the key's ending does."""
    said = [item.unit for item in field.metadata if isinstance(item, Says) and item.unit]
    if said:
        return said[0]
    endings = {"_s": "s", "_h": "h", "_deg": "deg"}
    return next((unit for ending, unit in endings.items() if key.endswith(ending)), "")


def _default(name: str, field: FieldInfo) -> str:
    if name == "inverter_rated_kw":
        return "the larger of `charge_max_kw` and `discharge_max_kw`"
    if field.is_required():
        return "**required**"
    if field.default is None:
        return "none"
    if name in ("days", "months"):
        return "all"
    return f"`{shown(field.default)}`"


if __name__ == "__main__":
    print(reference(), end="")
