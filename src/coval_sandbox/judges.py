"""The judges: what an answer that was heard is worth, and the two sentences that they say about a conversation.

The sentences fit the metric, its value and the test case. Metrics that measure, such as a latency, explain nothing.
"""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from . import catalogue
from .scenarios import Value
from .sound import Answer


class Story(NamedTuple):
    """Each of `good` and `bad` follows "The agent"."""

    wish: str
    good: str
    bad: str
    refusal: str
    """What the agent says where it did not help."""
    topic: str
    """What the agent speaks about; follows "about"."""
    moment: str
    """The moment that shows how friendly the agent is; follows "when"."""


STORIES: Final = {
    "Books an appointment": Story(
        "The caller asked for an appointment next Tuesday afternoon.",
        "offered two free times and confirmed the one that the caller chose.",
        "asked for the day twice and never offered a free time.",
        "Our opening hours are nine to five. Is there anything else?",
        topic="the appointment",
        moment="the caller asked for Tuesday",
    ),
    "Moves an appointment": Story(
        "The caller wanted to move an appointment to Friday.",
        "found the booking, moved it and read the new time back.",
        "booked a second appointment and left the old one in place.",
        "I have noted that. Goodbye.",
        topic="the booking",
        moment="the caller named Friday",
    ),
    "Asks for a refund": Story(
        "The caller had been charged twice and wanted the money back.",
        "opened a refund request and said when the money will arrive.",
        "explained the price list and did not open a refund request.",
        "You can find our prices on the website.",
        topic="the second charge",
        moment="the caller asked for the money back",
    ),
    "Angry caller": Story(
        "The caller was angry after an hour of waiting.",
        "apologized at once and offered to call back within ten minutes.",
        "started its greeting again and did not mention the wait.",
        "Please be patient. How can I help you today?",
        topic="the matter",
        moment="the caller complained about the wait",
    ),
    "Wants a human": Story(
        "The caller asked for a real person.",
        "said that it would connect the call and handed over to a colleague.",
        "offered its own help three times and never handed over.",
        "I am sure that I can help you myself.",
        topic="the matter",
        moment="the caller asked for a real person",
    ),
    "Changes the address": Story(
        "The caller had moved and gave a new address.",
        "checked the birth date and read the new address back.",
        "thanked the caller, but did not read the address back or save it.",
        "Thank you. Have a nice day.",
        topic="the old address",
        moment="the caller spelled the new street",
    ),
    "Background noise": Story(
        "The caller was on a train and hard to understand.",
        "asked again for the words that it had missed and got the matter right.",
        "answered a question that the caller had not asked.",
        "Of course, I will close your account.",
        topic="the matter",
        moment="the train was loud",
    ),
    "Speaks Spanish": Story(
        "The caller asked whether the agent speaks Spanish.",
        "went on in Spanish and stayed with it until the end.",
        "answered in English, and the caller gave up.",
        "I am sorry, please say that in English.",
        topic="the question",
        moment="the caller changed the language",
    ),
    "Gives a wrong birth date": Story(
        "The caller gave the thirtieth of February as a birth date.",
        "noticed that there is no such day and asked again.",
        "accepted the date and went on without a valid one.",
        "Thank you, I have found your record.",
        topic="the record",
        moment="the caller gave an impossible date",
    ),
    "Hangs up early": Story(
        "The caller changed their mind and wanted to end the call.",
        "said goodbye politely and did not hold the caller.",
        "went on with its greeting until the caller hung up.",
        "Before you go, may I ask two questions?",
        topic="the last visit",
        moment="the caller wanted to go",
    ),
}
COMPLIANCES: Final = {
    "YES": "The agent said that the call is recorded. It checked who was calling before it spoke about {topic}.",
    "NO": "The agent never said that the call is recorded. It spoke about {topic} all the same.",
}
UNHEARD: Final = "The start of the recording is missing. It begins where the agent already speaks about {topic}."
TONES: Final = (  # from this value on
    (4.0, "The agent sounded warm and let the caller finish. When {moment}, it answered at once and kindly."),
    (3.0, "The agent was polite, but its answers were short. When {moment}, it went straight to the next question."),
    (0.0, "The agent interrupted the caller twice. When {moment}, it sounded impatient."),
)


def explanation(metric: catalogue.Metric, values: Mapping[str, Value], case: catalogue.TestCase) -> str | None:
    """None for a metric that no judge decides."""
    value, story = values[metric.id], STORIES[case.subject]
    if values.get(catalogue.SPEAKING_TIME.id) == 0.0 and metric in JUDGES:
        return f"{story.wish} The agent did not say a word."
    match metric:
        case catalogue.RESOLVED:
            event = {"YES": story.good, "NO": story.bad}.get(str(value))
            happened = f"The agent {event}" if event else "The line became bad, so the end cannot be heard."
            return f"{story.wish} {happened}"
        case catalogue.COMPLIANCE:
            return COMPLIANCES.get(str(value), UNHEARD).format(topic=story.topic)
        case catalogue.TONE if isinstance(value, float):
            return next(text for least, text in TONES if value >= least).format(moment=story.moment)
        case catalogue.TOPICS if isinstance(value, tuple):
            topics = " and ".join(value) or "none of the listed topics"
            return f"{story.wish} The conversation was about {topics}."
    return None


def is_resolved(values: Mapping[str, Value]) -> bool:
    return values.get(catalogue.RESOLVED.id) != "NO"


def answer(values: Mapping[str, Value], case: catalogue.TestCase) -> str:
    """Fit what judges say about the conversation."""
    if is_resolved(values):
        return f"Of course. (The agent {case.expected}.)"
    return STORIES[case.subject].refusal


JUDGES: Final = (catalogue.RESOLVED, catalogue.COMPLIANCE, catalogue.TONE, catalogue.TOPICS)

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
