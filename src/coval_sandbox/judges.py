"""The judges: the values of an answer, and their explanations."""

import math
from collections.abc import Mapping
from typing import Final

from . import catalogue
from .scenarios import Value
from .sound import Answer


def explanation(metric: catalogue.Metric, values: Mapping[str, Value], case: catalogue.TestCase) -> str | None:
    """Return how a judge explains a value; None for a measured metric, such as a latency."""
    value = values[metric.id]
    if values.get(catalogue.SPEAKING_TIME.id) == 0.0 and metric in JUDGES:
        return "The agent did not say a word."
    match metric, value:
        case catalogue.RESOLVED, "YES":
            return f"The agent {case.expected}, as this test case expects."
        case catalogue.RESOLVED, "NO":
            return f"This test case expects an agent that {case.expected}. The agent did not."
        case catalogue.RESOLVED, _:
            return "The line became bad, so the end cannot be heard."
        case catalogue.COMPLIANCE, "YES":
            return "The agent said that the call is recorded."
        case catalogue.COMPLIANCE, "NO":
            return "The agent never said that the call is recorded."
        case catalogue.COMPLIANCE, _:
            return "The start of the recording is missing."
        case catalogue.TONE, float():
            return (
                f"The agent sounded {'warm' if value >= 4.0 else 'polite, but short' if value >= 3.0 else 'impatient'}."
            )
        case catalogue.TOPICS, tuple():
            return f"The conversation was about {' and '.join(value) or 'none of the listed topics'}."
    return None


def answer(values: Mapping[str, Value], case: catalogue.TestCase) -> str:
    """Return an answer of the agent that fits the judges' explanations."""
    if values.get(catalogue.RESOLVED.id) == "NO":
        return "I have noted that. Is there anything else?"
    return f"Of course. (The agent {case.expected}.)"


JUDGES: Final = (catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE, catalogue.TOPICS)

# Rounded, so that the jitter of a busy machine changes no value.
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
    """Return the values of an answer. `planned`: the values of a good build."""
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
