"""What happens to a leg after its first run is launched: follow it, judge it, perhaps repeat it and judge all together.

A repetition is the same request in a new run, and a trial of its own, so it is launched once, cancelled, resumed and
left to the post step like the first run.
"""

from functools import partial
from itertools import chain

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import Procedure, beside
from coval_gate.base.text import duration
from coval_gate.coval.model import RunResult
from coval_gate.gate.findings import Findings, findings_of
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.judgement import Judgement, SingleRun, errored, gravest, judgement_with_units, with_unusable
from coval_gate.gate.measure import Baseline
from coval_gate.gate.repetition import (
    beyond_saving,
    has_failed,
    is_usable,
    judge_together,
    repeats,
)
from coval_gate.gate.together import compare_legs
from coval_gate.gate.verdict import Aborted, Completed, Outcome, TimedOut, Together
from coval_gate.history.baseline import baseline_of
from coval_gate.history.comparable import Subject
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.document.model import BASE_AGENT
from coval_gate.report.document.references import listed
from coval_gate.report.formats.log import check_lines
from coval_gate.report.wording import all_runs_text, reason
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.base_agent import find_base_beside
from coval_gate.step.launch import ensure_trial
from coval_gate.step.leg import Base, Leg, Trial
from coval_gate.step.report import fetch_details, fetch_trend, report_of, with_units
from coval_gate.step.settle import owe_mark
from coval_gate.step.step import LegRun, StepRun
from coval_gate.step.watch import follow_trial


def evaluate_leg(session: LegRun) -> Procedure[None]:
    """Judge the first run, and repeat it if it failed. Stop at a repetition without data: the earlier runs decide.

    The runs that the user names as repetitions come before new ones. Raises CovalError, RunnerError.
    """
    leg = session.leg
    judgement = yield from _evaluate_first(session)
    took = session.clock.now() - leg.first.known_since
    runs = [SingleRun(run_id=leg.first.run_id, judgement=judgement)]
    while has_failed(judgement) and (len(leg.trials) > len(runs) or _may_repeat(session, judgement, took=took)):
        run = yield from _repeat(session, len(runs))
        if not is_usable(run.judgement):
            leg.judgement = with_unusable(judgement, runs[0], run)
            return
        runs.append(run)
        judgement = yield from beside(partial(judge_together, tuple(runs), session.criteria))
        session.log(f"{all_runs_text(len(runs)).capitalize()} together:")
        judgement = yield from explain(session, judgement)
    for trial in leg.trials[len(runs) :] if not has_failed(judgement) else ():
        session.warn(f"Run {trial.run_id} was not judged: it repeats run {leg.first.run_id}, which did not fail.")


def _evaluate_first(session: LegRun) -> Procedure[Judgement]:
    leg, trial = session.leg, session.leg.first
    outcome, judgement = yield from judge_trial(session, trial)
    leg.judgement = judgement
    if isinstance(outcome, Completed):
        if session.inputs.max_simulations:  # a given run, and its base's, count as well before another one is launched
            for counted in filter(None, (leg, leg.base)):
                counted.planned = counted.planned or len(outcome.result.simulations)
        trial.judgement = judgement = yield from explain(session, judgement)
    return judgement


def _may_repeat(session: LegRun, judgement: Judgement, *, took: float) -> bool:
    """Return whether the leg may run again; say so in the log. `took`: seconds that the first run took."""
    leg = session.leg
    number, most = len(leg.trials), leg.inputs.repeat_on_failure
    if number > most:
        return False
    if any(own.first.attached is not None for own in (leg, leg.base) if own and own.trials):
        session.warn("The run failed, and is not repeated, because this job has no process that answers another run.")
        return False
    if lost := beyond_saving(judgement, left=most - number + 1):
        why = check_reason(lost)
        session.log(f"The run failed, and is not repeated, because a repetition cannot change this: {why}")
        return False
    left = session.deadline - session.clock.now()
    if left < took:
        session.log(
            f"The run failed and took {duration(took)}, but max_wait_time leaves {duration(max(0.0, left))}, "
            "so it does not run again."
        )
        return False
    if not fits(session):
        return False
    session.log(f"The run failed: {reason(judgement).rstrip('.')}. Repeating it, {number} of at most {most}.")
    return True


def _repeat(session: LegRun, number: int) -> Procedure[SingleRun]:
    """Judge the repetition alone. An error becomes its judgement. Raises Interrupted."""
    leg = session.leg
    first = leg.first.judgement
    try:
        outcome, judgement = yield from judge_trial(session, (yield from ensure_trial(session, number)))
        if isinstance(outcome, Completed):
            judgement = judgement_with_units(judgement, session.client.shown.units)
            yield from _log_checks(session, judgement)
        judgement = repeats(judgement, first) if first else judgement
    except GateError as error:
        judgement = errored(error)
    trial = leg.trials[number]  # there is one, even if its launch failed
    trial.judgement = judgement
    return SingleRun(run_id=trial.run_id, judgement=judgement)


def judge_trial(session: LegRun, trial: Trial) -> Procedure[tuple[Outcome, Judgement]]:
    """Follow a run, and judge it alone. If it can be no baseline, the step owes it a mark.

    A later trial is compared with the baseline of the first run. Raises CovalError.
    """
    leg = session.leg
    outcome = yield from follow_trial(session, trial)
    if trial is leg.first:
        baseline = yield from _find_baseline(session, outcome)
    else:
        baseline = leg.first.judgement.baseline if leg.first.judgement and not session.inputs.accept else None
    base = yield from find_base_beside(session, trial, outcome)
    counted = _in_simulations(leg.size_of(trial.number), outcome)
    judgement = yield from beside(partial(judge_outcome, counted, session.criteria, baseline, base, trial.attached))
    if not trial.repeats:
        judgement = judgement._replace(timeout_passes=_timeout_passes(leg, trial, outcome, judgement))
    trial.judgement = judgement
    owe_mark(session.step, trial, judgement)
    return outcome, judgement


def _find_baseline(session: LegRun, outcome: Outcome) -> Procedure[Baseline | None]:
    inputs, trial = session.inputs, session.leg.first
    if inputs.accept or trial.run is None or not isinstance(outcome, Completed):
        return None
    subject = Subject(
        run=trial.run,
        result=outcome.result,
        request=trial.request,
        context=session.step.context,
        criteria=session.criteria,
        drawn=frozenset(chain.from_iterable(session.leg.slices)),
    )
    return (yield from baseline_of(session, subject, over_since=trial.over_since))


def _timeout_passes(leg: Leg, trial: Trial, outcome: Outcome, judgement: Judgement) -> bool:
    """A time-out passes only if something shows how many simulations failed, and nothing ever showed too many.

    It cannot pass if a base is missing, or a job has to answer the simulations. Slices before this one count as well.
    """
    allowance = leg.inputs.max_failed_simulations
    answered = [one.attached for one in (trial, *(leg.base.trials if leg.base else ()))]
    if leg.inputs.on_timeout != "pass" or False in answered:
        return False
    if leg.base and not any(isinstance(outcome, Completed) for outcome in leg.base.outcomes):
        return False
    shown = [
        (sum(one.ended and not one.completed for one in variant.simulations), variant.total)
        for variant in judgement.variants
    ]
    if trial.most_failed:
        polled = trial.most_failed.in_simulations(leg.size_of(trial.number))
        # Progress does not tell variants apart: all failures may be of one.
        shown.append((polled.failed or 0, polled.total // (1 + len(set(leg.inputs.mutation_ids)))))
        if polled.failed and polled.failed >= polled.total:
            return False  # none can have completed
    slices = [other.judgement.variants for other in leg.trials[: trial.number] if other.judgement]
    before = [max(((variant.failed, variant.total) for variant in variants), default=(0, 0)) for variants in slices]
    failed_before, total_before = (sum(counts) for counts in zip((0, 0), *before, strict=True))
    if any(failed_before + failed > allowance.of(total_before + total) for failed, total in shown):
        return False
    if trial.run is not None and (trial.run.error or not trial.run.is_clean):
        return False
    if isinstance(outcome, Completed):
        if outcome.result.reported_error:
            return False
        if all(check.criterion.by_values for check in judgement.missed):
            return True  # the list of simulations is whole
    return trial.run is not None and trial.run.shows_failures


def _in_simulations(planned: int | None, outcome: Outcome) -> Outcome:
    """Return the outcome with counts of simulations, which its reason shows."""
    if not isinstance(outcome, TimedOut | Aborted) or outcome.run.progress is None:
        return outcome
    counted = outcome.run.progress.in_simulations(planned)
    outcome = outcome._replace(run=outcome.run._replace(progress=counted))
    return outcome._replace(failed=counted.failed or 0) if isinstance(outcome, Aborted) else outcome


def explain(session: LegRun, judgement: Judgement) -> Procedure[Judgement]:
    """Make it the leg's: write outputs, log checks, fetch details. Return it with units. Raises RunnerError."""
    step, leg = session.step, session.leg
    leg.judgement = judgement  # together with the result that it is about: reports show both
    if isinstance(judgement.cause, Completed):
        leg.result = judgement.cause.result
    outcomes = [leg.outcome for leg in step.legs if leg.outcome]
    # A step that is killed earlier must not pass, nor one that has yet to accept its run.
    if len(outcomes) == len(step.legs) and not step.inputs.accept:
        step_judgement = yield from judge_step(session)
        step.publisher.write_verdict(report_of(step, step_judgement))
    if leg.result:
        leg.result, judgement = yield from with_units(session, leg.result, judgement)
    leg.judgement = judgement
    leg.findings = yield from _log_checks(session, judgement, leg.result)
    run = leg.first.run
    if leg.result and run:
        if session.inputs.html_path and not (judgement.repetition or leg.slices):
            leg.trend = yield from fetch_trend(session, run, leg.result)
        leg.details = yield from fetch_details(
            session,
            leg.result,
            [row.simulation.id for row in leg.findings.to_look_at],
            test_set_id=run.test_set_id or ids_of(leg.inputs)["test_set_id"],
        )
    return judgement


def conclude_step(session: StepRun) -> Procedure[Judgement]:
    """Return the step's judgement when all legs have ended."""
    judgement = yield from judge_step(session)
    if (together := session.step.together) and together.findings:
        session.labelled(together.name, lambda: together.name).log(*check_lines(*listed(together.findings, {})))
    return judgement


def judge_step(session: StepRun) -> Procedure[Judgement]:
    """Compare all legs together. If that fails, none of the runs that took part is a baseline.

    Otherwise, the legs alone decide: each applied its policy for doubt.
    """
    step = session.step
    legs = [(None if leg.error else leg.judgement, session.of(leg).criteria) for leg in step.legs]
    judgement = (yield from beside(partial(compare_legs, legs))) if len(legs) > 1 else None
    failing = []
    if judgement and isinstance(cause := judgement.cause, Together):
        judgement = judgement_with_units(judgement, session.client.shown.units)
        step.together = Leg(step.inputs, cause.name)
        step.together.judgement, step.together.findings = judgement, findings_of(judgement)
        failing = [] if judgement.passes_gate else [judgement]
        for leg in map(step.legs.__getitem__, cause.legs):
            if leg.judgement:
                leg.judgement = leg.judgement._replace(failed_together=bool(failing))
                for trial in leg.trials:
                    owe_mark(step, trial, leg.judgement)
    return gravest([*(leg.outcome for leg in step.legs if leg.outcome), *failing])


def _log_checks(session: LegRun, judgement: Judgement, result: RunResult | None = None) -> Procedure[Findings]:
    findings = yield from beside(partial(findings_of, judgement, result))
    base, name_of = session.leg.base, session.step.name_of
    names = {BASE_AGENT: name_of("agent_id", ids_of(base.inputs)["agent_id"])} if base else {}
    session.log(*check_lines(*listed(findings, names)))
    return findings


def fits(session: LegRun) -> bool:
    """Return whether another run keeps to the limit. If not, say so in the log."""
    step, leg = session.step, session.leg
    most = session.inputs.max_simulations
    if most is None or leg.planned is None:
        return True
    launched = sum(map(_launched, step.all_legs))
    base = leg.base
    more = leg.planned + (base.planned or 0 if base and base.wanted <= len(leg.trials) else 0)
    if launched + more <= most:
        return True
    session.log(
        f"The run failed, but running it again would take the step to {launched + more:,} simulations, more "
        f"than max_simulations ({most:,}), so it does not run again."
    )
    return False


def _launched(leg: Leg) -> int:
    """Return how many simulations the leg launched, or may: one that waits for its turn has no trial yet."""
    if leg.slices:
        return leg.planned or 0
    wanted = leg.wanted if isinstance(leg, Base) else 1
    return (leg.planned or 0) * max(wanted, len(leg.trials))
