"""Coval Gate: a GitHub Action that launches a Coval evaluation run and lets it decide a check."""

__version__ = "0.1.0"

# On github.com, where messages link to the docs, and workflows find the action. `make adopt` names another owner.
REPOSITORY = "your-org/coval-gate"


def how_to_install(extra: str) -> str:
    """No package index has the package."""
    source = f"git+https://github.com/{REPOSITORY}@v{__version__}"
    wheel = f"coval_gate-{__version__}-py3-none-any.whl"
    return f"pip install 'coval-gate[{extra}] @ {source}', or from a wheel: pip install '{wheel}[{extra}]'"
