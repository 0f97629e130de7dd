"""One HTML file about one run on the bench."""

from html import escape
from pathlib import Path

from hil.result import Result


def write_report(result: Result, path: Path) -> None:
    """Write the report of `result` to `path`: one file that needs nothing from outside."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>"
        for name, value in result.summary.items()
    )
    title = escape(f"{result.title}: {result.site_name}")
    path.write_text(
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"</head><body><h1>{title}</h1><table>{rows}</table></body></html>\n",
        encoding="utf-8",
    )
