"""Coval Gate: a GitHub Action that launches a Coval evaluation run and lets it decide a check."""

__version__ = "0.1.0"

# On github.com, where messages link to the docs, and workflows find the action. `make adopt` names another owner.
REPOSITORY = "your-org/coval-gate"
