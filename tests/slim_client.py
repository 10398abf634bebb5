"""A package that stands for Coval's API client, and has no more of it than the Agent SDK uses.

Importing the whole client would take most of the time of a test whose processes attach to simulations.
"""

from pathlib import Path
from typing import Final

SLIM: Final = """
import sys
from importlib.machinery import PathFinder
from types import ModuleType

others = [place for place in sys.path if not __file__.startswith(place)]
__path__ = list(PathFinder.find_spec("coval_sdk", others).submodule_search_locations)
sys.modules["coval_sdk.models"] = ModuleType("coval_sdk.models")
"""


def slim_client(directory: Path) -> Path:
    """Write the package into a directory, and return the directory that belongs into PYTHONPATH."""
    package = directory / "slim" / "coval_sdk"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(SLIM)
    return package.parent
