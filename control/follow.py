"""Between two plans: what the battery does with the net load as it is, in the plan's intent."""

from dataclasses import dataclass

from control.records import Plan

IDLE_KW = 0.02  # a planned power below this is none


@dataclass(frozen=True, slots=True)
class Slot:
    """One step of a plan."""

    index: int
    battery_kw: float
    grid_kw: float
    generator_on: bool
    generator_kw: float
    curtailed_kw: float


@dataclass(frozen=True, slots=True)
class Following:
    """The battery power that follows from a slot, and the words for it."""

    battery_kw: float
    reason: str


def current_slot(plan: Plan | None, now_s: float) -> Slot | None:
    """Return the step of `plan` at `now_s`; None before, after, or past the plan's expiry."""
    if plan is None or now_s >= plan.expires_t_s or now_s < plan.start_t_s:
        return None
    index = int((now_s - plan.start_t_s) // plan.step_s)
    if index >= len(plan.battery_kw):
        return None
    return Slot(
        index,
        plan.battery_kw[index],
        plan.grid_kw[index],
        plan.generator_on[index],
        plan.generator_kw[index],
        plan.curtailed_kw[index],
    )


def follow_on_grid(slot: Slot, net_kw: float, share_stored: float) -> Following:
    """Battery power beside a grid.

    `net_kw` is load minus all other sources as measured; `share_stored` says how much of a
    surplus that the plan does not mention is charged. A slot that plans no exchange balances; one
    that plans a battery power holds it, but a battery that was to cover load never exports, and
    one that was to store surplus never buys.
    """
    planned, net_planned_kw = slot.battery_kw, slot.battery_kw + slot.grid_kw
    unplanned_kw = max(0.0, -net_kw) - max(0.0, -net_planned_kw)
    extra_kw = share_stored * max(0.0, unplanned_kw)
    if abs(slot.grid_kw) <= IDLE_KW and abs(planned) > IDLE_KW:
        return Following(
            net_kw if net_kw > 0 else max(net_kw, min(planned, 0.0) - extra_kw),
            "plan: no exchange with the grid",
        )
    if planned > IDLE_KW and slot.grid_kw > 0:
        if net_kw > 0:
            return Following(min(planned, net_kw), f"plan: cover {planned:.2f} kW of the load")
        return Following(-extra_kw, "plan to discharge meets a surplus")
    if planned < -IDLE_KW and slot.grid_kw < 0:
        surplus_kw = max(0.0, -net_kw)
        return Following(max(planned - extra_kw, -surplus_kw), "plan: store part of the surplus")
    if abs(planned) <= IDLE_KW:
        return Following(-extra_kw, "plan: battery idle")
    verb = "export" if planned > 0 else "charge from the grid"
    return Following(planned - (extra_kw if planned < 0 else 0.0), f"plan: {verb}")


def follow_beside_generator(slot: Slot, net_kw: float) -> Following:
    """Battery power on an island whose generator carries: it holds the set at its planned power."""
    return Following(
        net_kw - slot.generator_kw, f"plan: hold the generator at {slot.generator_kw:.2f} kW"
    )
