"""The status document as a table on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from firmware.why import in_words

Document = Mapping[str, Any]
NOWCAST_MINUTES = (1, 5, 15)
LATE_PERIODS, LATE_S = 3.0, 2.0  # no new cycle for so long: something hangs


def view(document: Document) -> RenderableType:
    """Everything worth a look, from top to bottom."""
    parts: list[RenderableType] = [_head(document)]
    parts += [Text(f"! {alarm}", style="bold red") for alarm in document["alarms"]]
    parts += [Text(f"ordered: {order}") for order in document["orders"]["standing"]]
    parts += [_powers(document), _devices(document), _setpoints(document)]
    parts += [
        Text(line)
        for line in (
            _batteries(document),
            _generators(document),
            _plan(document),
            *_forecasts(document),
            _nowcast(document),
            _trading(document),
            _servers(document),
            _link(document),
            _loop(document),
        )
        if line
    ]
    return Group(*parts)


def _head(document: Document) -> Text:
    mode = document["mode"]
    for_s = _seconds(mode["for_s"])
    text = Text(f"{document['site']}  {document['utc']}  ", style="bold")
    text.append(f"{mode['name']} for {for_s} ({mode['reason']})", style="")
    if document["age_s"] > LATE_PERIODS * document["period_s"] + LATE_S:
        text.append(f"  last cycle {_seconds(document['age_s'])} ago", style="bold red")
    return text


def _powers(document: Document) -> Table:
    table = Table(title="kW, sources > 0", title_justify="left", expand=False)
    cells = []
    for name, power_kw in document["power_kw"].items():
        if power_kw is not None or name == "load":
            table.add_column(name, justify="right")
            cells.append(_number(power_kw))
    if document["battery"]:
        table.add_column("state of charge", justify="right")
        cells.append(_percent(document["battery"]["soc_frac"]))
    if document["grid"]:
        table.add_column("grid is")
        cells.append("present" if document["grid"]["present"] else "absent")
    table.add_row(*cells)
    return table


def _devices(document: Document) -> Table:
    table = Table("device", "is", "age", "what it is", "error")
    for device in document["devices"]:
        identity = device.get("identity") or {}
        words = (identity.get("maker", ""), identity.get("model", ""), identity.get("version", ""))
        is_good = device["quality"] == "good"
        table.add_row(
            Text(device["name"]),
            Text(device["quality"], style="" if is_good else "red"),
            _seconds(device["age_s"]),
            Text(" ".join(filter(None, words))),
            Text(device["error"] or ""),
        )
    return table


def _setpoints(document: Document) -> Table:
    table = Table("setpoint", "commanded", "decided by", "why", "changed by", "acknowledged", "is")
    for setpoint in document["setpoints"]:
        quantity, ack = setpoint["quantity"], setpoint["acknowledged"] or {}
        table.add_row(
            Text(setpoint["device"]),
            in_words(quantity, setpoint["commanded"]),
            Text(setpoint["source"] or ""),
            Text(setpoint["reason"] or ""),
            Text(", ".join(setpoint["clips"])),
            "no" if ack.get("value") is None else in_words(quantity, ack["value"]),
            Text((setpoint["obeyed"] or {}).get("status", "")),
        )
    return table


def _generators(document: Document) -> str:
    several = len(document["generators"]) > 1
    return "\n".join(
        _generator(each["name"] if several else "generator", each)
        for each in document["generators"]
    )


def _batteries(document: Document) -> str:
    """Each battery, where there are several."""
    each = document["batteries"]
    if len(each) < 2:
        return ""
    return "batteries: " + ", ".join(
        f"{item['name']} {_number(item['power_kw'])} kW at {_percent(item['soc_frac'])}"
        for item in each
    )


def _generator(name: str, generator: Document) -> str:
    words = {
        "min_run_left_s": "minimum run",
        "max_run_left_s": "longest run",
        "min_rest_left_s": "minimum rest",
    }
    timers = [
        f"{word}: {_seconds(generator[key])} left" for key, word in words.items() if generator[key]
    ]
    asked = "asked to run" if generator["asked_to_run"] else "not asked to run"
    locked = [f"locked: {generator['locked']}"] if generator["locked"] else []
    return f"{name}: " + ", ".join([generator["phase"], asked, *timers, *locked])


def _plan(document: Document) -> str:
    plan = document["plan"]
    said = [document["advice_missing"]] if document["advice_missing"] else []
    if plan:
        expiry = "expired" if plan["expired"] else f"expires in {_seconds(plan['expires_in_s'])}"
        said.append(f"plan by {plan['solver']}, {_seconds(plan['age_s'])} old, {expiry}")
    if plan and plan["slot"]:
        slot = plan["slot"]
        run = "on" if slot["generator_on"] else "off"
        said.append(f"now: battery {_number(slot['battery_kw'])} kW, generator {run}")
    return "; ".join(said)


def _forecasts(document: Document) -> list[str]:
    """A line for PV and one for load."""
    forecast = document["forecast"]
    if not forecast:
        return []
    names = (("PV", "pv"), ("load", "load"))
    return [f"{title} forecast: {_forecast(forecast, name)}" for title, name in names]


def _forecast(forecast: Document, name: str) -> str:
    """Who forecasts, and how well so far: each figure 15 min, 1, 6 and 24 h ahead."""
    said = [forecast[f"{name}_source"]]
    skill, coverage = forecast[f"{name}_skill"], forecast[f"{name}_coverage"]
    if skill:
        said.append(f"RMSE {_percents(skill)} lower than persistence's")
    if coverage:
        said.append(f"{_percents(coverage)} of outcomes inside p10..p90")
    if forecast[f"{name}_shadow"]:
        said.append(f"in shadow {forecast[f'{name}_shadow']}")
    return ", ".join(said)


def _nowcast(document: Document) -> str:
    """PV of the next minutes, or why it is not foreseen."""
    found = document["nowcast"]
    if not found:
        return ""
    if found["missing"]:
        return f"PV nowcast: none, {found['missing']}"
    said = (
        f"{found['p50_kw'][minutes - 1]:.2f} kW in {minutes} min"
        f" ({found['p10_kw'][minutes - 1]:.2f} to {found['p90_kw'][minutes - 1]:.2f})"
        for minutes in NOWCAST_MINUTES
    )
    return f"PV nowcast: {', '.join(said)}"


def _percents(values: Sequence[float | None]) -> str:
    return "/".join("?" if value is None else f"{100 * value:.0f}" for value in values) + " %"


def _trading(document: Document) -> str:
    """What the market does, or why there is no trade."""
    trading = document["trading"]
    if trading is None:
        return ""
    said = [f"trade in {trading['community'] or 'no community'}"]
    if trading["house"]:
        said[0] += f" as {trading['house']}"
    if now := trading["now"]:
        word = "buys" if now["bought_kw"] > 0 else "sells"
        power, left = _number(abs(now["bought_kw"])), _seconds(now["left_s"])
        said.append(f"{word} {power} kW at {now['price_per_kwh']:.3f} for {left}")
    said.append(trading["problem"] or trading["doing"] or "nothing yet")
    if (expected := trading["agreed_price_per_kwh"]) is not None:
        said.append(f"neighbours expect {expected:.3f} per kWh")
    if (last := trading["last_price_per_kwh"]) is not None:
        said.append(f"last price {last:.3f}")
    return "; ".join(said)


def _link(document: Document) -> str:
    """The broker while there is no connection, or while it refuses something."""
    link = document["link"]
    if link is None or (link["connected"] and not link["refused"]):
        return ""
    refused = f"refuses {', '.join(link['refused'])}" if link["refused"] else "not connected yet"
    said = link["problem"] or refused
    return f"mqtt: {link['broker']}: {said}; {link['waiting']} messages wait"


def _servers(document: Document) -> str:
    """Only those that nobody can reach."""
    broken = [server for server in document["servers"] if server["problem"]]
    return "; ".join(f"no {each['name']} at {each['url']}: {each['problem']}" for each in broken)


def _loop(document: Document) -> str:
    loop = document["loop"]
    if not loop:
        return ""
    late = loop["lateness"]
    return (
        f"version {document['version']}, {loop['cycles']} cycles, {loop['cycles_missed']} missed;"
        f" lateness p99 {1e3 * late['p99_s']:.1f} ms, max {1e3 * late['max_s']:.1f} ms"
    )


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:z.2f}"


def _percent(frac: float | None) -> str:
    return "?" if frac is None else f"{frac:.1%}"


def _seconds(seconds: float | None) -> str:
    """A time span as people say it."""
    if seconds is None:
        return "?"
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
