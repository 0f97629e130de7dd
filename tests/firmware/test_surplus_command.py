import json

import pytest
from click.testing import CliRunner

from firmware.cli import cli

USUAL = {"price": "0.1", "temperature": "-5", "hour": "12", "interest": "0.5", "capacity": "0.4"}


def run(**changes: str):
    options = {**USUAL, **changes}
    return CliRunner().invoke(
        cli,
        ["surplus", *(part for name, value in options.items() for part in (f"--{name}", value))],
    )


def test_output_is_json_with_raw_values_and_shares():
    result = run()
    assert result.exit_code == 0
    assert result.stderr == ""
    answer = json.loads(result.stdout)
    assert list(answer) == ["raw", "shares"]
    assert [list(part) for part in answer.values()] == [["store", "export", "p2p"]] * 2
    assert sum(answer["shares"].values()) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("price", "cheap"),
        ("price", "nan"),
        ("temperature", "inf"),
        ("hour", "24.5"),
        ("hour", "-1"),
        ("interest", "1.01"),
        ("capacity", "-0.1"),
        ("capacity", ""),
    ],
)
def test_bad_input_is_one_line_and_exit_2(option, value):
    result = run(**{option: value})
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert f"--{option}" in result.stderr


def test_a_missing_option_is_one_line_and_exit_2():
    result = CliRunner().invoke(cli, ["surplus", "--price", "0.1"])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == ["nanogrid surplus: Missing option '--temperature'."]


def test_help_is_complete():
    result = CliRunner().invoke(cli, ["surplus", "--help"])
    assert result.exit_code == 0
    for option in USUAL:
        assert f"--{option}" in result.stdout
