"""A promotion in English, pending or over: for the log, for reports, and as a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from coval_gate.base.text import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.model.baseline import Promotion

    Mark = Callable[[str], str]

# Neither a retry nor another setting helps, or the verdict's reasons say what does.
NOTHING_TO_DO: Final = (
    "pending",
    "newer",
    "not_passed",
    "in_doubt",
    "too_old",
    "incomparable",
    "not_compared",
    "not_first",
    "unconfirmed",
)
MOST_NAMED: Final = 3  # runs
BY_HAND: Final = "To promote it anyway, add the tag to the run in Coval."


def log_text(promotion: Promotion) -> str:
    """Return the state of a promotion, as a sentence for the log."""
    run_id, promoted = promotion.run_id, _promoted(promotion, f"tag {promotion.tag}")
    if promotion.obstacle == "pending":
        return f"Run {run_id} will be {promoted} once all reports are written."
    if not promotion.promoted:
        return f"Run {run_id} was not {promoted}: {_reason(promotion)}"
    if not promotion.tag:
        return f"Accepted run {run_id}: later runs are compared with it."
    return f"Promoted run {run_id} to tag {promotion.tag}{_previously(promotion)}."


def report_text(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:
    """Return the state of a promotion, in sentences for a report about the run.

    `code` marks up tags and ids; `escape` escapes foreign text.
    """
    promoted = _promoted(promotion, code(promotion.tag))
    if promotion.obstacle == "pending":
        return f"To be {promoted} once all reports are written; the log says whether it was."
    if not promotion.promoted:
        return f"Not {promoted}: {_reason(promotion, code=code, escape=escape)}"
    if not promotion.tag:
        return "Accepted: later runs are compared with this one."
    done = f"Promoted to {code(promotion.tag)}{_previously(promotion, code=code)}."
    return " ".join(filter(None, (done, remaining_text(promotion, code=code, escape=escape))))


def warning_text(promotion: Promotion) -> str:
    """Return the warning, and what to do about it, in lines; empty where there is nothing to do."""
    if promotion.promoted:
        return remaining_text(promotion)
    if promotion.obstacle in NOTHING_TO_DO or (promotion.obstacle == "repeated" and not promotion.accepted):
        return ""
    return "\n".join(filter(None, (log_text(promotion), _advice(promotion))))


def remaining_text(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:
    """Return which older runs still have the tag, and why; empty where none does."""
    if not promotion.remaining:
        return ""
    runs, tag = _runs(promotion.remaining, code=code), code(promotion.tag)
    have, lose = ("has", "loses") if len(promotion.remaining) == 1 else ("have", "lose")
    return f"The older {runs} still {have} the tag {tag}, and {lose} it at the next promotion: {escape(promotion.text)}"


def not_marked_text(run_ids: Sequence[str], why: str, advice: str) -> str:
    """Return that failed runs could not be marked as failed, and the consequence."""
    it, a_baseline = ("it", "a baseline") if len(run_ids) == 1 else ("they", "baselines")
    runs = _runs(run_ids)
    text = (
        f"{runs[0].upper()}{runs[1:]} failed, but could not be marked as failed, so {it} may become {a_baseline}: {why}"
    )
    return "\n".join(filter(None, (text, advice)))


def unjudged_text(run_id: str) -> str:
    """Return that a run continues after its step, and the consequence."""
    return (
        f"Run {run_id} continues in Coval, but this step does not judge it: once completed, it may become a "
        "baseline, even if the agent got worse.\nSet cancel_on_timeout: true, or raise max_wait_time."
    )


def _promoted(promotion: Promotion, tag: str) -> str:
    """Return what a promotion does to the run, as a participle: "accepted and promoted to stable"."""
    participles = ("accepted" if promotion.accepted else "", f"promoted to {tag}" if promotion.tag else "")
    return in_words(list(filter(None, participles)))


def _previously(promotion: Promotion, *, code: Mark = str) -> str:
    return f" (previously {_runs(promotion.previous, code=code)})" if promotion.previous else ""


def _reason(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:  # noqa: C901 - a case for each kind
    """Return why a run was not promoted, as the end of a sentence."""
    match promotion.obstacle:
        case "pending" | "not_passed":
            return "the step did not pass."
        case "repeated":
            return "it failed at first, and passed only together with its repetitions."
        case "in_doubt":
            return "a threshold that does not compare with the baseline is inconclusive."
        case "too_old":
            return "its baseline is too old to tell whether it got worse."
        case "incomparable":
            return "nothing in its baseline could be compared."
        case "not_compared":
            return "it was not compared with a baseline."
        case "unjudged":
            return "no threshold or target judged the agent's quality."
        case "unconfirmed":
            return (
                "it is better than its baseline by more than the margin, which in a single run may be chance. The "
                "next run that is as good gets the tag. To move it at once, run the workflow manually with accept: "
                "true."
            )
        case "newer":
            return f"the newer run {code(promotion.other)} has the tag."
        case "no_room":
            return "it already has as many tags as Coval allows."
        case "pull_request":
            which = f"pull request #{promotion.other}" if promotion.other else "a pull request"
            return f"it evaluates {which}, and pull requests must not move the baseline."
        case "unknown_origin":
            return "Coval shows neither its tags nor its metadata, so it may evaluate a pull request."
        case "unlisted":
            return "Coval's list of runs does not include it, so it may not include the run with the tag, either."
        case "hidden_tags":
            return "Coval does not show all of its tags, and the hidden ones would be lost."
        case "not_first":
            return f"it was not compared with a baseline, and run {code(promotion.other)} has the tag."
        case "marked":
            return "an earlier step failed it, and a failed run never becomes a baseline."
        case "late":
            return "max_wait_time had passed."
        case "failed" | "":
            return escape(promotion.text)
    assert_never(promotion.obstacle)


def _advice(promotion: Promotion) -> str:
    """Return what to do about a run that was not promoted, in sentences."""
    match promotion.obstacle:
        case "no_room":
            return "Launch runs with fewer tags."
        case "pull_request":
            name = "accept" if promotion.accepted else "promote"
            return f"Set {name} only for runs of pushes or schedules."
        case "unjudged":
            return "Set a threshold on a metric."
        case "repeated":
            return "Accept another run."
        case "marked":
            return "To accept the change, run the workflow manually with accept: true."
        case "late":
            return f"Raise max_wait_time. {BY_HAND}"
    return " ".join(filter(None, (promotion.advice, BY_HAND if promotion.tag else "")))


def _runs(run_ids: Sequence[str], *, code: Mark = str) -> str:
    """Return runs by their ids: "run a", "runs a, b and c"."""
    return f"run{'s' if len(run_ids) > 1 else ''} {in_words([code(run_id) for run_id in run_ids], most=MOST_NAMED)}"
