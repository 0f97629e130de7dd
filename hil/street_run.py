"""One street from file to report."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hil.progress import Glance
from hil.report_street import write_street_report
from hil.street import LoadedStreet
from hil.street_given import Past, read_street
from hil.street_references import (
    bound,
    by_swarm,
    with_leftovers,
    with_trade,
    without_trade,
)
from hil.street_result import Given, MarketVerdict, Outcome, StreetResult
from hil.street_slots import play

Progress = Callable[[float, Glance], None]  # seconds simulated


class _Slots:
    """How far a run by slots is."""

    def __init__(self, slots: int) -> None:
        self._slots, self.done = slots, 0

    def glance(self) -> str:
        """In a few words."""
        return f"slot {self.done} of {self._slots}"


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
    result = judged(street, given, ran, MarketVerdict())
    houses = {name: house_figures(result, index) for index, name in enumerate(given.names)}
    summary = street_figures(result) | {
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
    street: LoadedStreet, given: Given, ran: Outcome, verdict: MarketVerdict
) -> StreetResult:
    """A run beside what the street would have done otherwise, and the bound."""
    site = next(iter(street.houses.values())).site.site
    others = [without_trade(given), with_trade(given), with_leftovers(given)]
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
    """What `summary.json` says of the whole street's energy; costs here are bills."""
    ran, given = result.ran, result.given
    share = result.share_of_gain(ran)
    return {
        "title": result.title,
        "currency": result.currency,
        "cost": ran.cost,
        "cost_rule_based": result.alone.cost,
        "cost_untraded": float(ran.bills_untraded.sum()),
        "cost_bound": result.bound_cost,
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
        "bought_kwh": float(net_kwh[net_kwh > 0].sum()),
        "sold_kwh": float(-net_kwh[net_kwh < 0].sum()),
    }


def write(result: StreetResult, summary: Mapping[str, object], folder: Path) -> None:
    """report.html and summary.json. Raises OSError."""
    write_street_report(result, summary, folder / "report.html")
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
