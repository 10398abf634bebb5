"""The only code that knows a CI system: where a step runs, and where it writes."""
