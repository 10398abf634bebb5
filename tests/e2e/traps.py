"""Files in a caller's repository that Python would run instead of our own."""

from __future__ import annotations

SPRUNG = "This is not what you meant to run"
TRAP = f"""\
import os
os.write(1, b"{SPRUNG}: " + __name__.encode() + b"\\n")
os._exit(0)
"""
MODULES = ("json", "requests", "pydantic", "coval_gate/clock", "sitecustomize")
TRAPS = {f"{place}{module}.py": TRAP for place in ("", "src/") for module in MODULES}
TRAPS |= {f"{place}coval_gate/__init__.py": "" for place in ("", "src/")}
TRAPS |= {"startup.py": TRAP}
