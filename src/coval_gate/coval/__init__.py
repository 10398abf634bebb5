"""Coval's HTTP API; no other package knows it."""
