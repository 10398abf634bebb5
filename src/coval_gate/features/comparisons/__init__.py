"""Thresholds that refer to earlier runs (baseline, accept) or another agent, without `known_failures`.

Uses `confidence` and, of slices, `spending`.
"""
