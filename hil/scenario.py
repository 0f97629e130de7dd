"""A scenario file: which site, which weather and load, how reality differs, what goes wrong."""

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from firmware.config import SiteError, load_site
from firmware.config_errors import assigned
from firmware.config_models import Table
from firmware.config_words import dotted
from firmware.plain_words import in_plain_words
from hil.fake_pi import CHANNEL_FAULTS, PiFault
from hil.wire_faults import Fault as WireFault

T = TypeVar("T", bound=Table)
HOUR_S = 3600.0
FAULTS = tuple(sorted({*(fault.value for fault in WireFault), *(f.value for f in PiFault)}))
SITE_FAULTS = ("emergency_stop", "generator_trip", "generator_stop", "generator_crank_fails")


class ScenarioError(Exception):
    """A scenario that cannot be run: one line for everything that is wrong with it."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class Head(Table):
    """`[scenario]`: name, time, the site under test."""

    title: str = Field(min_length=1, description="Heading of the report.")
    site: str = Field(description="The site file, relative to this one.")
    start: str = Field(description="First moment, ISO 8601 with offset.")
    duration_h: float = Field(24.0, gt=0, le=24 * 366, description="How long.")
    seed: int = Field(0, ge=0, le=2**31, description="Of weather, load, noise and deviations.")
    history_days: int = Field(28, ge=0, le=60, description="Measured past given to forecasters.")
    plan_iterations: int = Field(
        40, ge=1, le=100000, description="Planner's effort in virtual time, counted."
    )

    @field_validator("start")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("must be an ISO 8601 time") from None
        if moment.tzinfo is None:
            raise ValueError("must have an offset, such as Z")
        return text

    @property
    def start_utc_s(self) -> float:
        """The first moment."""
        return datetime.fromisoformat(self.start).astimezone(UTC).timestamp()


class WeatherTable(Table):
    """`[weather]`: synthetic by kind, or measured PV power or irradiance from a CSV."""

    kind: Literal["clear", "broken", "cloudy", "mixed"] = Field("mixed", description="Sky.")
    tilt_deg: float = Field(25.0, ge=0, le=90, description="Of the arrays.")
    wind_mean_m_s: float = Field(5.0, ge=0, le=30, description="Mean wind speed.")
    csv: str = Field("", description="Measured file; empty: synthetic.")
    column: str = Field("", description="A column in kW (PV power) or W/m2 (irradiance).")
    scale: float = Field(1.0, gt=0, le=1e6, description="Times the column.")
    seed: int | None = Field(None, ge=0, le=2**31, description="Of this sky; none: the scenario's.")
    ambient_degc: float = Field(20.0, ge=-50, le=60, description="With a measured file.")


class LoadTable(Table):
    """`[load]`: synthetic by kind, or measured."""

    kind: Literal["home", "clinic", "workshop"] = Field("home", description="Whose load.")
    kwh_per_day: float = Field(12.0, gt=0, le=5000, description="Mean consumption.")
    csv: str = Field("", description="Measured file; empty: synthetic.")
    column: str = Field("", description="A column in kW.")
    scale: float = Field(1.0, gt=0, le=1e6, description="Times the column.")


class Outage(Table):
    """An `[[outage]]` of the utility."""

    from_h: float = Field(ge=0, description="Hours after the start.")
    to_h: float = Field(gt=0, description="Hours after the start.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.from_h >= self.to_h:
            raise ValueError("to_h must be after from_h")
        return self


class Step(Table):
    """A `[[step]]` of the load: an appliance that is switched on and off."""

    at_s: float = Field(ge=0, description="Seconds after the start.")
    for_s: float = Field(gt=0, le=1e7, description="For how long.")
    kw: float = Field(gt=0, le=250, description="On top of the load.")


class Fault(Table):
    """A `[[fault]]` of a device, a bus, the Pi's converter or the plant."""

    kind: str = Field(description="What goes wrong.")
    target: str = Field("", description="Device or bus; adc channel for the Pi's faults; or empty.")
    at_h: float = Field(ge=0, description="Hours after the start.")
    for_s: float = Field(gt=0, le=1e7, description="For how long.")

    @field_validator("kind")
    @classmethod
    def _known(cls, kind: str) -> str:
        if kind not in (*FAULTS, *SITE_FAULTS):
            raise ValueError("must be one of " + ", ".join((*FAULTS, *SITE_FAULTS)))
        return kind


class Scenario(Table):
    """A whole scenario file."""

    scenario: Head
    weather: WeatherTable = WeatherTable()
    load: LoadTable = LoadTable()
    step: tuple[Step, ...] = ()
    outage: tuple[Outage, ...] = ()
    fault: tuple[Fault, ...] = ()
    plant: Annotated[dict[str, Any], Field(description="True parameters of the plant.")] = {}  # noqa: RUF012
    der: tuple[str, ...] = Field((), description="Devices with SunSpec's 700 models.")

    @model_validator(mode="after")
    def _columns(self) -> Self:
        for name, table in (("weather", self.weather), ("load", self.load)):
            if table.csv and not table.column:
                raise ValueError(f"{name}.column: missing, {name}.csv needs one")
        return self

    def steps_kw(self, elapsed_s: float) -> float:
        """What the steps add to the load."""
        return sum(step.kw for step in self.step if step.at_s <= elapsed_s < step.at_s + step.for_s)

    def outage_at(self, elapsed_s: float) -> bool:
        """Whether the utility is away."""
        hours = elapsed_s / HOUR_S
        return any(outage.from_h <= hours < outage.to_h for outage in self.outage)


class LoadedScenario:
    """A scenario with its site and the files it names."""

    def __init__(
        self, path: Path, data: Path | None = None, scenario: Scenario | None = None
    ) -> None:
        """Read and check everything; measured files are also looked for in the folder `data`.

        `scenario`, where it is known already: one house of the street in `path`. Raises
        ScenarioError.
        """
        self.path = path
        self._data = data
        if scenario is None and "street" in parse(path):
            raise ScenarioError([f"{path}: holds a [street], not a single house"])
        self.scenario = read_scenario(path, Scenario) if scenario is None else scenario
        self.site_path = self.file(self.scenario.scenario.site)
        try:
            self.site = load_site(self.site_path)
        except SiteError as error:
            raise ScenarioError(error.errors) from None
        self.site_table: Mapping[str, Any] = tomllib.loads(self.site_path.read_text("utf-8"))
        errors = [f"{path}: {text}" for text in self._wrong_targets()]
        if errors:
            raise ScenarioError(errors)

    def _wrong_targets(self) -> list[str]:
        """Faults of what is not there."""
        found = []
        for index, fault in enumerate(self.scenario.fault):
            allowed = self._targets(fault.kind)
            if fault.target not in allowed:
                names = ", ".join(name or "empty" for name in sorted(allowed)) or "nothing on site"
                where = f"fault[{index}].target = {fault.target!r}"
                found.append(f"{where}: must be, for {fault.kind}, one of {names}")
        known = {device.name for device in self.site.devices}
        return found + [
            f"der: no device {name!r}" for name in self.scenario.der if name not in known
        ]

    def _targets(self, kind: str) -> set[str]:
        """What a fault of this kind can befall."""
        site = self.site
        if kind == "emergency_stop":
            return {""} if site.gpio.emergency_stop_pin is not None else set()
        if kind in SITE_FAULTS:
            return {"", *(generator.name for generator in site.generator)}
        targets = set()
        if kind in set(WireFault):
            targets |= {device.name for device in site.devices} | {bus.name for bus in site.bus}
        if kind in set(PiFault) and site.irradiance is not None:
            targets |= set("01234567") if kind in CHANNEL_FAULTS else {""}
        return targets

    def file(self, name: str) -> Path:
        """A file that the scenario names: relative to it, or in the folder of measured data."""
        beside = (self.path.parent / name).resolve()
        if self._data is None or beside.exists():
            return beside
        return (self._data / name).resolve()


def read_scenario(path: Path, kind: type[T]) -> T:
    """The content of a scenario file. Raises ScenarioError."""
    try:
        return kind.model_validate(_frozen(parse(path)))
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise ScenarioError([f"{path}: {_line(each)}" for each in found]) from None


def parse(path: Path) -> dict[str, Any]:
    """A TOML file. Raises ScenarioError."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ScenarioError([f"{path}: {error.strerror}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError([f"{path}: {error}"]) from None


def _line(error: ErrorDetails) -> str:
    """One line for one error: key, value and what is wrong."""
    where, message = error["loc"], in_plain_words(error)
    if error["type"] == "missing":
        return f"{dotted(where)}: missing"
    if error["type"] == "extra_forbidden":
        return f"{dotted(where)}: unknown key"
    if isinstance(error["input"], dict):
        return f"{dotted(where)}: {message}" if where else message
    return f"{assigned(where, error['input'])}: {message}"


def _frozen(value: Any) -> Any:
    """Lists as tuples, which strict models want."""
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
