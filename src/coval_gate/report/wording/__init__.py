"""A judgement in English: heading, title, reasons, advice. `checks` words single checks, `slices` a leg in slices."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, assert_never

from coval_gate.base import titles
from coval_gate.base.text import duration, one_line, plural, shortened_at_word
from coval_gate.coval.model import CANCELLED, DELETED
from coval_gate.gate.judgement import Judgement, Repetition
from coval_gate.gate.problems import NOT_ANSWERED
from coval_gate.gate.verdict import (
    HISTORY_ONLY,
    LAUNCHED_ONLY,
    PLANNED_ONLY,
    UNFINISHED_TEXT,
    Aborted,
    Cancellation,
    Completed,
    Errored,
    Launched,
    Limit,
    NoneSelected,
    NotCompleted,
    OnlyRead,
    RunsCancelled,
    Skipped,
    StepInterrupted,
    TimedOut,
    Together,
    Unanswered,
    Unfinished,
    Verdict,
)
from coval_gate.inputs.naming import missing_key_reason
from coval_gate.report.wording.checks import check_reason

ALONE: Final[Mapping[Verdict | None, str]] = {Verdict.INCONCLUSIVE: "was inconclusive"}
TOGETHER: Final[Mapping[Verdict | None, str]] = {
    Verdict.PASSED: "they pass",
    Verdict.FAILED: "they fail",
    Verdict.INCONCLUSIVE: "they are inconclusive",
}
# Each mark is easy to see in GitHub's light and dark themes.
HEADINGS: Final = {
    Verdict.PASSED: "✅ Passed",
    Verdict.FAILED: "❌ Failed",
    Verdict.INCONCLUSIVE: "❔ Inconclusive",
    Verdict.ERROR: "⚠️ Error",
    Verdict.TIMED_OUT: "⌛ Timed out",
    Verdict.CANCELLED: "🚫 Cancelled",
    Verdict.SKIPPED: "⏭️ Skipped",
}
WITHOUT_VERDICT: Final = {
    LAUNCHED_ONLY: "🚀 Launched",
    PLANNED_ONLY: "📋 Planned",
    HISTORY_ONLY: "📈 History",
    CANCELLED: "⏹️ Cancelled",
}  # by status
TITLES_COMPLETED: Final = {
    Verdict.PASSED: "Passed",
    Verdict.ERROR: titles.NO_VERDICT,
    Verdict.FAILED: titles.GATE_FAILED,
    Verdict.INCONCLUSIVE: titles.INCONCLUSIVE,
    Verdict.TIMED_OUT: titles.TIMED_OUT,
}  # of a run that completed
TITLES_NOT_COMPLETED: Final = {
    Verdict.ERROR: titles.RUN_ERROR,
    Verdict.FAILED: titles.RUN_FAILED,
    Verdict.CANCELLED: titles.RUN_CANCELLED,
}
ATTACH: Final = (
    "Run coval-gate attach between the step that launches and this one, with the same run_id. If it ran, its log "
    "says which simulations it did not answer; examples/own-build.yml also keeps the logs of its processes."
)
LONGEST_REASON: Final = 1000  # characters; names of metrics may be long
OUTCOMES: Final = {
    "cancelled": "the run was cancelled",
    "over": "the run had already ended ({status})",
    "gone": "the run no longer exists",
    "not_launched": "no run was launched",
    "left": "the run continues in Coval",
    "maybe_left": "a run may continue in Coval",
    "failed": "the run could not be cancelled ({reason})",
}
NOTHING_LEFT: Final = ("cancelled", "over", "gone", "not_launched")  # no later step can wait for such a run
TITLES_OF_CAUSES: Final[Mapping[type, str]] = {
    TimedOut: titles.TIMED_OUT,
    Aborted: titles.RUN_ABORTED,
    StepInterrupted: titles.CANCELLED,
    Unfinished: titles.UNFINISHED,
    Skipped: titles.SKIPPED,
    NoneSelected: titles.SKIPPED,
}


def heading(judgement: Judgement) -> str:
    """Return the verdict with a mark; without a verdict, what the step did."""
    return HEADINGS[judgement.verdict] if judgement.verdict else WITHOUT_VERDICT[judgement.status]


def title(judgement: Judgement, *, is_doubtful: bool = False) -> str:
    """Return the title of an annotation; empty where there is nothing to warn about."""
    if judgement.passed_flaky:
        return titles.FLAKY
    if judgement.verdict is Verdict.PASSED and is_doubtful:
        return titles.DOUBTFUL_CRITERION
    if judgement.verdict is Verdict.ERROR and judgement.is_unanswered:
        return titles.RUN_NOT_ANSWERED
    match judgement.cause:
        case Completed() | Together():
            return TITLES_COMPLETED.get(judgement.verdict, "") if judgement.verdict else ""
        case NotCompleted():
            return TITLES_NOT_COMPLETED[judgement.verdict or Verdict.ERROR]
        case Errored(title=text):
            return text
    return TITLES_OF_CAUSES.get(type(judgement.cause), "")


def reason(judgement: Judgement, known: Sequence[str] = ()) -> str:
    """Return the gravest reason, and the number of others, in a sentence. `known`: the reasons, if computed already."""
    first, *more = known or reasons(judgement)
    others = others_text(judgement, len(more))
    first = one_line(first, 2 * LONGEST_REASON)
    first = first.removesuffix(".") if others.startswith(" (") else first
    return shortened_at_word(first, LONGEST_REASON - len(others)) + others


def others_text(judgement: Judgement, count: int) -> str:
    """Return the end of a reason: that `count` more are beside it, or more legs, and how much is known; often empty."""
    legs = judgement.legs_summary.others if judgement.legs_summary else 0
    nouns: tuple[str, ...] = ("more reason",)
    if isinstance(judgement.cause, RunsCancelled):
        nouns = ("more run",)
    elif isinstance(judgement.cause, Completed | Together) and judgement.verdict is not Verdict.TIMED_OUT:
        nouns = ("more criterion", "more criteria")
    others = [plural(count, *nouns)] * bool(count) + [plural(legs, "more leg")] * bool(legs)
    known = f" {plural(len(judgement.excused), 'known failure')} left out." if judgement.excused else ""
    return (f" (and {' and '.join(others)})." if others else "") + known


def reasons(judgement: Judgement) -> tuple[str, ...]:
    """Return sentences, the gravest first, at least one. With several legs, they name the leg that decides."""
    own = _own_reasons(judgement)
    if (legs := judgement.legs_summary) is None or not legs.decisive:
        return own
    match judgement.verdict:
        case Verdict.PASSED:
            return (f"All {legs.total:,} legs passed.",)
        case None:
            return (f"{legs.total:,} runs were launched. This step does not wait for them.",)
    return tuple(f"{legs.title or legs.decisive}: {sentence}" for sentence in own)


def _own_reasons(judgement: Judgement) -> tuple[str, ...]:  # noqa: C901 - a case for each cause
    missed = tuple(dict.fromkeys(map(check_reason, judgement.missed)))
    match judgement.cause:
        case Completed(late=late):
            is_late = judgement.verdict is Verdict.TIMED_OUT
            if is_late and judgement.slices and judgement.missed[0].verdict is not Verdict.ERROR:
                from coval_gate.features.spending.words import out_of_time_reason

                missed = (out_of_time_reason(judgement.slices), *missed)
            elif is_late and late:
                what = "The run completed, but Coval did not yet have all of its simulations and values"
                missed = (f"{what} after {_limit_text(late)}.", *missed)
            return missed or (_all_well(judgement),)
        case Together():
            met = len(judgement.checks)
            all_met = "the criterion" if met == 1 else f"all {met:,} criteria"
            return missed or (f"Their test cases together meet {all_met}.",)
        case NotCompleted(run=run):
            why = one_line(run.error or ("" if run.is_clean else run.error_status)).rstrip(".")
            words = {DELETED: "was deleted in Coval", CANCELLED: "was cancelled in Coval"}
            ended = words.get(run.status, f"ended with the status {run.status}")
            return (f"The run {ended}{f': {why}' if why else ''}.",)
        case Aborted(run=run, failed=failed, error=error):
            many = f"{failed:,} of {run.progress.total:,}" if run.progress else f"{failed:,}"
            most = f" Most failed with: {error}" if error else ""
            stopped = "so the step cancelled the run (abort_after_failures)"
            return (f"The first {many} simulations failed and none completed, {stopped}.{most}",)
        case Unanswered():
            return (f"{NOT_ANSWERED.sentence}.",)
        case TimedOut(run=run, limit=limit) if limit.name == "max_queue_time":
            return (f"The run had not started after {_limit_text(limit)}: it was still {run.status}.",)
        case TimedOut(run=run, limit=limit):
            counts = run.progress
            done = f" with {counts.done:,} of {plural(counts.total, 'simulation')} done" if counts else ""
            return (f"The run was still {run.status}{done} after {_limit_text(limit)}.",)
        case Launched():
            return ("The run was launched. This step does not wait for it.",)
        case OnlyRead(what=what):
            return (what,)
        case StepInterrupted():
            outcome = cancellation_text(judgement.cancellation) if judgement.cancellation else ""
            return (f"The step was interrupted{f'; {outcome}' if outcome else ''}.",)
        case Unfinished():
            return (UNFINISHED_TEXT,)
        case Skipped(withheld=withheld):
            return (f"Nothing was evaluated: there is no API key{missing_key_reason(withheld)}.",)
        case NoneSelected():
            return ("No leg was selected.",)
        case RunsCancelled(cancellations=cancellations):
            return tuple(run_cancellation_text(cancellation) for cancellation in cancellations)
        case Errored(what=what):
            return (what,)
    assert_never(judgement.cause)


def advice(judgement: Judgement, doubts: Sequence[str] = ()) -> str:
    """Return what happened to the run, and what to do about the verdict, in lines; empty if nothing is to be done."""
    slices, slice_ = judgement.slices, ""
    if slices and not isinstance(judgement.cause, Completed):  # as this slice did not complete
        slice_ = f"It was slice {slices.look.number} of {len(slices.look.cases)}."
    if judgement.verdict is Verdict.TIMED_OUT:
        return " ".join(filter(None, (slice_, _left_text(judgement), _time_out_advice(judgement))))
    if judgement.verdict is Verdict.ERROR:
        own = judgement.cause.advice if isinstance(judgement.cause, Errored) else ATTACH * judgement.is_unanswered
        return "\n".join(filter(None, (slice_, _left_text(judgement), own, *doubts)))
    lines = [slice_] if slice_ else []
    lines += [*_repetition_lines(judgement, judgement.repetition)] if judgement.repetition else []
    legs = judgement.legs_summary
    # If all legs pass, no single leg decides.
    if (
        isinstance(judgement.cause, Completed)
        and judgement.slices
        and not (legs and judgement.verdict is Verdict.PASSED)
    ):
        from coval_gate.features.spending.words import slices_text

        leg_name = f"{legs.title or legs.decisive}: " if legs and legs.decisive else ""
        lines.append(f"{leg_name}{slices_text(judgement, judgement.slices)}")
    if isinstance(judgement.cause, Aborted):
        lines += [_left_text(judgement), "Check that the agent can be reached."]
    if judgement.passed_unjudged:
        lines.append(_unjudged_text(judgement))
    red = [check for check in judgement.missed if check.comparison and check.reference == "baseline"]
    if red and not judgement.passes_gate:
        from coval_gate.features.comparisons.words import fix_or_accept

        lines.append(fix_or_accept(judgement, red))
    return "\n".join((*lines, *doubts))


def _unjudged_text(judgement: Judgement) -> str:
    if any(check.criterion.accepted for check in judgement.checks):
        return "The run was accepted, and no deciding threshold is absolute: its quality was not judged."
    if any(check.criterion.user_defined for check in judgement.checks):
        return "All thresholds are advisory: the agent's quality did not decide the verdict."
    return "No threshold is set: the agent's quality was not judged."


def link(judgement: Judgement) -> str:
    """Return the URL of a page that explains more; empty where there is none."""
    if isinstance(judgement.cause, Errored):
        return judgement.cause.link
    return titles.help_page(title(judgement)) if judgement.verdict in (Verdict.ERROR, Verdict.TIMED_OUT) else ""


def cancellation_text(cancellation: Cancellation) -> str:
    return OUTCOMES[cancellation.outcome].format(status=cancellation.status, reason=cancellation.reason.rstrip("."))


def run_cancellation_text(cancellation: Cancellation) -> str:
    return f"Run {cancellation.run_id}: {cancellation_text(cancellation)}."


def _repetition_lines(judgement: Judgement, repetition: Repetition) -> Iterator[str]:
    if len(repetition.runs) > 1:
        verdicts = ((run.run_id, run.judgement.verdict) for run in repetition.runs)
        alone = ", ".join(f"run {id_} {ALONE.get(verdict, verdict)}" for id_, verdict in verdicts)
        yield f"Ran twice: {alone}; together {TOGETHER[judgement.verdict]}."
    if unusable := repetition.unusable:
        which = f"Repetition {unusable.run_id}" if unusable.run_id else "The repetition"
        why, left = reason(unusable.judgement), _left_text(unusable.judgement)
        yield " ".join(filter(None, (f"{which} does not count, so the first run decides.", why, left)))


def _all_well(judgement: Judgement) -> str:
    if judgement.passed_flaky:
        return "The first run failed, but both runs together meet every criterion (flaky)."
    total, completed = (judgement.totals.total, judgement.totals.completed) if judgement.totals else (0, 0)
    met = 0 if judgement.passed_unjudged else sum(not check.informs for check in judgement.checks)
    all_met = {1: "the criterion is", 2: "both criteria are"}.get(met, f"all {met:,} criteria are")
    everything = "The one simulation" if total == 1 else f"All {total:,} simulations"
    simulations = everything if completed == total else f"{completed:,} of {plural(total, 'simulation')}"
    return f"{simulations} completed{f'; {all_met} met' if met else ''}."


def _limit_text(limit: Limit) -> str:
    return f"{duration(limit.seconds)}, the limit of {limit.name}"


def _time_out_advice(judgement: Judgement) -> str:
    limit = judgement.cause.limit if isinstance(judgement.cause, TimedOut) else None
    if isinstance(judgement.cause, Completed):
        limit = judgement.cause.late
    if limit is None:
        return ""
    if judgement.slices:  # mode wait would judge one slice alone
        return f"Raise {limit.name}, and re-run the job."
    cancellation = judgement.cancellation
    continues = cancellation is None or cancellation.outcome not in NOTHING_LEFT
    run = "the output run_ids" if judgement.legs_summary else "its run_id"
    return f"Raise {limit.name}{f', or wait in a later step with mode wait and {run}' if continues else ''}."


def _left_text(judgement: Judgement) -> str:
    cancellation = judgement.cancellation
    if cancellation is None or cancellation.outcome in ("gone", "not_launched"):
        return ""
    text = cancellation_text(cancellation)
    return f"{text[0].upper()}{text[1:]}."
