"""The scenario that tests of a running controller share: a clear day in May, one hour of it."""


def scenario_text(site: object, start: str = "2026-05-13T11:00:00Z", more: str = "") -> str:
    """A scenario file; `more` are further tables."""
    return f"""
[scenario]
title = "now"
site = "{site}"
start = "{start}"
duration_h = 1.0
seed = 5
[weather]
kind = "clear"
{more}"""
