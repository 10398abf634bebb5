"""Measures every figure in docs/figures.md beside its yardstick. Fails if a claim is not met."""

import argparse
import sys
from importlib import import_module

MODULES = ("startup", "polling", "gate", "legs", "spending", "image")

parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
parser.add_argument("modules", nargs="*", metavar="module", help=f"measure only these: {', '.join(MODULES)}")
met = True
names = parser.parse_args().modules or MODULES
if unknown := [name for name in names if name not in MODULES]:
    parser.error(f"no module is called {unknown[0]}; there are {', '.join(MODULES)}")
for name in names:
    for figure in import_module(f"bench.{name}").measure():
        print(figure, flush=True)
        met = met and figure.ok
sys.exit(not met)
