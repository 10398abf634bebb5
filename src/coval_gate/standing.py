"""Gives the runs of a step their standing among later ones: a failed run a mark, a good one the tags of baselines.

A failed run is marked as soon as the verdict is known, so that no other step takes it for a baseline. A run is promoted
last, after all reports are written: a step that turns red on the way moves no baseline.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from coval_gate.clock import Interrupted
from coval_gate.errors import CovalError, RunnerError, Unavailable
from coval_gate.judge.promotion import acceptance_refusal, has_failed_check, may_begin_reference, refusal
from coval_gate.judge.verdict import Verdict
from coval_gate.model.promotion import Promotion
from coval_gate.model.statuses import COMPLETED
from coval_gate.report.markdown import code, escape
from coval_gate.report.wording.promotion import log_text, not_marked_text, report_text, unjudged_text, warning_text
from coval_gate.runs.prepare import is_compared
from coval_gate.runs.promote import promote
from coval_gate.runs.promotion_checks import tags_to_give
from coval_gate.runs.retag import mark
from coval_gate.runs.schedule import run, together
from coval_gate.runs.tags import ACCEPTED, FAILED, pull_request_of
from coval_gate.times import MARKING

if TYPE_CHECKING:
    from coval_gate.judge.judgement import Judgement
    from coval_gate.report.model import Report
    from coval_gate.runs.guard import RunGuard
    from coval_gate.runs.leg import Leg
    from coval_gate.step import Step


def owe_mark(step: Step, leg: Leg) -> None:
    """Note that the leg's run has to be marked as failed, if it is. If the step is killed, the post step does it."""
    if leg.judgement and has_failed_check(leg.judgement) and _may_be_baseline(step, leg):
        for guard in step.guards:
            if guard.leg is leg:
                guard.owe_mark(owed=True)


def mark_failed_runs(step: Step, judgement: Judgement) -> None:
    """Mark the runs of a step that failed, and plan what is to become of a run that did not. Raises Interrupted.

    `judgement` is that of the step, which may have ended in an error after it judged the run.
    """
    first = step.legs[0]
    if judgement.verdict is Verdict.TIMED_OUT and _goes_on_unjudged(step, first):
        step.warn(unjudged_text(first.run_id))
    failed = first.judgement is not None and has_failed_check(first.judgement)
    for guard in step.guards:
        guard.owe_mark(owed=failed and _may_be_baseline(step, guard.leg))
    owing = [guard for guard in step.guards if guard.owes_mark]
    if owing:
        _mark(step, owing)
    first.promotion = _planned(step, first) if judgement.lets_pass or judgement is first.judgement else None
    if first.drift and first.drift.begins and judgement.lets_pass and may_begin_reference(judgement):
        first.begins = first.drift.tag


def promote_run(step: Step, report: Report) -> None:
    """Promote the step's first run as planned, and let it begin a reference, unless the step turned red.

    An interrupt takes nothing away from a step that has come this far, but nothing more begins after it.
    """
    leg = step.legs[0]
    with suppress(Interrupted):
        if leg.promotion:
            _promote(step, leg, leg.promotion, report)
        if leg.begins and report.judgement.lets_pass:
            _give(step, leg, leg.begins, first=True)


def _promote(step: Step, leg: Leg, planned: Promotion, report: Report) -> None:
    """Do what `promote_run` says. Raises Interrupted."""
    if planned.obstacle == "pending" and not report.judgement.lets_pass:  # a report could not be written
        planned = planned.with_obstacle("not_passed")
    if planned.obstacle != "pending":
        _tell(step, planned)
        return
    if step.inputs.accept and not _accept(step, leg):
        return
    for tag in tags_to_give(step.inputs):
        _give(step, leg, tag)


def _give(step: Step, leg: Leg, tag: str, *, first: bool = False) -> None:
    """Give a run a tag, and tell what came of it. `first`: only if no other run has it."""
    promoting = promote(step.connect(), leg, tag, first=first, clock=step.clock, until=step.deadline)
    promotion = run(promoting, step.clock).redacted(step.host.redact)
    _tell(step, promotion)
    _summarize(step, report_text(promotion, code=code, escape=escape))


def _may_be_baseline(step: Step, leg: Leg) -> bool:
    """Tell whether a search for a baseline may find the leg's run. It finds none of pull requests."""
    if leg.run is None or leg.run.status != COMPLETED or not leg.run_id:
        return False
    return step.context.pull_request is None and pull_request_of(leg.run) is None


def _goes_on_unjudged(step: Step, leg: Leg) -> bool:
    """Tell whether the leg's run goes on without the step, and later runs may be compared with it."""
    if step.inputs.cancel_on_timeout or leg.run is None or leg.run.is_over or not is_compared(step.inputs):
        return False
    return step.context.pull_request is None and pull_request_of(leg.run) is None


def _mark(step: Step, guards: list[RunGuard]) -> None:
    """Mark the runs as failed. Warn once where that is not possible; what may pass is left to the post step, too."""
    client, until = step.connect(), _end_of_marks(step)
    marks = (
        mark(client, guard.leg.run_id, FAILED, sent=_sent(guard.leg), clock=step.clock, until=until) for guard in guards
    )
    results = run(together(marks, step.clock), step.clock)
    problems: dict[str, CovalError] = {}
    for guard, result in zip(guards, results, strict=True):
        if isinstance(result, CovalError):
            problems[guard.leg.run_id] = result
        elif isinstance(result, Exception):
            raise result
        guard.owe_mark(owed=isinstance(result, Unavailable))
        if result is True:
            step.host.log(f"Marked run {guard.leg.run_id} as failed: it will not be a baseline.")
    if problems:
        (run_id, first), *others = problems.items()
        step.warn(not_marked_text([run_id, *(each for each, _ in others)], first.what, first.advice))


def _end_of_marks(step: Step) -> float:
    now = step.clock.now()
    return min(now + MARKING, max(now, step.deadline))


def _sent(leg: Leg) -> tuple[str, ...]:
    return () if leg.resumed or leg.tags is None else tuple(leg.tags)


def _planned(step: Step, leg: Leg) -> Promotion | None:
    """Return what is to become of the run; None where nothing is, or nothing more than the verdict is to be told."""
    judgement, tags = leg.judgement, tags_to_give(step.inputs)
    if judgement is None or not (tags or step.inputs.accept):
        return None
    refused = acceptance_refusal(judgement) if step.inputs.accept else refusal(judgement)
    if refused == "not_passed" and not step.inputs.accept:
        return None
    obstacle = "pending" if refused == "unconfirmed" else refused or "pending"  # an earlier run may confirm this one
    return Promotion(run_id=leg.run_id, tag=next(iter(tags), ""), obstacle=obstacle, accepted=step.inputs.accept)


def _accept(step: Step, leg: Leg) -> bool:
    """Mark the run as the beginning of comparisons, and return whether it is."""
    accepted = Promotion(run_id=leg.run_id, tag="", accepted=True)
    marking = mark(step.connect(), leg.run_id, ACCEPTED, sent=_sent(leg), clock=step.clock, until=_end_of_marks(step))
    try:
        if leg.run and (number := pull_request_of(leg.run)) is not None:
            outcome = accepted.with_obstacle("pull_request", other=number)
        elif run(marking, step.clock):
            outcome = accepted
        else:
            outcome = accepted.with_obstacle("unknown_origin")
    except CovalError as error:
        outcome = accepted.with_obstacle("failed", text=error.what, advice=error.advice)
    outcome = outcome.redacted(step.host.redact)
    _tell(step, outcome)
    _summarize(step, report_text(outcome, code=code, escape=escape))
    return outcome.promoted


def _tell(step: Step, promotion: Promotion) -> None:
    warning = warning_text(promotion)
    if promotion.promoted or not warning:
        step.host.quote(log_text(promotion))
    if warning:
        step.warn(warning)


def _summarize(step: Step, text: str) -> None:
    """Add what came of a promotion to the summary, which was written before."""
    if step.inputs.summary:
        with suppress(RunnerError):
            step.host.add_summary(f"\n{text}\n")
