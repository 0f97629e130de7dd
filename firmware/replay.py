"""Recompute a recording's commands: the same inputs must give the same commands, bit for bit."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from control.cycle import Decision, decide
from control.records import Command, Setpoint
from control.state import State
from firmware.codec import encode
from firmware.recording import Cycle, Recording


@dataclass(frozen=True, slots=True)
class Replayed:
    """One cycle as recorded and as decided again."""

    cycle: Cycle
    decision: Decision

    @property
    def differs(self) -> bool:
        """The command or the events are not, to the last bit, what was recorded."""
        recorded, computed = self.cycle, self.decision
        if (recorded.command, recorded.events) != (computed.command, computed.events):
            return True
        return _text(recorded.command) != _text(computed.command)  # == takes -0.0 for 0.0


def replay(recording: Recording) -> Iterator[Replayed]:
    """Yield every cycle, decided again from the recorded inputs. Raises RecordingError."""
    state = State()
    for cycle in recording:
        if cycle.state is not None:
            state = cycle.state
        decision = decide(
            recording.site,
            state,
            cycle.sample,
            cycle.applied,
            cycle.advice,
            cycle.orders,
            cycle.deliveries,
        )
        yield Replayed(cycle, decision)
        state = decision.state


def describe_difference(replayed: Replayed) -> list[str]:
    """Return lines that name what differs, for people."""
    recorded, computed = replayed.cycle.command, replayed.decision.command
    lines = [*_setpoint_lines(recorded, computed), *_reason_lines(recorded, computed)]
    for name in ("generator_relay", "alarm", "release"):
        lines += _line(name, getattr(recorded, name), getattr(computed, name))
    was = [event.text for event in replayed.cycle.events]
    now = [event.text for event in replayed.decision.events]
    return lines + _line("events", was, now) or ["the order of setpoints or reasons"]


def _line(name: str, recorded: object, computed: object) -> list[str]:
    if repr(recorded) == repr(computed):
        return []
    return [f"{name}: recorded {recorded}, computed {computed}"]


def _setpoint_lines(recorded: Command, computed: Command) -> list[str]:
    was = {(s.device, s.quantity): _value(s) for s in recorded.setpoints}
    now = {(s.device, s.quantity): _value(s) for s in computed.setpoints}
    return [
        line
        for key in dict.fromkeys([*was, *now])
        for line in _line(" ".join(key), was.get(key), now.get(key))
    ]


def _value(setpoint: Setpoint) -> str:
    return f"{setpoint.value!r} for {setpoint.lease_s!r} s"


def _reason_lines(recorded: Command, computed: Command) -> list[str]:
    was = {(why.device, why.quantity): why for why in recorded.why}
    now = {(why.device, why.quantity): why for why in computed.why}
    return [
        line
        for key in was
        if key in now
        for name in ("source", "reason", "wanted", "clips", "losers")
        for line in _line(
            f"{' '.join(key)}, {name}", getattr(was[key], name), getattr(now[key], name)
        )
    ]


def _text(command: Command) -> str:
    return json.dumps(encode(command))
