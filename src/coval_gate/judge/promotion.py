"""Decide by its judgement alone whether a run may take the tag that later runs are compared with. Pure.

Promoting only winners would move the reference a little further every night. So a run is promoted whatever it shows,
unless it failed, lacks data, or was not compared as it should have been. A failed run is one that is shown to be worse,
beyond a margin. Its mirror image, a run that is shown to be better beyond the same margin, may be as lucky as a failed
one is unlucky. Promoting it at once would still move the reference to the better side, so another run must confirm it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from coval_gate.config.thresholds import TOLERANCE
from coval_gate.judge.problems import ComparisonProblem, NoBaseline
from coval_gate.judge.verdict import Verdict

if TYPE_CHECKING:
    from coval_gate.judge.checks import Check
    from coval_gate.judge.judgement import Judgement
    from coval_gate.model.baseline import Refusal


FIRST: Final = ("none", "pull_request")  # why there is no baseline: no run has its tag yet


def refusal(judgement: Judgement) -> Refusal | Literal[""]:
    """Return why a run must not become a reference for later runs; empty if it may.

    An unconfirmed run may if another run since the reference was unconfirmed, too.
    """
    if judgement.verdict not in (Verdict.PASSED, Verdict.INCONCLUSIVE):
        return "not_passed"
    if judgement.repetition is not None:
        return "repeated"
    for check in judgement.missed:
        if reason := _refusal_of(check):
            return reason
    if not judgement.lets_pass:
        return "not_passed"
    if not any(map(_is_about_quality, judgement.checks)):
        return "unjudged"
    return "unconfirmed" if any(map(_is_better_beyond_margin, judgement.checks)) else ""


def acceptance_refusal(judgement: Judgement) -> Refusal | Literal[""]:
    """Return why a person's acceptance of a run is refused; empty if it is not.

    The person takes the decision of `refusal`, except that no failed run becomes a baseline.
    """
    if judgement.repetition is not None and judgement.verdict is not Verdict.FAILED:
        return "repeated"
    ended = judgement.verdict in (Verdict.PASSED, Verdict.INCONCLUSIVE)
    return "" if ended and judgement.lets_pass and judgement.checks else "not_passed"


def seems_first(judgement: Judgement) -> bool:
    """Return whether a run was compared with nothing because, by Coval's lists, no earlier run has the tag."""
    return any(_is_first(check) for check in judgement.missed)


def has_failed_check(judgement: Judgement) -> bool:
    """Return whether the gate failed a run: some criterion that decides failed, even if others are in doubt.

    A run whose simulations nobody answered shows nothing of an agent, so it counts, too.
    """
    failed = any(check.verdict is Verdict.FAILED for check in judgement.missed)
    return judgement.verdict is Verdict.FAILED or failed or (bool(judgement.checks) and judgement.is_unanswered)


def _refusal_of(check: Check) -> Refusal | Literal[""]:
    """Return why a run that missed a check must not be promoted; empty if the comparison was merely too small."""
    if check.verdict is not Verdict.INCONCLUSIVE:
        return "not_passed"
    if isinstance(check.problem, NoBaseline):
        if _is_first(check):
            return ""
        return "too_old" if check.problem.reason.kind == "too_old" else "not_compared"
    if isinstance(check.problem, ComparisonProblem):
        return "incomparable"
    return "" if check.reference == "baseline" and check.measure else "in_doubt"


def _is_first(check: Check) -> bool:
    return isinstance(check.problem, NoBaseline) and check.problem.reason.kind in FIRST


def _is_about_quality(check: Check) -> bool:
    """Return whether a check that decides, or that a person accepted, is about the agent's quality."""
    return (check.decides or check.accepted) and check.criterion.shows_quality


def _is_better_beyond_margin(check: Check) -> bool:
    """Return whether a check that decides is the mirror image of one that fails against the baseline.

    The change is shown and, as counted, beyond the margin: with `baseline * 1.1`, below 0.9 times the baseline's value.
    """
    threshold, measure = check.threshold, check.measure
    if threshold is None or not check.decides or check.reference != "baseline":
        return False
    if measure is None or measure.comparison is None or measure.comparison.trend != "improved":
        return False
    earlier = measure.comparison.value
    if not (threshold.wants_less or threshold.wants_more):
        return False
    towards_worse = 1.0 if threshold.wants_less else -1.0
    margin = towards_worse * (threshold.bound.of(earlier) - earlier)  # below 0 if an improvement is required
    return towards_worse * (earlier - measure.value) > margin + TOLERANCE * abs(earlier)
