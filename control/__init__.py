"""Decisions: pure functions of frozen records; no I/O, no clock, no logging, numpy only."""
