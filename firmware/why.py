"""Setpoints and their reasons in plain sentences, from the status document or a recording."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from control.records import Explanation, Quantity
from firmware.replay import Replayed
from firmware.status import Moment, utc_text

NO_ONE = "nobody else asked for anything"


def moment_of(replayed: Replayed) -> Moment:
    """The cycle as recorded, with the state that follows from it."""
    cycle = replayed.cycle
    state = replayed.decision.state
    return Moment(cycle.sample, cycle.applied, cycle.advice, state, cycle.command, cycle.orders)


# --- one moment ----------------------------------------------------------------------------


def sentences(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield lines that explain every setpoint of a status document."""
    mode = document["mode"]
    yield f"{document['utc']}: mode {mode['name']} ({mode['reason']})"
    for order in document["orders"]["standing"]:
        yield f"Ordered: {order}."
    if not document["setpoints"]:
        yield "No setpoints: the devices are left to themselves."
    for setpoint in document["setpoints"]:
        yield ""
        yield from _explained(setpoint)


def _explained(setpoint: Mapping[str, Any]) -> Iterator[str]:
    quantity = setpoint["quantity"]
    yield f"{setpoint['device']}: {in_words(quantity, setpoint['commanded'])}"
    if setpoint["source"] is None:
        yield "  Nobody says why."
        return
    yield f"  Decided by: {_who(setpoint['source'], setpoint['reason'])}."
    if setpoint["clips"]:
        wanted = in_words(quantity, setpoint["wanted"])
        yield f"  It asked for: {wanted}; changed by: {', then '.join(setpoint['clips'])}."
    yield f"  Otherwise: {'; then '.join(setpoint['otherwise']) or NO_ONE}."
    yield f"  {_acknowledged(quantity, setpoint['acknowledged'])}; {_obeyed(setpoint['obeyed'])}."


def _who(source: str, reason: str) -> str:
    """Source and reason; some reasons name their source already."""
    return reason if reason.startswith(f"{source}: ") else f"{source}: {reason}"


def in_words(quantity: str, value: float | None) -> str:
    """A setpoint's value as people say it."""
    if value is None:
        return "no setpoint"
    if quantity == Quantity.RUN:
        return "run" if value >= 0.5 else "stop"
    if quantity == Quantity.LIMIT_KW:
        return f"at most {value:z.2f} kW"
    direction = "idle" if abs(value) < 0.005 else "discharge" if value > 0 else "charge"
    return direction if direction == "idle" else f"{direction} {abs(value):.2f} kW"


def _acknowledged(quantity: str, ack: Mapping[str, Any] | None) -> str:
    if ack is None:
        return "Not sent before"
    if ack["value"] is None or ack["error"]:
        return f"Not acknowledged: {ack['error'] or 'not read back'}"
    said = f"Acknowledged: {in_words(quantity, ack['value'])}"
    return said if ack["age_s"] is None else f"{said}, {ack['age_s']:.1f} s ago"


def _obeyed(obeyed: Mapping[str, Any] | None) -> str:
    if obeyed is None:
        return "whether it is obeyed is not known yet"
    if obeyed["status"] == "not applicable":
        return "whether it is obeyed cannot be told now"
    lasting = "" if obeyed["for_s"] is None else f" for {obeyed['for_s']:.0f} s"
    return f"{obeyed['status']}{lasting}"


# --- changes -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A setpoint that became another, appeared or was withdrawn (None), and why."""

    cycle: int
    utc: str | None
    device: str
    quantity: Quantity
    before: float | None
    after: float | None
    source: str
    reason: str
    clips: tuple[str, ...] = ()
    otherwise: tuple[str, ...] = ()

    def line(self) -> str:
        """The change in one line."""
        clips = "".join(f"; then {clip}" for clip in self.clips)
        was, now = (in_words(self.quantity, value) for value in (self.before, self.after))
        return f"{self.utc}  {self.device}: {was} -> {now}  {_who(self.source, self.reason)}{clips}"


def changes(cycles: Iterable[Replayed]) -> Iterator[Change]:
    """Yield every change of a setpoint, to the last bit, in the order of the cycles."""
    held: dict[tuple[str, Quantity], float] = {}
    for replayed in cycles:
        command = replayed.cycle.command
        why = {(item.device, item.quantity): item for item in command.why}
        now = {(item.device, item.quantity): item.value for item in command.setpoints}
        for target in dict.fromkeys([*held, *now]):
            if held.get(target) != now.get(target):
                yield _change(replayed, target, held.get(target), now.get(target), why.get(target))
        held = now


def visible(told: Iterable[Change]) -> Iterator[Change]:
    """Leave out changes whose line would say what the setpoint's last line said."""
    said: dict[tuple[str, Quantity], tuple[object, ...]] = {}
    for change in told:
        now = in_words(change.quantity, change.after), change.source, change.reason, change.clips
        target = change.device, change.quantity
        if said.get(target) != now:
            yield change
        said[target] = now


def _change(
    replayed: Replayed,
    target: tuple[str, Quantity],
    before: float | None,
    after: float | None,
    why: Explanation | None,
) -> Change:
    """Where no explanation is left, a change of mode took the setpoint away."""
    sample, state = replayed.cycle.sample, replayed.decision.state
    source = why.source if why else f"mode {state.mode.value}"
    reason = why.reason if why else state.mode_reason
    clips, otherwise = (why.clips, why.losers) if why else ((), ())
    return Change(
        sample.cycle,
        utc_text(sample.utc_s),
        *target,
        before,
        after,
        source,
        reason,
        clips,
        otherwise,
    )
