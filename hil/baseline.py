"""The rule-based controller to beat: same plant, same day, perfect measurements, no forecast.

Self-consumption beside a grid, the generator by state of charge with hysteresis and minimum times
on an island, inside the same limits as ours: the same safety code guards it.
"""

from dataclasses import replace

from control import rules
from control.arbiter import arbitrate
from control.records import Level, Proposal, Quantity
from control.safety import Verdicts, guard
from control.site import SiteParameters
from control.state import Estimate, Mode, State
from hil.plant import Controls, Plant, PlantState


class RuleBased:
    """Steers a plant of its own, once a period."""

    def __init__(self, site: SiteParameters, plant: Plant) -> None:
        self._site = replace(site, batteries=(), generators=())  # of several: all do the same
        self.plant = plant
        self._state = State(mode=Mode.AUTO)

    def controls(self, now_s: float) -> Controls:
        """Decide for the plant as it is now."""
        site = self._site
        state = replace(self._state, estimate=perfectly_seen(site, self.plant.state))
        verdicts, generator = guard(site, state, arbitrate(_proposals(site, state), now_s), now_s)
        limits = {pv.name: verdicts[pv.name, Quantity.LIMIT_KW].value for pv in site.pv}
        battery_kw = _value(verdicts, site.battery.name) if site.battery else None
        self._state = replace(
            state,
            t_s=now_s,
            generator=generator,
            battery_kw=battery_kw,
            pv_limit_kw=sum(limits.values()) if limits else None,
        )
        return Controls(pv_limit_kw=limits, battery_kw=battery_kw, generator_run=generator.run)


def _value(verdicts: Verdicts, battery: str) -> float:
    return verdicts[battery, Quantity.POWER_KW].value


def perfectly_seen(site: SiteParameters, plant: PlantState) -> Estimate:
    """The plant as an estimate without error or delay."""
    battery, generator = plant.battery, plant.generator
    return Estimate(
        pv_kw=sum(inverter.power_kw for inverter in plant.pv),
        pv_throttled=any(inverter.state == "throttled" for inverter in plant.pv),
        wind_kw=sum(inverter.power_kw for inverter in plant.wind),
        battery_kw=battery.power_kw if battery else 0.0,
        generator_kw=generator.power_kw if generator else 0.0,
        grid_kw=plant.grid_kw,
        load_kw=plant.load_kw,
        soc_frac=battery.soc_frac if battery else None,
        charge_limit_kw=battery.charge_limit_kw if battery else 0.0,
        discharge_limit_kw=battery.discharge_limit_kw if battery else 0.0,
        grid_present=plant.grid_connected,
        generator_phase=generator.phase if generator else "none",
        generator_available=generator is not None and not generator.locked_out,
    )


def _proposals(site: SiteParameters, state: State) -> list[Proposal]:
    plant = state.estimate
    proposals = [
        Proposal(Level.RULES, pv.name, Quantity.LIMIT_KW, "rated", value=pv.rated_kw)
        for pv in site.pv
    ]
    if site.battery and plant.load_kw is not None and plant.soc_frac is not None:
        net_kw = plant.load_kw - plant.sources_kw
        if plant.grid_present:
            value = rules.self_consumption_kw(net_kw, plant.soc_frac, site.battery)
        elif plant.generator_carries and site.generator:
            value = rules.charge_beside_generator_kw(net_kw, site.generator)
        else:
            value = net_kw
        name = site.battery.name
        proposals.append(Proposal(Level.RULES, name, Quantity.POWER_KW, "rule", value=value))
    if site.generator:
        wanted = not plant.grid_present and (
            site.battery is None
            or plant.soc_frac is None
            or rules.generator_wanted(plant.soc_frac, site.battery, state.generator.run)
        )
        name = site.generator.name
        proposals.append(Proposal(Level.RULES, name, Quantity.RUN, "rule", value=float(wanted)))
    return proposals
