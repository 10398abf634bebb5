"""Runs of earlier attempts: taken over, kept, superseded or ended. Of slices, `spending` shows whether they decide."""
