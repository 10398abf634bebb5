"""GitHub: the runner of a step, and the REST API."""
