"""Stands in for the package of the same name on a Raspberry Pi."""
