"""Forecasters of PV and load and their weights."""
