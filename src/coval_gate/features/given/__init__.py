"""Runs that were launched elsewhere: each goes to the leg that it shows (mode wait), or ends (mode cancel)."""
