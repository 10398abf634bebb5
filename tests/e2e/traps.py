"""Traps: files in the workspace that Python without isolation would import instead of the action's modules."""

from __future__ import annotations

TRAP_MESSAGE = "This is not what you meant to run"
TRAP = f"""\
import os
os.write(1, b"{TRAP_MESSAGE}: " + __name__.encode() + b"\\n")
os._exit(0)
"""
MODULES = ("json", "requests", "pydantic", "coval_gate/base/clock", "sitecustomize")
TRAPS = {f"{directory}{module}.py": TRAP for directory in ("", "src/") for module in MODULES}
TRAPS |= {f"{directory}coval_gate/{package}__init__.py": "" for directory in ("", "src/") for package in ("", "base/")}
TRAPS |= {"startup.py": TRAP}
