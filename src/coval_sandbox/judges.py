"""Judges the answer of an agent that a process gave: what a metric's value is worth depends on what was heard."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from . import catalogue
from .scenarios import Value
from .sound import Answer

# Jitter of a busy machine must change no value.
DELAY_STEP: Final = 0.25  # s
NO_ANSWER: Final[Mapping[str, Value]] = {
    catalogue.LATENCY.id: 6.0,
    catalogue.RESOLVED.id: "NO",
    catalogue.COMPLIANCE.id: "UNKNOWN",
    catalogue.TONE.id: 1.0,
    catalogue.SPEAKING_TIME.id: 0.0,
}
"""The values of an agent that said nothing."""


def judged(planned: Mapping[str, Value], answer: Answer) -> dict[str, Value]:
    """`planned`: the values that a good build gets."""
    found = NO_ANSWER if answer.is_silent else _heard(planned, answer)
    return {metric_id: found.get(metric_id, value) for metric_id, value in planned.items()}


def _heard(planned: Mapping[str, Value], answer: Answer) -> dict[str, Value]:
    values: dict[str, Value] = {
        catalogue.SPEAKING_TIME.id: round(min(100.0, 100.0 * answer.sounding / answer.call), 1),
    }
    if not answer.is_good:
        values[catalogue.RESOLVED.id] = "NO"
    latency = planned.get(catalogue.LATENCY.id)
    if isinstance(latency, float) and answer.delay is not None:
        values[catalogue.LATENCY.id] = round(latency + math.floor(answer.delay / DELAY_STEP) * DELAY_STEP, 3)
    return values
