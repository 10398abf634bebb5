"""Measurements of README's claims."""
