"""What became of every setpoint of a recorded run, second by second.

The controller's own judgement (`State.obedience`, computed again from the recording) is set beside
the plant's truth: a setpoint is settling, obeyed, not applicable (an island's battery follows the
load) or flagged; a power that contradicts its setpoint while the controller is content is silent
disobedience.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from control.obedience import POWER_TOLERANCE_FRAC, POWER_TOLERANCE_KW, SETTLE_S, WORDS
from control.records import Command, Event, Quantity, Severity
from control.site import SiteParameters
from control.state import Obedience
from firmware.recording import Recording
from firmware.replay import replay
from hil.plant import PlantState

FLAGGED = ("unacknowledged", "disobeyed")
CONTENT = ("obeyed", "not applicable")
SLACK_S = 2.0  # for ends of seconds and one round of a bus

Key = tuple[str, Quantity]


@dataclass(slots=True)
class Truth:
    """What the plant did, from a watcher of the world."""

    utc_s: list[float] = field(default_factory=list)
    states: list[PlantState] = field(default_factory=list)

    def watch(self, state: PlantState, utc_s: float, _dt_s: float) -> None:
        """Note one step."""
        self.utc_s.append(utc_s)
        self.states.append(state)

    def at(self, utc_s: float) -> PlantState:
        """The state at a time."""
        return self.states[max(0, bisect_right(self.utc_s, utc_s) - 1)]


@dataclass(slots=True)
class Fate:
    """One quantity of one device over the run, in seconds."""

    status_s: Counter[str] = field(default_factory=Counter)
    settling_s: int = 0  # the longest in a row
    silent_s: int = 0  # longest in a row: not obeyed in truth, all well in the controller's eyes
    alarms: int = 0
    _settling: int = 0
    _silent: int = 0

    def add(self, status: str, contradicted: bool) -> None:
        """Count one second."""
        self.status_s[status] += 1
        self._settling = self._settling + 1 if status == "settling" else 0
        self._silent = self._silent + 1 if contradicted and status in CONTENT else 0
        self.settling_s = max(self.settling_s, self._settling)
        self.silent_s = max(self.silent_s, self._silent)

    @property
    def is_accounted_for(self) -> bool:
        """Never unsettled or silently disobeyed for longer than the controller's patience."""
        return max(self.settling_s, self.silent_s) <= SETTLE_S + SLACK_S


def account(path: Path, truth: Truth) -> dict[Key, Fate]:
    """What became of the setpoints that are on record; raises RecordingError."""
    recording = Recording(path)
    fates: dict[Key, Fate] = defaultdict(Fate)
    second, command = -1, Command((), ())
    for replayed in replay(recording):
        sample, decision = replayed.cycle.sample, replayed.decision
        for event in decision.events:
            for key in fates:
                fates[key].alarms += _is_alarm_of(key, event)
        if int(sample.utc_s) != second:
            second = int(sample.utc_s)
            judged = {(item.device, item.quantity): item for item in decision.state.obedience}
            plant = truth.at(sample.utc_s)
            for setpoint in command.setpoints:
                key = setpoint.device, setpoint.quantity
                wrong = contradicts(recording.site, plant, key, setpoint.value)
                fates[key].add(_status(judged.get(key)), wrong)
        command = decision.command
    return dict(fates)


def _is_alarm_of(key: Key, event: Event) -> bool:
    about = event.key == "obedience" and event.severity is Severity.ALARM
    return about and event.text.startswith(f"{key[0]} ") and WORDS[key[1]] in event.text


def contradicts(site: SiteParameters, plant: PlantState, key: Key, value: float) -> bool:
    """Whether the plant's true power is not what the setpoint asks for."""
    device, quantity = key
    if quantity is Quantity.LIMIT_KW:
        index = [pv.name for pv in site.pv].index(device)
        margin_kw = max(POWER_TOLERANCE_KW, POWER_TOLERANCE_FRAC * site.pv[index].rated_kw)
        return plant.pv[index].power_kw > value + margin_kw
    if quantity is Quantity.POWER_KW and site.battery and plant.battery:
        rating_kw = max(site.battery.charge_max_kw, site.battery.discharge_max_kw)
        margin_kw = max(POWER_TOLERANCE_KW, POWER_TOLERANCE_FRAC * rating_kw)
        follows = plant.mode in ("grid", "generator")
        return follows and abs(plant.battery.power_kw - value) > margin_kw
    if quantity is Quantity.RUN and plant.generator:
        runs = plant.generator.phase in ("starting", "warming", "running")
        return runs != (value >= 0.5)
    return False


def _status(judged: Obedience | None) -> str:
    return judged.status if judged is not None else "unjudged"


def table(fates: dict[Key, Fate]) -> str:
    """The account as text; seconds."""
    head = f"{'setpoint':18} {'obeyed':>7} {'settling':>9} {'flagged':>8} {'n/a':>5} {'alarms':>7}"
    lines = [head + f" {'longest settling':>17} {'longest silent':>15}"]
    for (device, quantity), fate in fates.items():
        seconds = fate.status_s
        lines.append(
            f"{device + ' ' + quantity:18} {seconds['obeyed']:7} {seconds['settling']:9}"
            f" {sum(seconds[name] for name in FLAGGED):8} {seconds['not applicable']:5}"
            f" {fate.alarms:7} {fate.settling_s:17} {fate.silent_s:15}"
        )
    return "\n".join(lines)
