"""The only code that knows GitHub."""
