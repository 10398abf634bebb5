"""Frozen data that the rooms share: a run, its results, its statuses."""
