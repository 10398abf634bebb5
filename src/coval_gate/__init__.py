"""Coval Gate: a GitHub Action that launches a Coval evaluation run and lets it decide a check."""

__version__ = "0.1.0"
