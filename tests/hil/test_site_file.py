"""TOML that reads back as what was written."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware.config import load_site, site_from_dict
from hil.site_file import to_toml

ROOT = Path(__file__).parents[2]
SITES = [ROOT / "examples" / "site.toml", *sorted((ROOT / "hil/scenarios/sites").glob("*.toml"))]

words = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    words,
    st.lists(words, max_size=3),
    st.lists(st.integers(0, 9), max_size=3),
)
tables = st.dictionaries(words, values, max_size=4)
files = st.dictionaries(
    words, st.one_of(values, tables, st.lists(tables, min_size=1, max_size=3)), max_size=5
)


@given(files)
def test_it_reads_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(table)) == table


def test_keys_are_quoted_only_where_they_must_be() -> None:
    text = to_toml({"site": {"name": "a"}, "bus": [{"full speed": 1, "": 2, "é": 3}]})
    assert text == '\n[site]\nname = "a"\n\n[[bus]]\n"full speed" = 1\n"" = 2\n"é" = 3\n'


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_a_site_is_the_same_site_again(path: Path) -> None:
    table = tomllib.loads(path.read_text())
    again = tomllib.loads(to_toml(table))
    assert again == table
    assert site_from_dict(again) == load_site(path)
