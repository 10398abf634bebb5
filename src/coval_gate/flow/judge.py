"""Decides what a leg's runs show: judges the first run, explains the judgement, and repeats a run that failed.

A repetition is the same request in a new run, and a trial of its own, so it is launched once, cancelled, resumed and
left to the post step like the first run.

The modules that this needs take longer to import than the rest of the start, so they are imported after the launch.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import beside
from coval_gate.base.text import duration
from coval_gate.base.times import DETAILS, TREND, UNITS
from coval_gate.flow.attached import find_attached
from coval_gate.flow.base import base_beside
from coval_gate.flow.follow import follow_trial
from coval_gate.flow.launch import launch
from coval_gate.flow.size import fits
from coval_gate.flow.standing import owe_mark
from coval_gate.gate.clauses import again_text, all_runs_text, in_vain_text
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.findings import findings_of
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.judgement import (
    SingleRun,
    errored,
    gravest,
    judgement_with_units,
    result_with_units,
    with_unusable,
)
from coval_gate.gate.outcome import Aborted, Completed, TimedOut
from coval_gate.gate.repetition import beyond_saving, has_failed, is_usable, judge_together, repeats
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.formats.log import check_lines
from coval_gate.report.wording.checks import check_reason
from coval_gate.report.wording.judgements import reason
from coval_gate.runs.baseline import baseline_of
from coval_gate.runs.details import fetch_details, fetch_trend
from coval_gate.runs.shown import fetch_units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coval_gate.base.schedule import Procedure
    from coval_gate.coval.model import Run, RunResult, TrendRun
    from coval_gate.flow.progress import Progress
    from coval_gate.gate.judgement import Judgement
    from coval_gate.gate.outcome import Outcome
    from coval_gate.history.model import Baseline
    from coval_gate.runs.legs import Leg, Session, Trial


def judge_first(session: Session, progress: Progress, leg: Leg) -> Procedure[Judgement]:
    """Judge the first run of a leg, and explain the judgement. Raises CovalError, RunnerError."""
    trial = leg.first
    criteria = _criteria(progress, leg)
    outcome = yield from follow_trial(session, progress, trial, criteria)
    yield from find_attached(session, trial)
    baseline = yield from _baseline(session, progress, leg, outcome)
    base = (yield from base_beside(leg, 0)) if isinstance(outcome, Completed) else None
    judging = partial(judge_outcome, _in_simulations(leg, outcome), criteria, baseline, base, trial.attached)
    judgement = yield from beside(judging)
    judgement = judgement._replace(timeout_passes=_timeout_passes(leg, outcome, judgement))
    leg.judgement = trial.judgement = judgement
    owe_mark(progress, trial)
    if isinstance(outcome, Completed):
        leg.result = outcome.result
        if session.inputs.max_simulations:  # a given run, and its base's, count as well before another one is launched
            for counted in filter(None, (leg, leg.base)):
                counted.planned = counted.planned or len(outcome.result.simulations)
        trial.judgement = judgement = yield from _explain(session, progress, leg, judgement)
    return judgement


def _criteria(progress: Progress, leg: Leg) -> Criteria:
    return Criteria.from_inputs(leg.inputs, legs=len(progress.legs))


def _timeout_passes(leg: Leg, outcome: Outcome, judgement: Judgement) -> bool:
    """A time-out passes only if something shows how many simulations failed, and nothing ever showed too many.

    It cannot pass if a base is missing, or a job has to answer the simulations.
    """
    trial, allowance = leg.first, leg.inputs.max_failed_simulations
    if leg.inputs.on_timeout != "pass" or trial.attached is False:
        return False
    if leg.base and not any(isinstance(outcome, Completed) for outcome in leg.base.outcomes):
        return False
    shown = [
        (sum(one.ended and not one.completed for one in variant.simulations), variant.total)
        for variant in judgement.variants
    ]
    if trial.most_failed:
        polled = trial.most_failed.in_simulations(leg.planned)
        # Progress does not tell variants apart: all failures may be of one.
        shown.append((polled.failed or 0, polled.total // (1 + len(set(leg.inputs.mutation_ids)))))
        if polled.failed and polled.failed >= polled.total:
            return False  # none can have completed
    if any(failed > allowance.of(total) for failed, total in shown):
        return False
    if trial.run is not None and (trial.run.error or not trial.run.is_clean):
        return False
    if isinstance(outcome, Completed):
        if outcome.result.reported_error:
            return False
        if all(check.criterion.of_values for check in judgement.missed):
            return True  # the list of simulations is whole
    return trial.run is not None and trial.run.shows_failures


def _in_simulations(leg: Leg, outcome: Outcome) -> Outcome:
    """Return the outcome with counts of simulations, which its reason shows."""
    if not isinstance(outcome, TimedOut | Aborted) or outcome.run.progress is None:
        return outcome
    counted = outcome.run.progress.in_simulations(leg.planned)
    outcome = outcome._replace(run=outcome.run._replace(progress=counted))
    return outcome._replace(failed=counted.failed or 0) if isinstance(outcome, Aborted) else outcome


def judge_repetition(session: Session, progress: Progress, leg: Leg, trial: Trial) -> Procedure[Judgement]:
    """Judge a repetition alone. It is compared with the baseline of the first run. Raises CovalError, RunnerError."""
    criteria, first = _criteria(progress, leg), leg.first.judgement
    outcome = yield from follow_trial(session, progress, trial, criteria)
    yield from find_attached(session, trial)
    baseline = first.baseline if first and not leg.inputs.accept else None
    base = (yield from base_beside(leg, trial.repetition)) if isinstance(outcome, Completed) else None
    judging = partial(judge_outcome, _in_simulations(leg, outcome), criteria, baseline, base, trial.attached)
    trial.judgement = yield from beside(judging)
    owe_mark(progress, trial)
    if isinstance(outcome, Completed):
        trial.judgement = judgement_with_units(trial.judgement, session.client.shown.units)
        session.log(*check_lines((yield from beside(partial(findings_of, trial.judgement)))))
    return trial.judgement


def _baseline(session: Session, progress: Progress, leg: Leg, outcome: Outcome) -> Procedure[Baseline | None]:
    if leg.inputs.accept:
        return None
    return (yield from baseline_of(session, leg.first, outcome, progress.context))


def _explain(session: Session, progress: Progress, leg: Leg, judgement: Judgement) -> Procedure[Judgement]:
    """Write outputs, log checks, fetch details. Return the judgement with units. Raises RunnerError."""
    outcomes = [leg.outcome for leg in progress.legs if leg.outcome]
    # A step that is killed earlier must not pass, nor one that has yet to accept its run.
    if len(outcomes) == len(progress.legs) and not progress.inputs.accept:
        progress.publisher.write_verdict(progress.report(gravest(outcomes)))
    leg.judgement = judgement = yield from _with_units(session, leg, judgement)
    leg.findings = yield from beside(partial(findings_of, judgement, leg.result))
    session.log(*check_lines(leg.findings))
    run = leg.first.run
    if leg.result and run:
        if not judgement.repetition:
            leg.trend = yield from _trend(session, leg, run, leg.result)
        leg.details = yield from fetch_details(
            session._replace(deadline=session.times.informing(session.clock.now(), DETAILS)),
            leg.result,
            [row.simulation.id for row in leg.findings.to_look_at],
            test_set_id=run.test_set_id or ids_of(leg.inputs)["test_set_id"],
        )
    return judgement


def _with_units(session: Session, leg: Leg, judgement: Judgement) -> Procedure[Judgement]:
    """Units are added to the result, too, as far as Coval shows them soon."""
    if leg.result is None:
        return judgement
    soon = session._replace(deadline=session.times.informing(session.clock.now(), UNITS))
    first = {check.metric for check in judgement.checks}
    units = yield from fetch_units(soon, leg.result.metrics, first)
    if units:
        leg.result = result_with_units(leg.result, units)
        judgement = yield from beside(partial(judgement_with_units, judgement, units))
    return judgement


def _trend(session: Session, leg: Leg, run: Run, result: RunResult) -> Procedure[tuple[TrendRun, ...]]:
    """Fetch only what a report shows."""
    inputs = leg.inputs
    if not inputs.html_path:
        return ()
    tag = inputs.baseline.name if inputs.baseline and inputs.baseline.kind == "tag" else ""
    return (
        yield from fetch_trend(
            session._replace(deadline=session.times.informing(session.clock.now(), TREND)),
            run,
            metrics={metric.id for metric in result.metrics},
            tag=tag,
        )
    )


def judge_and_repeat(session: Session, progress: Progress, leg: Leg) -> Procedure[Judgement]:
    """Judge the first run, repeat it while it fails, and judge all together. Raises CovalError, RunnerError.

    Repetitions that the user names come first. Stop at one without data: the earlier runs decide.
    """
    judgement = yield from judge_first(session, progress, leg)
    took = session.clock.now() - leg.first.known_since
    runs = [SingleRun(run_id=leg.first.run_id, judgement=judgement)]
    while has_failed(judgement):
        is_launched = len(leg.trials) > len(runs)
        if not (is_launched or _may_repeat(session, progress, leg, judgement, took=took)):
            break
        if leg.base:
            leg.base.wanted = max(leg.base.wanted, len(runs) + 1)
        run = yield from _judge_again(session, progress, leg, len(runs))
        if not is_usable(run.judgement):
            leg.judgement = judgement = with_unusable(judgement, runs[0], run)
            break
        runs.append(run)
        judgement = yield from _judge_together(session, progress, leg, runs)
    for trial in leg.trials[len(runs) :] if not has_failed(judgement) else ():
        session.warn(f"Run {trial.run_id} was not judged: it repeats run {leg.first.run_id}, which did not fail.")
    return judgement


def _may_repeat(session: Session, progress: Progress, leg: Leg, judgement: Judgement, *, took: float) -> bool:
    """Say so in the log. `took`: the seconds of the first run."""
    number, most = len(leg.trials), leg.inputs.repeat_on_failure
    if number > most:
        return False
    if lost := beyond_saving(judgement, left=most - number + 1):
        session.log(in_vain_text(check_reason(lost)))
        return False
    left = session.deadline - session.clock.now()
    if left < took:
        session.log(
            f"The run failed and took {duration(took)}, but max_wait_time leaves {duration(max(0.0, left))}, "
            "so it does not run again."
        )
        return False
    if not fits(session, progress, leg):
        return False
    session.log(again_text(reason(judgement), number, most))
    return True


def _judge_again(session: Session, progress: Progress, leg: Leg, number: int) -> Procedure[SingleRun]:
    """Launch the repetition unless the user names its run. An error is its judgement, too. Raises Interrupted."""
    first = leg.first.judgement
    try:
        if number < len(leg.trials):
            trial = leg.trials[number]
        else:
            trial = yield from launch(session, progress, leg, repetition=number)
        judgement = yield from judge_repetition(session, progress, leg, trial)
        judgement = repeats(judgement, first) if first else judgement
    except GateError as error:
        judgement = errored(error)
    trial = leg.trials[number]  # there is one, even if its launch failed
    trial.judgement = judgement
    return SingleRun(run_id=trial.run_id, judgement=judgement)


def _judge_together(session: Session, progress: Progress, leg: Leg, runs: Sequence[SingleRun]) -> Procedure[Judgement]:
    """Explain the judgement, too. Raises RunnerError."""
    judgement = yield from beside(partial(judge_together, tuple(runs), _criteria(progress, leg)))
    if isinstance(judgement.cause, Completed):
        leg.result = judgement.cause.result
    session.log(f"{all_runs_text(len(runs)).capitalize()} together:")
    return (yield from _explain(session, progress, leg, judgement))
