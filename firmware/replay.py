"""Recompute a recording's commands: the same inputs must give the same commands, bit for bit."""

from collections.abc import Iterator
from dataclasses import dataclass

from control.cycle import Decision, decide
from control.records import Command, Setpoint
from control.state import State
from firmware.recording import Cycle, Recording


@dataclass(frozen=True, slots=True)
class Replayed:
    """One cycle as recorded and as decided again."""

    cycle: Cycle
    decision: Decision

    @property
    def differs(self) -> bool:
        """The command or the events are not what was recorded."""
        return (self.cycle.command, self.cycle.events) != (
            self.decision.command,
            self.decision.events,
        )


def replay(recording: Recording) -> Iterator[Replayed]:
    """Yield every cycle, decided again from the recorded inputs. Raises RecordingError."""
    state = State()
    for cycle in recording:
        if cycle.state is not None:
            state = cycle.state
        decision = decide(
            recording.site, state, cycle.sample, cycle.applied, cycle.advice, cycle.orders
        )
        yield Replayed(cycle, decision)
        state = decision.state


def describe_difference(replayed: Replayed) -> list[str]:
    """Return lines that name what differs, for people."""
    recorded, computed = replayed.cycle.command, replayed.decision.command
    lines = [
        *_setpoint_lines(recorded, computed),
        *_reason_lines(recorded, computed),
    ]
    if recorded.generator_relay != computed.generator_relay:
        lines.append(
            f"generator relay: recorded {recorded.generator_relay},"
            f" computed {computed.generator_relay}"
        )
    if replayed.cycle.events != replayed.decision.events:
        lines.append(
            "events: recorded "
            + ("; ".join(event.text for event in replayed.cycle.events) or "none")
            + ", computed "
            + ("; ".join(event.text for event in replayed.decision.events) or "none")
        )
    return lines or ["command: alarm or release flag"]


def _setpoint_lines(recorded: Command, computed: Command) -> list[str]:
    was = {(s.device, s.quantity): s for s in recorded.setpoints}
    now = {(s.device, s.quantity): s for s in computed.setpoints}
    return [
        f"{device} {quantity}: recorded {_value(was.get((device, quantity)))},"
        f" computed {_value(now.get((device, quantity)))}"
        for device, quantity in dict.fromkeys([*was, *now])
        if was.get((device, quantity)) != now.get((device, quantity))
    ]


def _value(setpoint: Setpoint | None) -> str:
    return "none" if setpoint is None else f"{setpoint.value!r} for {setpoint.lease_s!r} s"


def _reason_lines(recorded: Command, computed: Command) -> list[str]:
    return [
        f"{was.device} {was.quantity} why: recorded {was.source}: {was.reason}"
        f" {list(was.clips)}, computed {now.source}: {now.reason} {list(now.clips)}"
        for was, now in zip(recorded.why, computed.why, strict=False)
        if was != now
    ]
