"""Pure: what a run amounts to."""
