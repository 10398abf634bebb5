"""Decides what a run shows: follows it to its end, judges it, and explains the judgement.

The modules that this needs take longer to import than the rest of the start, so they are imported after the launch.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from coval_gate.judge.criteria import Criteria
from coval_gate.judge.findings import findings_of
from coval_gate.judge.gate import judge_outcome
from coval_gate.model.outcomes import Completed
from coval_gate.report.formats.log import check_lines
from coval_gate.report.wording.repetition import all_runs_text
from coval_gate.runs.baseline import baseline_of
from coval_gate.runs.details import fetch_details
from coval_gate.runs.drift import drift_of
from coval_gate.runs.follow import follow
from coval_gate.runs.progress import ProgressLog, waiting_title
from coval_gate.runs.schedule import run
from coval_gate.runs.trend import fetch_trend
from coval_gate.runs.watch import Budgets
from coval_gate.standing import owe_mark
from coval_gate.times import DETAILS, TREND
from coval_gate.waiting import beside

if TYPE_CHECKING:
    from coval_gate.coval.client import Client
    from coval_gate.judge.judgement import Judgement
    from coval_gate.judge.repetition import Together
    from coval_gate.model.baseline import Baseline
    from coval_gate.model.outcomes import Outcome
    from coval_gate.model.results import RunResult
    from coval_gate.model.run import Run
    from coval_gate.model.trend import TrendRun
    from coval_gate.runs.leg import Leg
    from coval_gate.step import Step
    from coval_gate.waiting import Procedure


def judge_run(step: Step, client: Client, leg: Leg) -> Judgement:
    """Watch the leg's run to its end, collect its result, and judge it. Raises CovalError, RunnerError."""
    criteria = Criteria.from_inputs(step.inputs)

    def follow_run() -> Procedure[Outcome]:
        return follow(
            client,
            leg.run_id,
            inputs=step.inputs,
            criteria=criteria,
            clock=step.clock,
            budgets=Budgets.from_inputs(step.inputs, began=step.began),
            progress=ProgressLog(step.clock, step.host.log, step.warn),
            log=step.host.quote,
            record=lambda seen: step.see(leg, seen),
        )

    left = max(0.0, step.deadline - step.clock.now()) if leg.repetition else step.inputs.max_wait_time
    with step.host.group(waiting_title(left)):
        outcome = step.unless_cancelled(leg, follow_run()) or run(follow_run(), step.clock)
    step.check_selection(client, leg)
    baseline = _baseline(step, client, leg, outcome)
    searching = drift_of(client, leg, outcome, step.inputs, step.context, clock=step.clock, deadline=step.deadline)
    leg.drift = run(searching, step.clock)
    leg.judgement = run(beside(partial(judge_outcome, outcome, criteria, baseline, leg.drift)), step.clock)
    owe_mark(step, leg)
    if isinstance(outcome, Completed):
        leg.result = outcome.result
        if leg.repetition:  # only all runs together have a verdict
            step.host.quote(*check_lines(findings_of(leg.judgement)))
        else:
            _explain(step, client, leg, leg.judgement)
    return leg.judgement


def take_together(step: Step, client: Client, leg: Leg, together: Together) -> None:
    """Record what the leg's run and its repetitions show together. Raises RunnerError."""
    leg.alone = leg.alone or leg.judgement
    leg.result, leg.judgement = together
    leg.findings = None  # those of the run alone are others
    repetition = leg.judgement.repetition
    if repetition and not repetition.unusable:
        step.host.log(f"{all_runs_text(len(repetition.runs)).capitalize()} together:")
        _explain(step, client, leg, leg.judgement)


def _baseline(step: Step, client: Client, leg: Leg, outcome: Outcome) -> Baseline | None:
    """Find the runs that thresholds compare with; a repetition is compared with those of the first run."""
    if step.inputs.accept:
        return None
    first = step.legs[0].judgement
    if leg.repetition and first:
        return first.baseline
    finding = baseline_of(
        client,
        leg,
        outcome,
        step.inputs,
        step.context,
        clock=step.clock,
        deadline=step.deadline,
        log=step.host.quote,
    )
    return run(finding, step.clock)


def _explain(step: Step, client: Client, leg: Leg, judgement: Judgement) -> None:
    """Write the outputs, log every check, and fetch details about the simulations to look at.

    Raises RunnerError.
    """
    step.publisher.write_verdict(step.report(judgement))
    leg.findings = run(beside(partial(findings_of, judgement, leg.result)), step.clock)
    step.host.quote(*check_lines(leg.findings))
    if leg.result and leg.run:
        if not judgement.repetition:
            leg.trend = run(_trend(step, client, leg.run, leg.result), step.clock)
        leg.details = run(
            fetch_details(
                client,
                leg.result,
                [each.simulation.id for each in leg.findings.to_look_at],
                test_set_id=leg.run.test_set_id or step.inputs.test_set_id,
                with_transcripts=step.inputs.include_transcripts == "failures",
                clock=step.clock,
                until=step.times.informing(step.clock.now(), DETAILS),
            ),
            step.clock,
        )


def _trend(step: Step, client: Client, leg_run: Run, result: RunResult) -> Procedure[tuple[TrendRun, ...]]:
    """Fetch the last runs before the leg's, if a report shows them."""
    inputs = step.inputs
    if not inputs.html_path:
        return ()
    named = inputs.baseline.name if inputs.baseline and inputs.baseline.kind == "tag" else ""
    return (
        yield from fetch_trend(
            client,
            leg_run,
            metrics={metric.id for metric in result.metrics},
            promotions=tuple(filter(None, (inputs.promote, named))),
            until=step.times.informing(step.clock.now(), TREND),
        )
    )
