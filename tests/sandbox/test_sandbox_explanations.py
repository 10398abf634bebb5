"""What the sandbox's judges say: two sentences that fit metric, value and test case."""

import re

import pytest

from coval_gate.report.document.simulations import says_more
from coval_sandbox import catalogue
from coval_sandbox.judges import JUDGES, STORIES, answer, explanation
from coval_sandbox.scenarios import Value

CASES = catalogue.test_cases("passing1", 20)
VALUES: dict[str, tuple[Value, ...]] = {
    catalogue.RESOLVED.id: ("YES", "NO", "UNKNOWN"),
    catalogue.COMPLIANCE.id: ("YES", "NO", "UNKNOWN"),
    catalogue.TONE.id: (4.6, 4.0, 3.2, 1.0),
    catalogue.TOPICS.id: (("billing", "refund"), ("booking",), ()),
}
SENTENCE = r"[A-Z](?:[^.]|p\.m\.)*\."


@pytest.mark.parametrize("metric", JUDGES, ids=lambda metric: metric.name)
def test_judge_says_two_sentences_about_the_conversation(metric: catalogue.Metric) -> None:
    for case in CASES:
        for value in VALUES[metric.id]:
            said = explanation(metric, {metric.id: value}, case) or ""
            assert re.fullmatch(f"{SENTENCE} {SENTENCE}", said), said
            assert says_more(said, metric.name, frozenset(value) if isinstance(value, tuple) else value)


def test_judge_of_outcome_and_agent_tell_the_same_story() -> None:
    for case in CASES:
        story = STORIES[case.subject]
        for value, event, spoken in (("YES", story.good, case.expected), ("NO", story.bad, story.refusal)):
            values: dict[str, Value] = {catalogue.RESOLVED.id: value}
            said = explanation(catalogue.RESOLVED, values, case) or ""
            assert said.startswith(story.wish)
            assert said.endswith(event)
            assert spoken in answer(values, case)
