"""Calculates how many test cases a threshold needs. It is a tool for people, and not in the image."""
