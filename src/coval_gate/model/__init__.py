"""Frozen data that the packages share: a run, its results, its statuses."""
