"""Runs that were launched elsewhere (mode wait): each goes to the leg that it shows."""
