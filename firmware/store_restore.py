"""What a new process takes over from the checkpoint of the one before.

The generator's timers need no wall clock. In the same boot of the machine monotonic times go on.
After a reboot, monotonic time 0 is later than anything the old process did: what had elapsed by the
checkpoint, plus the time since boot, has elapsed for certain.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from control.fleet import GENERATORS, sequences_together
from control.site import GeneratorParameters
from control.state import GeneratorState, State
from firmware.store_records import Checkpoint, SetKept

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
UNSEEN_S = float("-inf")  # the decision core looks at the set first; see control.generator


def boot_id() -> str:
    """The kernel's name for this boot; random(4)."""
    return BOOT_ID.read_text().strip()


def restored(
    checkpoint: Checkpoint,
    generator: GeneratorParameters | None,
    now_s: float,
    utc_s: float,
    boot: str,
    sets: Sequence[GeneratorParameters] = (),
) -> State:
    """The state to start with. The mode is found anew; a latched emergency stop stays latched.

    `sets`: where there are several generators; `generator` is then all of them.
    """
    state = State(emergency_latched=checkpoint.emergency_latched)
    found = [
        _restored(checkpoint, kept, unit, now_s, utc_s, boot)
        for unit in sets or ((generator,) if generator else ())
        for kept in [_kept(checkpoint, unit.name)]
    ]
    if not sets:
        return replace(state, generator=found[0]) if found else state
    low_soc = checkpoint.low_soc and checkpoint.generator == GENERATORS
    together = sequences_together(found, GeneratorState(low_soc=low_soc))
    return replace(state, generator=together, generators=tuple(found))


def _kept(checkpoint: Checkpoint, name: str) -> SetKept | None:
    """What was kept of a set, whether it was alone or one of several."""
    if checkpoint.generator == name:
        return SetKept(
            name,
            checkpoint.run,
            checkpoint.since_s,
            checkpoint.carried,
            checkpoint.attempts,
            checkpoint.locked,
        )
    return next((kept for kept in checkpoint.sets if kept.generator == name), None)


def _restored(
    checkpoint: Checkpoint,
    kept: SetKept | None,
    generator: GeneratorParameters,
    now_s: float,
    utc_s: float,
    boot: str,
) -> GeneratorState:
    if kept is None:
        return GeneratorState()
    same_boot = checkpoint.boot == boot and checkpoint.t_s <= now_s
    seen_s = checkpoint.t_s if same_boot else 0.0
    since_s = UNSEEN_S if kept.since_s is None else kept.since_s
    elapsed_s = max(0.0, checkpoint.t_s - since_s)
    old = GeneratorState(
        run=kept.run,
        carried=kept.carried,
        attempts=kept.attempts,
        locked=kept.locked,
        low_soc=checkpoint.low_soc and checkpoint.generator == kept.generator,
    )
    if not old.run:
        return _resting(generator, old, seen_s - elapsed_s, now_s)
    away_s = now_s - seen_s
    if not same_boot:
        away_s = max(away_s, utc_s - checkpoint.utc_s)
    since_s = now_s - away_s - elapsed_s
    if generator.by_relay:
        goes_on = same_boot and away_s <= generator.cool_down_s
        if not old.carried:
            since_s = now_s  # the open contact broke this start off: it begins anew
        # Its contact dropped with the old process, at the latest now or before the machine booted.
        over = replace(old, run=False, since_s=now_s if same_boot else 0.0, carried=False)
    else:
        goes_on = away_s <= generator.min_run_s
        over = replace(old, run=False, since_s=UNSEEN_S, carried=False)
    return replace(old, since_s=since_s) if goes_on else over


def _resting(
    generator: GeneratorParameters, old: GeneratorState, since_s: float, now_s: float
) -> GeneratorState:
    """The rest goes on. Once it is over, the set itself says more than the checkpoint.

    A start whose checkpoint was lost is found that way.
    """
    over = now_s - since_s >= generator.min_rest_s
    return replace(old, since_s=UNSEEN_S if over else since_s)
