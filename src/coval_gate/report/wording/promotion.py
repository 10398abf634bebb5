"""What is to become, and what became, of a promotion, in English: for the log, for reports, and as a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from coval_gate.text import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.model.promotion import Promotion

    Mark = Callable[[str], str]

# A retry or another setting does not help, or the reasons of the verdict say what does.
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
    """Return what became of a promotion, as a sentence for the log."""
    run = f"run {promotion.run_id}"
    if promotion.obstacle == "pending":
        return f"{run[0].upper()}{run[1:]} is {_goal(promotion)} once all reports are written."
    if not promotion.promoted:
        return f"{run[0].upper()}{run[1:]} was not {_done(promotion)}: {_reason(promotion)}"
    if not promotion.tag:
        return f"Accepted {run}: comparisons begin with it."
    had = f" ({_runs(promotion.previous)} had it)" if promotion.previous else ""
    return f"Promoted {run} to tag {promotion.tag}{had}."


def report_text(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:
    """Return what becomes of a promotion, in sentences for a report about the run.

    `code` sets off tags and ids; `escape` makes foreign text harmless.
    """
    if promotion.obstacle == "pending":
        return f"{_goal(promotion, code=code).capitalize()} once all reports are written; the log says whether it was."
    if not promotion.promoted:
        done = _done(promotion, code=code).replace("to tag ", "to ")
        return f"Not {done}: {_reason(promotion, code=code, escape=escape)}"
    if not promotion.tag:
        return "Accepted: comparisons begin with this run."
    tag = code(promotion.tag)
    had = f", which {_runs(promotion.previous, code=code)} had" if promotion.previous else ""
    return " ".join(filter(None, (f"Promoted to {tag}{had}.", remaining_text(promotion, code=code, escape=escape))))


def warning_text(promotion: Promotion) -> str:
    """Return what to warn of, and what to do about it, in lines; empty where there is nothing to do."""
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
    """Return that runs that failed could not be marked, and what may come of it."""
    it, a_baseline = ("it", "a baseline") if len(run_ids) == 1 else ("they", "baselines")
    text = _runs(run_ids)
    told = f"{text[0].upper()}{text[1:]} failed, but could not be marked so, and {it} may become {a_baseline}: {why}"
    return "\n".join(filter(None, (told, advice)))


def unjudged_text(run_id: str) -> str:
    """Return that a run goes on after its step, and what may come of it."""
    return (
        f"Run {run_id} continues in Coval, but this step does not judge it: once it has completed, it may become a "
        "baseline, even if the agent got worse.\nSet cancel_on_timeout: true, or raise max_wait_time."
    )


def _goal(promotion: Promotion, *, code: Mark = str) -> str:
    return f"to be {_done(promotion, code=code)}".replace("to tag ", "to ")


def _done(promotion: Promotion, *, code: Mark = str) -> str:
    """Return what is done to the run, such as "accepted", as a participle."""
    tag = f"promoted to tag {code(promotion.tag)}" if promotion.tag else ""
    return in_words(list(filter(None, ("accepted" if promotion.accepted else "", tag))))


def _reason(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:  # noqa: C901 - a case for each kind
    """Return why a run was not promoted, as the end of a sentence."""
    match promotion.obstacle:
        case "pending" | "not_passed":
            return "the step did not pass."
        case "repeated":
            return "it failed at first, and passed only together with its repetitions."
        case "in_doubt":
            return "a threshold that does not compare with the baseline is in doubt."
        case "too_old":
            return "its baseline is too old to tell whether it got worse."
        case "incomparable":
            return "nothing in its baseline could be compared."
        case "not_compared":
            return "it was compared with no baseline."
        case "unjudged":
            return "no threshold or target judged the agent's quality."
        case "unconfirmed":
            return (
                "it is better than its baseline by more than the margin, which one run alone may owe to chance. The "
                "next run that is as good gets the tag. To move it at once, run the workflow by hand with accept: true."
            )
        case "newer":
            return f"run {code(promotion.other)}, which is newer, has the tag."
        case "no_room":
            return "it has as many tags as Coval allows."
        case "pull_request":
            which = f"pull request #{promotion.other}" if promotion.other else "a pull request"
            return f"it evaluates {which}, and pull requests must not move the baseline."
        case "unknown_origin":
            return "Coval shows neither its tags nor its metadata, so it may evaluate a pull request."
        case "unlisted":
            return "Coval's list of runs lacks it, so it may lack the run that has the tag, too."
        case "hidden_tags":
            return "Coval does not show all of its tags, so they would be lost."
        case "not_first":
            return f"it was compared with no baseline, and run {code(promotion.other)} has the tag."
        case "marked":
            return "a step failed it before, and no failed run becomes a baseline."
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
            return f"Set {name} only where runs of pushes or schedules are judged."
        case "unjudged":
            return "Set a threshold on a metric."
        case "repeated":
            return "Accept another run."
        case "marked":
            return "To accept the change, run the workflow by hand with accept: true."
        case "late":
            return f"Raise max_wait_time. {BY_HAND}"
    return " ".join(filter(None, (promotion.advice, BY_HAND if promotion.tag else "")))


def _runs(run_ids: Sequence[str], *, code: Mark = str) -> str:
    """Name runs."""
    return f"run{'s' if len(run_ids) > 1 else ''} {in_words([code(each) for each in run_ids], most=MOST_NAMED)}"
