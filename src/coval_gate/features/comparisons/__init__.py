"""Thresholds that refer to earlier runs (baseline, accept) or another agent. Uses `confidence`; slices: `spending`."""
