"""A local Coval: enough of its HTTP API to develop and test against, with time and faults under control."""
