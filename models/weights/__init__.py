"""Weights that ship, each with its description; see MODEL_CARD.md."""
