"""Measures every figure in docs/figures.md next to its yardstick. Fails if a claim does not hold."""

from __future__ import annotations

import sys

from bench import attach, faces, gate, html, image, judge, legs, polling, startup
from bench.figures import table

figures = [
    *startup.measure(),
    *polling.measure(),
    *polling.measure_short(),
    *gate.measure(),
    *judge.measure(),
    *faces.measure(),
    *html.measure(),
    *legs.measure(),
    *attach.measure(),
    *image.measure(),
]
print(table(figures))
sys.exit(not all(figure.ok for figure in figures))
