"""A local Coval: enough of its HTTP API for development and tests, with controlled time and faults."""
