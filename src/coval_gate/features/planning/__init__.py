"""What a step would do (mode plan), and which thresholds its runs can decide, with the slices of `spending`."""
