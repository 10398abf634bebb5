"""The only code that knows Coval's HTTP API."""
