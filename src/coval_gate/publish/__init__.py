"""Puts a report wherever it belongs."""
