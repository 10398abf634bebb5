"""Measurements of what README claims."""
