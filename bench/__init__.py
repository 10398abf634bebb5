"""Measurements of the figures in docs/figures.md."""
