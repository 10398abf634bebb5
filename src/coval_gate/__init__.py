"""Coval Gate: a GitHub Action that launches a Coval evaluation run and lets it decide a check."""

# On github.com. `make adopt` names another one.
REPOSITORY = "your-org/coval-gate"

__version__ = "0.1.0"
IS_RELEASE = False  # `make release` writes True

TAG = f"v{__version__}"
# What people copy: the tag of the minor version, which each of its releases moves.
PIN = TAG.rpartition(".")[0]
SOURCE = TAG if IS_RELEASE else "main"  # where the docs and the code of this version are


def how_to_install(extra: str) -> str:
    """Return a command that needs no package index, where a stranger could take the name."""
    source = f"git+https://github.com/{REPOSITORY}@{SOURCE}"
    wheel = f"coval_gate-{__version__}-py3-none-any.whl"
    return f"pip install 'coval-gate[{extra}] @ {source}', or from a wheel: pip install '{wheel}[{extra}]'"
