"""Measures every figure in docs/figures.md next to its yardstick, or those of the modules that are named.

Fails if a claim does not hold.
"""

import sys
from importlib import import_module

MODULES = ("startup", "polling", "gate", "legs", "spending", "image")

held = True
for name in sys.argv[1:] or MODULES:
    for figure in import_module(f"bench.{name}").measure():
        print(figure, flush=True)
        held = held and figure.ok
sys.exit(not held)
