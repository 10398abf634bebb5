"""What happens to a leg after its first run is launched: the step follows it, judges it, and shows what it found."""

from functools import partial

from coval_gate.base.schedule import beside
from coval_gate.coval.model import RunResult
from coval_gate.gate.findings import Findings, findings_of
from coval_gate.gate.judge import judge_outcome
from coval_gate.gate.judgement import Judgement, gravest, judgement_with_words
from coval_gate.gate.measure import Baseline
from coval_gate.gate.verdict import Completed, Outcome, Together
from coval_gate.inputs.inputs import ids_of
from coval_gate.report.document.model import BASE_AGENT
from coval_gate.report.document.references import listed
from coval_gate.report.formats.log import check_lines
from coval_gate.step.leg import Leg, Trial
from coval_gate.step.publish import Published
from coval_gate.step.report import fetch_details, report_of, with_words
from coval_gate.step.step import LegRun, Step, StepRun
from coval_gate.step.watch import follow_trial


async def evaluate_leg(session: LegRun) -> None:
    """Judge the leg's first run. Raises CovalError, RunnerError."""
    leg, trial = session.leg, session.leg.first
    outcome, judgement = await judge_trial(session, trial)
    leg.judgement = judgement
    if isinstance(outcome, Completed):
        if session.inputs.max_simulations:  # a given run, and its base's, count as well before another one is launched
            for counted in filter(None, (leg, leg.base)):
                counted.planned = counted.planned or len(outcome.result.simulations)
        trial.judgement = await show_leg(session, judgement)


async def judge_trial(session: LegRun, trial: Trial) -> tuple[Outcome, Judgement]:
    """Follow a run, and judge it alone. If it can be no baseline, the step owes it a mark.

    A later trial is compared with the baseline of the first run. Raises CovalError.
    """
    leg = session.leg
    outcome = await follow_trial(session, trial)
    if trial is leg.first:
        if trial.run and leg.known and isinstance(outcome, Completed):
            from coval_gate.features.known_failures.step import check_given

            await check_given(session, trial.run)
        baseline = await _find_baseline(session, outcome)
    else:
        baseline = leg.first.judgement.baseline if leg.first.judgement and not session.inputs.accept else None
    base = None
    if leg.base and isinstance(outcome, Completed):
        from coval_gate.features.base_agent.step import find_base_run

        base = await find_base_run(session, leg.base, trial.number)
    judgement = await beside(partial(judge_outcome, outcome, session.criteria, baseline, base, trial.attached))
    if not trial.repeats:
        judgement = judgement._replace(timeout_passes=_timeout_passes(leg, trial, outcome, judgement))
    trial.judgement = judgement
    if judgement.is_barred:
        _owe_mark(session.step, trial, judgement)
    return outcome, judgement


def _owe_mark(step: Step, trial: Trial, judgement: Judgement) -> None:
    from coval_gate.features.comparisons.step import owe_mark

    owe_mark(step, trial, judgement)


async def _find_baseline(session: LegRun, outcome: Outcome) -> Baseline | None:
    if not session.inputs.baseline or not isinstance(outcome, Completed):
        return None
    from coval_gate.features.comparisons.step import find_baseline

    return await find_baseline(session, outcome.result)


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
        polled = trial.most_failed
        # Progress does not distinguish variants: all failures may be of one.
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


async def show_leg(session: LegRun, judgement: Judgement) -> Judgement:
    """Show the judgement of a leg in outputs, log and reports. Return it with units. Raises RunnerError."""
    leg, run = session.leg, session.leg.first.run
    leg.judgement = judgement  # together with the result that it is about: reports show both
    if isinstance(judgement.cause, Completed):
        leg.result = judgement.cause.result
    await _write_outputs(session)
    if leg.result:
        leg.result, judgement = await with_words(session, leg.result, judgement)
    leg.judgement = judgement
    leg.findings = await log_checks(session, judgement, leg.result)
    if judgement.known:
        from coval_gate.features.known_failures.step import announce_passing

        announce_passing(session.step, judgement)
    if leg.result and run:
        leg.details = await fetch_details(
            session,
            leg.result,
            [row.simulation.id for row in leg.findings.to_look_at],
            known=judgement.excused,
            test_set_id=run.test_set_id or ids_of(leg.inputs)["test_set_id"],
        )
    return judgement


async def _write_outputs(session: LegRun) -> None:
    """Write the step's verdict once all legs have theirs, for a step that is killed before its end.

    A step that is killed earlier must not pass, nor one that has yet to accept its run.
    """
    step = session.step
    if all(leg.outcome for leg in step.legs) and not step.inputs.accept:
        judgement = await judge_step(session)
        step.publisher.write_verdict(Published(report_of(step, judgement)))


async def conclude_step(session: StepRun) -> Judgement:
    """Return the step's judgement when all legs have ended."""
    judgement = await judge_step(session)
    if (together := session.step.together) and together.findings:
        session.labelled(together.name, lambda: together.name).log(*check_lines(*listed(together.findings, {})))
    return judgement


async def judge_step(session: StepRun) -> Judgement:
    """Compare all legs together. If that fails, none of the runs that took part is a baseline.

    Otherwise, the legs alone decide: each applied its policy for doubt.
    """
    step = session.step
    legs = [(None if leg.error else leg.judgement, session.of(leg).criteria) for leg in step.legs]
    judgement, failing = None, []
    if len(legs) > 1:
        from coval_gate.features.legs.judge import compare_legs

        judgement = await beside(partial(compare_legs, legs))
    if judgement and isinstance(cause := judgement.cause, Together):
        judgement = judgement_with_words(judgement, session.client.shown.units, {})
        step.together = Leg(step.inputs, cause.name)
        step.together.judgement, step.together.findings = judgement, findings_of(judgement)
        failing = [] if judgement.passes_gate else [judgement]
        for leg in map(step.legs.__getitem__, cause.legs):
            if leg.judgement:
                leg.judgement = leg.judgement._replace(failed_together=bool(failing))
                for trial in leg.trials:
                    _owe_mark(step, trial, leg.judgement)
    return gravest([*(leg.outcome for leg in step.legs if leg.outcome), *failing])


async def log_checks(session: LegRun, judgement: Judgement, result: RunResult | None = None) -> Findings:
    findings = await beside(partial(findings_of, judgement, result))
    base, name_of = session.leg.base, session.step.name_of
    names = {BASE_AGENT: name_of("agent_id", ids_of(base.inputs)["agent_id"])} if base else {}
    session.log(*check_lines(*listed(findings, names)))
    return findings
