"""What became of a promotion, in English: a sentence for the log, one for reports, and a warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, assert_never

from coval_gate.text import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coval_gate.model.promotion import Promotion

    Mark = Callable[[str], str]

NOTHING_TO_DO: Final = ("newer", "repeated", "not_first")
MOST_NAMED: Final = 3  # runs
BY_HAND: Final = "To promote it anyway, add the tag to the run in Coval."


def log_text(promotion: Promotion) -> str:
    """Return what became of a promotion, as a sentence for the log."""
    if not promotion.promoted:
        return f"Run {promotion.run_id} was not promoted to tag {promotion.tag}: {_reason(promotion)}"
    had = f" ({_runs(promotion.previous)} had it)" if promotion.previous else ""
    return f"Promoted run {promotion.run_id} to tag {promotion.tag}{had}."


def report_text(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:
    """Return what became of a promotion, in sentences for a report about the run.

    `code` sets off tags and ids; `escape` makes foreign text harmless.
    """
    tag = code(promotion.tag)
    if not promotion.promoted:
        return f"Not promoted to {tag}: {_reason(promotion, code=code, escape=escape)}"
    had = f", which {_runs(promotion.previous, code=code)} had" if promotion.previous else ""
    return " ".join(filter(None, (f"Promoted to {tag}{had}.", remaining_text(promotion, code=code, escape=escape))))


def warning_text(promotion: Promotion) -> str:
    """Return what to warn of, and what to do about it, in lines; empty where there is nothing to do."""
    if promotion.promoted:
        return remaining_text(promotion)
    if promotion.obstacle in NOTHING_TO_DO:
        return ""
    return f"{log_text(promotion)}\n{_advice(promotion)}"


def remaining_text(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:
    """Return which older runs still have the tag, and why; empty where none does."""
    if not promotion.remaining:
        return ""
    runs, tag = _runs(promotion.remaining, code=code), code(promotion.tag)
    have, lose = ("has", "loses") if len(promotion.remaining) == 1 else ("have", "lose")
    return f"The older {runs} still {have} the tag {tag}, and {lose} it at the next promotion: {escape(promotion.text)}"


def _reason(promotion: Promotion, *, code: Mark = str, escape: Mark = str) -> str:
    """Return why a run was not promoted, as the end of a sentence."""
    match promotion.obstacle:
        case "newer":
            return f"run {code(promotion.other)}, which is newer, has the tag."
        case "no_room":
            return "it has as many tags as Coval allows."
        case "pull_request":
            which = f"pull request #{promotion.other}" if promotion.other else "a pull request"
            return f"it evaluates {which}, and pull requests must not move the baseline."
        case "unknown_origin":
            return "Coval shows neither its tags nor its metadata, so it may evaluate a pull request."
        case "hidden_tags":
            return "Coval does not show all of its tags, so they would be lost."
        case "repeated":
            return "it failed at first, and passed only together with its repetitions."
        case "not_first":
            return f"it was compared with no baseline, and run {code(promotion.other)} has the tag."
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
            return "Set promote only where runs of pushes or schedules are judged."
        case "late":
            return f"Raise max_wait_time. {BY_HAND}"
    return " ".join(filter(None, (promotion.advice, BY_HAND)))


def _runs(run_ids: Sequence[str], *, code: Mark = str) -> str:
    """Name runs."""
    return f"run{'s' if len(run_ids) > 1 else ''} {in_words([code(each) for each in run_ids], most=MOST_NAMED)}"
