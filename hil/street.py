"""A street's file: houses on one market, each with a site, weather and load of its own."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from firmware.config import SiteError, site_from_dict
from firmware.config_models import Name, Table
from hil.scenario import (
    HOUR_S,
    Fault,
    Head,
    LoadedScenario,
    LoadTable,
    Outage,
    Scenario,
    ScenarioError,
    WeatherTable,
    parse,
    read_scenario,
)

Strategy = Literal["neighbours", "qayyum2023"]


class StreetHead(Head):
    """`[street]`: a `[scenario]` without a site, and the market."""

    site: str = Field("", max_length=0, description="Each house names its own.")
    slot_s: float = Field(900.0, ge=5, le=3600, description="Length of a market slot.")
    fee_per_kwh: float = Field(0.01, ge=0, le=1000, description="Leaves the community.")
    period_s: float | None = Field(
        None, ge=0.05, le=60, description="Of all loops; none: each site's own."
    )
    max_kw: float = Field(20.0, gt=0, le=1000, description="A house's most, traded in a slot.")
    strategy: Strategy = Field("neighbours", description="Of `nanogrid hil street` alone.")


class House(Table):
    """A `[[house]]`: what a scenario has, without its head."""

    name: Name
    site: str = Field(description="The site file, relative to this one.")
    count: int = Field(1, ge=1, le=100, description="So many alike, with loads of their own.")
    weather: WeatherTable = WeatherTable()
    load: LoadTable = LoadTable()
    outage: tuple[Outage, ...] = ()
    fault: tuple[Fault, ...] = ()
    plant: Annotated[dict[str, Any], Field(description="True parameters of the plant.")] = {}  # noqa: RUF012
    der: tuple[str, ...] = ()


class Street(Table):
    """A whole file."""

    street: StreetHead
    weather: WeatherTable = WeatherTable()  # what a house does not say otherwise
    prices: Annotated[dict[str, Any], Field(description="In place of the sites' own.")] = {}  # noqa: RUF012
    house: tuple[House, ...] = Field(min_length=1)


class LoadedStreet:
    """A street whose houses are scenarios of their own."""

    def __init__(self, path: Path, data: Path | None = None) -> None:
        """Read and check everything; raises ScenarioError."""
        self.path = path
        content = parse(path)
        if "street" not in content:
            raise ScenarioError([f"{path}: holds no [street]"])
        street = read_scenario(path, Street)
        self.head = street.street
        self.houses: dict[str, LoadedScenario] = {}
        errors = _twice(street)
        for index, (name, house) in enumerate(_each(street)):
            scenario = _scenario(street, house, index, name)
            try:
                self.houses[name] = LoadedScenario(path, data, scenario)
                self._adapt(self.houses[name], content.get("prices", {}))
            except ScenarioError as error:
                errors += [_of_house(path, name, line) for line in error.errors]
        if not errors:
            errors = list(self._contradictions())
        if errors:
            raise ScenarioError([f"{path}: {text}" for text in errors])

    def _adapt(self, house: LoadedScenario, prices: Mapping[str, Any]) -> None:
        """What the street says of all sites. Raises ScenarioError."""
        changed = dict(house.site_table)
        if self.head.period_s is not None:
            changed["loop"] = {**changed.get("loop", {}), "period_s": self.head.period_s}
        if prices:
            changed["prices"] = prices
        house.site_table = changed
        try:
            house.site = site_from_dict(changed, str(house.site_path))
        except SiteError as error:
            raise ScenarioError(error.errors) from None

    def _contradictions(self) -> list[str]:
        """What makes houses no street."""
        if len(self.houses) < 2:
            return ["house: at least 2 houses needed"]
        if self.head.duration_h * HOUR_S < 2.0 * self.head.slot_s:
            return [f"street.duration_h = {self.head.duration_h:g}: at least two slots allowed"]
        first = next(iter(self.houses.values())).site
        found = []
        for name, house in self.houses.items():
            site = house.site
            if site.grid is None:
                found.append(f"house {name}: its site has no [grid] to trade over")
            if site.prices != first.prices:
                found.append(f"house {name}: [prices] of its site differ from the first house's")
            if site.site.timezone != first.site.timezone:
                found.append(f"house {name}: its site's timezone differs from the first house's")
            if site.site.currency != first.site.currency:
                found.append(f"house {name}: its site's currency differs from the first house's")
        return found


def is_street(path: Path) -> bool:
    """Whether a scenario file holds a street. Raises ScenarioError."""
    return "street" in parse(path)


def _of_house(path: Path, name: str, line: str) -> str:
    return f"house {name}: {line.removeprefix(f'{path}: ')}"


def _twice(street: Street) -> list[str]:
    counts = Counter(name for name, _ in _each(street))
    return [f"house {name}: the same name twice" for name, count in counts.items() if count > 1]


def _each(street: Street) -> list[tuple[str, House]]:
    """Every house by its name; of `count` alike each has a number."""
    found = []
    for house in street.house:
        alone = house.count == 1
        names = [house.name] if alone else [f"{house.name}-{n + 1}" for n in range(house.count)]
        found += [(name, house) for name in names]
    return found


def _scenario(street: Street, house: House, index: int, name: str) -> Scenario:
    """One house as a scenario: the same sky for all, a load of its own."""
    head = street.street
    own = {key: getattr(house.weather, key) for key in house.weather.model_fields_set}
    weather = street.weather.model_copy(update=own)
    if weather.seed is None:
        weather = weather.model_copy(update={"seed": head.seed})
    shared = {key: getattr(head, key) for key in Head.model_fields if key not in ("site", "title")}
    return Scenario(
        scenario=Head(
            **shared | {"seed": head.seed + index}, title=f"{head.title}: {name}", site=house.site
        ),
        weather=weather,
        load=house.load,
        outage=house.outage,
        fault=house.fault,
        plant=house.plant,
        der=house.der,
    )
