"""The reference says what the models allow: docs/configuration.md is up to date and complete."""

from pathlib import Path

from firmware.config_reference import reference
from firmware.config_tables import Site
from firmware.config_words import tables

DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"
HINT = "python -m firmware.config_reference > docs/configuration.md"


def test_the_document_is_what_the_models_say() -> None:
    assert DOCUMENT.read_text() == reference(), HINT


def test_every_key_is_explained() -> None:
    text = DOCUMENT.read_text()
    todo = [table for _, field in Site.entries().values() for table in tables(field.annotation)]
    while todo:
        for key, (_, field) in todo.pop().entries().items():
            if inner := tables(field.annotation):
                todo += inner
            else:
                assert f"| `{key}` |" in text
                assert field.description, key
                assert field.description.endswith((".", "?")), key
