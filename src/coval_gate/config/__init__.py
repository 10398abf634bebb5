"""What a user writes: the inputs, their fields, the checks on them, and the grammar of thresholds."""
