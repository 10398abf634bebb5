"""Measures every figure in docs/figures.md beside its yardstick; with arguments, only the figures of these modules.

Fails if a claim is not met.
"""

import sys
from importlib import import_module

MODULES = ("startup", "polling", "gate", "legs", "spending", "image")

met = True
for name in sys.argv[1:] or MODULES:
    for figure in import_module(f"bench.{name}").measure():
        print(figure, flush=True)
        met = met and figure.ok
sys.exit(not met)
