import re

import pytest

from hil.plant import PlantParameters

SITE = {
    "pv": [{"name": "roof", "rated_kw": 5.0}],
    "battery": [
        {
            "name": "battery",
            "capacity_kwh": 12.0,
            "charge_max_kw": 4.0,
            "discharge_max_kw": 3.0,
            "soc_min_frac": 0.15,
        }
    ],
}


def test_reality_is_near_the_nameplate_but_not_on_it() -> None:
    capacities = [
        PlantParameters.from_site(SITE, {"seed": seed}).battery.capacity_kwh for seed in range(50)
    ]
    assert len(set(capacities)) > 40
    assert 0.90 * 12.0 < min(capacities) < max(capacities) < 1.03 * 12.0


def test_exact_reality_repeats_for_every_seed() -> None:
    assert PlantParameters.from_site(SITE, {"exact": True, "seed": 1}) == PlantParameters.from_site(
        SITE, {"exact": True, "seed": 2}
    )


def test_a_device_keeps_its_deviations_whatever_else_is_on_site() -> None:
    alone = PlantParameters.from_site({"pv": SITE["pv"]}, {"seed": 3})
    together = PlantParameters.from_site(SITE, {"seed": 3})
    assert alone.pv == together.pv


def test_scenario_overrides_single_figures() -> None:
    truth = {"battery": {"initial_soc_frac": 0.8}, "pv": {"roof": {"soiling_frac": 0.2}}}
    parameters = PlantParameters.from_site(SITE, truth)
    assert parameters.battery.initial_soc_frac == 0.8
    assert parameters.pv[0].soiling_frac == 0.2
    assert parameters.battery.rated_kw == 4.0


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        ({"batery": {}}, "plant.batery: unknown"),
        ({"battery": {"capacity": 3.0}}, "plant.battery.capacity: unknown"),
        ({"battery": {"capacity_kwh": "much"}}, "plant.battery.capacity_kwh: 'much'"),
        ({"battery": {"capacity_kwh": 0.0}}, "plant.battery.capacity_kwh: has to be above 0"),
        ({"battery": {"empty_soc_frac": 0.3}}, "plant.battery.empty_soc_frac: has to be below"),
        ({"battery": {"taper_full_soc_frac": 1}}, "plant.battery.taper_full_soc_frac: has to"),
        ({"battery": {"ohmic_frac": 0.5}}, "plant.battery.ohmic_frac"),
        ({"battery": {"ohmic_frac": -0.5}}, "plant.battery.ohmic_frac: -0.5 is negative"),
        ({"battery": {"initial_soc_frac": 1.2}}, "plant.battery.initial_soc_frac: 1.2"),
        ({"battery": {"response_s": float("nan")}}, "plant.battery.response_s: nan"),
        ({"battery": 3}, "plant.battery: 3 is not a table"),
        ({"pv": {"garage": {}}}, "plant.pv.garage: unknown"),
        ({"pv": {"roof": {"throttles": 1}}}, "plant.pv.roof.throttles: 1"),
        ({"generator": {}}, "plant.generator: the site has none"),
        ({"seed": 1.5}, "plant.seed: 1.5"),
        ({"exact": 1}, "plant.exact: 1"),
    ],
)
def test_wrong_truth_is_refused_by_name(truth: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        PlantParameters.from_site(SITE, truth)


def test_of_several_each_has_a_table_by_its_name() -> None:
    second = {**SITE["battery"][0], "name": "second"}
    site = {"battery": [SITE["battery"][0], second]}
    made = PlantParameters.from_site(site, {"battery": {"second": {"initial_soc_frac": 0.8}}})
    assert [each.initial_soc_frac for each in made.batteries] == [0.5, 0.8]
    assert made.battery == made.batteries[0]
    with pytest.raises(ValueError, match=re.escape("plant.battery.initial_soc_frac: unknown")):
        PlantParameters.from_site(site, {"battery": {"initial_soc_frac": 0.8}})
