"""One street from file to report."""

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from hil.progress import Glance
from hil.report_street import write_street_report
from hil.run import Speed, write_house
from hil.scenario import ScenarioError
from hil.street import LoadedStreet
from hil.street_given import Past, read_street
from hil.street_house import RanHouse
from hil.street_ledgers import read_ledgers
from hil.street_live import run_street_live
from hil.street_lockstep import run_street_lockstep
from hil.street_measured import measured
from hil.street_references import (
    bound,
    by_swarm,
    with_leftovers,
    with_trade,
    without_trade,
)
from hil.street_result import Given, MarketVerdict, Outcome, StreetResult
from hil.street_slots import play
from hil.street_slots_file import write_slots

Progress = Callable[[float, Glance], None]  # seconds simulated


SUMMED = (
    "cycles",
    "cycles_missed",
    "limit_violations",
    "cost",
    "cost_rule_based",
    "unserved_kwh",
    "unserved_rule_based_kwh",
    "curtailed_kwh",
    "fuel_l",
    "fuel_rule_based_l",
    "generator_starts",
    "generator_starts_rule_based",
)
WORST = ("energy_balance_error_frac", "sim_s")


class _Slots:
    """How far a run by slots is."""

    def __init__(self, slots: int) -> None:
        self._slots, self.done = slots, 0

    def glance(self) -> str:
        """In a few words."""
        return f"slot {self.done} of {self._slots}"


def run_street(
    street: LoadedStreet, folder: Path, speed: Speed, progress: Progress
) -> dict[str, object]:
    """Run the real loop of every house; write all reports and summary.json; return the summary.

    Raises ScenarioError, BrokerError, LiveError, FolderError, LedgerError and OSError.
    """
    _agents_plan(street)
    began = time.monotonic()
    folders = {name: folder / name for name in street.houses}
    for path in folders.values():
        _clear(path)
    if speed.live:
        ran, messages = run_street_live(street, folder, folders, progress), None
    else:
        ran, messages = run_street_lockstep(street, folders, speed.multiple, progress)
    read = read_ledgers({name: path / "trading" / "ledger.db" for name, path in folders.items()})
    found = measured(street, ran, read)
    verdict = replace(found.verdict, messages=messages)
    result = judged(street, found.given, found.ran, found.alone, verdict)
    houses = {
        name: _house(result, index, house, speed, time.monotonic() - began)
        for index, (name, house) in enumerate(ran.items())
    }
    summary = _summed(result, houses) | {"wall_s": time.monotonic() - began}
    write(result, summary, folder)
    return summary


def _agents_plan(street: LoadedStreet) -> None:
    """Raises ScenarioError where the file has somebody else plan than the houses' agents."""
    if street.head.strategy != "neighbours":
        said = f"street.strategy = {street.head.strategy!r}: must be 'neighbours'"
        where = "in nanogrid hil run, or play it with nanogrid hil street"
        raise ScenarioError([f"{street.path}: {said} {where}"])


def _clear(folder: Path) -> None:
    """A folder for one house, without the keys and the ledger of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "trading", ignore_errors=True)


def _house(
    result: StreetResult, index: int, house: RanHouse, speed: Speed, wall_s: float
) -> dict[str, object]:
    """Write the report of one house; return its figures."""
    traded = float(result.ran.bills[index] - result.ran.bills_untraded[index])
    house.observer.ledger.parts["neighbours"] = traded
    house.observer.rule_ledger.parts["neighbours"] = 0.0
    statistics = house.statistics
    cycles, missed = statistics["cycles"], statistics["cycles_missed"]
    summary = house.observer.summary(cycles, missed, wall_s, house.recording)
    write_house(house.observer, summary, statistics, speed, house.folder)
    report = f"{house.folder.name}/report.html"
    return summary | house_figures(result, index) | {"report": report}


def _summed(result: StreetResult, houses: Mapping[str, dict[str, object]]) -> dict[str, object]:
    """`summary.json` of a street: sums over its houses, the worst where a sum means nothing."""
    summed: dict[str, object] = {
        key: sum(_number(house, key) for house in houses.values()) for key in SUMMED
    }
    recordings = [house["recording"] for house in houses.values()]
    market = asdict(result.verdict) | {"sound": result.verdict.sound}
    return {
        **street_figures(result),
        **summed,
        **{key: max(_number(house, key) for house in houses.values()) for key in WORST},
        "recording": recordings[0],
        "recordings": recordings,
        "market": market,
        "houses": dict(houses),
    }


def _number(house: Mapping[str, object], key: str) -> float:
    value = house[key]
    assert isinstance(value, int | float)
    return value


def run_slots(street: LoadedStreet, folder: Path, progress: Progress) -> dict[str, object]:
    """Play the street at slot resolution; write report.html and summary.json; return the summary.

    Raises ScenarioError and OSError.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    given, past = read_street(street)
    if street.head.strategy == "qayyum2023":
        ran = by_swarm(given, street.head.seed)
    else:
        ran = _planned(street, given, past, progress)
    result = judged(street, given, ran, without_trade(given), MarketVerdict())
    houses = {name: house_figures(result, index) for index, name in enumerate(given.names)}
    summary = street_figures(result) | {
        "cost": result.ran.cost,
        "cost_rule_based": result.alone.cost,
        "slots": given.slots,
        "sim_s": given.slots * street.head.slot_s,
        "wall_s": time.monotonic() - began,
        "houses": houses,
    }
    write(result, summary, folder)
    return summary


def _planned(street: LoadedStreet, given: Given, past: Past, progress: Progress) -> Outcome:
    slots = _Slots(given.slots)

    def told(done: int) -> None:
        slots.done = done
        progress(done * street.head.slot_s, slots)

    return play(given, past, told)


def judged(
    street: LoadedStreet, given: Given, ran: Outcome, alone: Outcome, verdict: MarketVerdict
) -> StreetResult:
    """A run beside what the street would have done otherwise, and the bound."""
    site = next(iter(street.houses.values())).site.site
    others = [alone, with_trade(given), with_leftovers(given)]
    if street.head.strategy != "qayyum2023":
        others.append(by_swarm(given, street.head.seed))
    return StreetResult(
        title=street.head.title,
        currency=site.currency,
        timezone=site.timezone,
        given=given,
        ran=ran,
        others=tuple(others),
        bound_cost=bound(given),
        verdict=verdict,
    )


def street_figures(result: StreetResult) -> dict[str, object]:
    """What `summary.json` says of the whole street's energy."""
    ran, given = result.ran, result.given
    share = result.share_of_gain(ran)
    return {
        "title": result.title,
        "currency": result.currency,
        "bill": ran.cost,
        "bill_alone": result.alone.cost,
        "bill_untraded": float(ran.bills_untraded.sum()),
        "bill_bound": result.bound_cost,
        "share_of_gain": share if math.isfinite(share) else None,
        "traded_kwh": float(ran.traded_kwh().sum()),
        "self_sufficiency_frac": ran.self_sufficiency_frac(given),
        "self_sufficiency_alone_frac": result.alone.self_sufficiency_frac(given),
    }


def house_figures(result: StreetResult, index: int) -> dict[str, object]:
    """What `summary.json` says of one house's energy."""
    ran = result.ran
    net_kwh = ran.bought_kwh[:, index]
    return {
        "bill": float(ran.bills[index]),
        "bill_untraded": float(ran.bills_untraded[index]),
        "bill_alone": float(result.alone.bills[index]),
        "bought_kwh": float(np.maximum(net_kwh, 0.0).sum()),
        "sold_kwh": float(np.maximum(-net_kwh, 0.0).sum()),
    }


def write(result: StreetResult, summary: Mapping[str, object], folder: Path) -> None:
    """report.html, slots.csv and summary.json. Raises OSError."""
    write_slots(folder / "slots.csv", result.given, result.ran)
    write_street_report(result, summary, folder / "report.html")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
