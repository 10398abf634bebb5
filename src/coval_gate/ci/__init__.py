"""The only code that knows a CI system: its context, log, outputs and files."""
