"""The user's configuration: inputs, their fields, checks on them, and the threshold grammar."""
