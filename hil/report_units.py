"""The report's table of batteries and generators, where there are several of a kind."""

from collections.abc import Mapping
from html import escape
from typing import Any

from hil.report_tables import table
from hil.report_words import figure
from hil.result import Result


def units(result: Result) -> str:
    """What each battery and each generator did; nothing where there is one of each."""
    found = result.summary.get("units")
    if not isinstance(found, Mapping) or not found:
        return ""
    batteries = [
        (
            escape(str(name)),
            figure(unit["charged_kwh"], "kWh"),
            figure(unit["discharged_kwh"], "kWh"),
            figure(100.0 * unit["soc_frac"], "%", 0),
        )
        for name, unit in found.items()
        if "soc_frac" in unit
    ]
    sets = [_set_row(str(name), unit) for name, unit in found.items() if "starts" in unit]
    shown = ""
    if batteries:
        head = ("Battery", "Charged", "Discharged", "Charge at the end")
        shown += table(head, batteries, "figures")
    if sets:
        shown += table(("Generator", "Starts", "Ran for", "Energy"), sets, "figures")
    return shown


def _set_row(name: str, unit: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        escape(name),
        figure(unit["starts"], decimals=0),
        figure(unit["run_h"], "h"),
        figure(unit["energy_kwh"], "kWh"),
    )
