"""The way of a leg once its first run is launched: follow it, judge it, perhaps repeat it and judge all together.

A repetition is the same request in a new run, and a trial of its own, so it is launched once, cancelled, resumed and
left to the post step like the first run. The base agent runs beside the tested one. Legs that differ only in
their agent share a base. It runs again as often as one of them does, and ends with the last.
"""

from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain

from coval_gate.base.errors import GateError
from coval_gate.base.schedule import Procedure, beside, first
from coval_gate.base.text import duration
from coval_gate.coval.model import RunResult
from coval_gate.gate.findings import Findings, findings_of
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.judgement import Judgement, SingleRun, errored, gravest, judgement_with_units, with_unusable
from coval_gate.gate.measure import Baseline, BaselineRun, NotFoundReason
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
from coval_gate.inputs.fields import BaselineSource
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.document.references import listed
from coval_gate.report.formats.log import check_lines
from coval_gate.report.model import BASE_AGENT
from coval_gate.report.wording import all_runs_text, reason
from coval_gate.report.wording.checks import check_reason
from coval_gate.step.cleanup import clean_up_base, owe_mark
from coval_gate.step.follow import follow_trial
from coval_gate.step.launch import launch_in_turn, launch_trial
from coval_gate.step.leg import Base, Leg, Trial
from coval_gate.step.plan import fits
from coval_gate.step.report import fetch_details, fetch_trend, report_of, with_units
from coval_gate.step.step import LegRun, Step, StepRun


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


def ensure_trial(session: LegRun, number: int) -> Procedure[Trial]:
    """Launch the leg's run with that number, unless it was launched or the user names it. Its base runs beside it."""
    leg = session.leg
    if leg.base:
        want_base_run(session.step, leg.base, number)
    if number < len(leg.trials):
        return leg.trials[number]
    return (yield from launch_trial(session, number=number) if number else launch_in_turn(session))


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
    base = yield from _base_beside(session, trial, outcome)
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
        if all(check.criterion.of_values for check in judgement.missed):
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
        of_step = yield from judge_step(session)
        step.publisher.write_verdict(report_of(step, of_step))
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
        failing = [] if judgement.lets_pass else [judgement]
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


def run_base(session: LegRun, base: Base) -> Procedure[None]:
    """Run the base, the session's leg, as long as a leg needs it. Errors become outcomes. Raises Interrupted."""
    step = session.step
    tested = [leg for leg in step.legs if leg.base is base]

    def is_needed() -> bool:
        return not all(leg.is_done for leg in tested)

    def is_due() -> bool:
        """A run of the base follows the one beside it: if Coval refuses that launch, the base costs nothing."""
        number = len(base.outcomes)
        return number < base.wanted and any(len(leg.trials) > number and leg.trials[number].run_id for leg in tested)

    def until_unneeded() -> Procedure[None]:
        while is_needed():
            yield step.changed.wait()

    while is_needed():
        if not is_due():
            yield step.changed.wait()
            continue
        outcome: Outcome | GateError | None
        try:
            # Given up, a launch is looked for and cancelled, as after a signal.
            outcome = yield from first((_run_again(session, len(base.outcomes)), until_unneeded()), session.clock)
        except GateError as error:
            session.log(f"The base has no run to compare with: {error.what}")
            outcome = error
        if outcome:
            base.outcomes.append(outcome)
            step.changed.happen()
        if isinstance(outcome, Completed):
            yield from _log_checks_of_base(session, outcome)
    yield from clean_up_base(session)


def _run_again(session: LegRun, number: int) -> Procedure[Outcome]:
    return (yield from follow_trial(session, (yield from ensure_trial(session, number))))


def _base_beside(session: LegRun, beside_trial: Trial, of_trial: Outcome) -> Procedure[Baseline | None]:
    """Wait for the base's run beside a trial. Return None if the trial has nothing to compare, or the leg no base."""
    step, base, number = session.step, session.leg.base, beside_trial.number
    if base is None or not isinstance(of_trial, Completed):
        return None
    want_base_run(step, base, number)
    while len(base.outcomes) <= number and not base.is_done:
        yield step.changed.wait()
    source = BaselineSource(kind="base_agent", name=ids_of(base.inputs)["agent_id"])
    trial = base.trials[number] if number < len(base.trials) else Trial()
    outcome = base.outcomes[number] if number < len(base.outcomes) else None
    missing = yield from _why_no_base(session.of(base), trial, outcome)
    if missing or trial.run is None or not isinstance(outcome, Completed):
        return Baseline(source=source, missing=missing)
    return Baseline(source=source, runs=(BaselineRun(run=trial.run, result=outcome.result),))


def _why_no_base(
    session: LegRun, trial: Trial, outcome: Outcome | GateError | None
) -> Procedure[NotFoundReason | None]:
    """Return why a run of the base cannot be compared with. The session is the base's."""
    status = trial.run.status if trial.run else ""
    match outcome:
        case None:
            return NotFoundReason(kind="unreadable", text="the step could not follow its run")
        case GateError():
            return NotFoundReason(kind="unreadable", text=outcome.what)
        case TimedOut():
            return NotFoundReason("not_over", trial.run_id, status=status, text=outcome.limit.name)
        case Completed():
            # Its values decide nothing.
            criteria = replace(session.criteria, confidence=None)
            judging = partial(judge_outcome, outcome, criteria, attached=trial.attached)
            missed = (yield from beside(judging)).missed
            why = next((check_reason(check) for check in missed if not check.criterion.of_values), "")
            return NotFoundReason(kind="unusable", run_id=trial.run_id, text=why) if why else None
    return NotFoundReason("not_completed", trial.run_id, status=status)


def want_base_run(step: Step, base: Base, number: int) -> None:
    if number >= base.wanted:
        base.wanted = number + 1
        step.changed.happen()


def _log_checks_of_base(session: LegRun, outcome: Completed) -> Procedure[None]:
    """Log the checks that compare with nothing. They only inform."""
    with suppress(GateError):
        criteria = session.criteria
        absolute = tuple(threshold for threshold in criteria.thresholds if not threshold.bound.reference)
        judgement = yield from beside(partial(judge_outcome, outcome, replace(criteria, thresholds=absolute)))
        session.log("By itself, which decides nothing:")
        yield from _log_checks(session, judgement)
