"""Collects the data of a run that completed, and finds out which are still missing, and which will never come.

The final poll has the values, and the list of simulations shows which values must be there. Either may lag behind the
run's status, and Coval may not show how many simulations and metrics there are. So the step looks again while something
that the gate needs is missing, or may be, unless it certainly will not come. The step judges what the last look showed.

A run shows neither which metrics it must have nor which values they can have. A run that completed may list its metrics
one after another: if each counts, the step must know that the list is complete. A run that was launched without metrics
has those of its agent. If the agent names none, or the run was launched elsewhere, a simulation lists the metrics that
are computed for it. A missing value may be late: the metric outputs of its simulation show whether the metric ended
without a value. A definition costs a call only where a criterion names a value that no simulation has.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Final, NamedTuple

from coval_gate.base import titles
from coval_gate.base.errors import CovalError, GateError, InputError, NotFound
from coval_gate.base.schedule import Wait, together
from coval_gate.base.text import one_line, plural
from coval_gate.base.times import COLLECTING
from coval_gate.coval.client import Session
from coval_gate.coval.model import CANCELLED, COMPLETED, ENDED, SKIPPED, Metric, Run, RunResult, Simulation
from coval_gate.coval.resources import AGENT, METRIC, MetricDefinition, MetricOutput
from coval_gate.gate.criteria import Criteria
from coval_gate.gate.judgement import UNFINISHED_RUN
from coval_gate.gate.population import population
from coval_gate.gate.values import Vocabulary, named_values
from coval_gate.gate.verdict import Completed, NotCompleted
from coval_gate.history.tags import with_provenance
from coval_gate.step.leg import Trial
from coval_gate.step.report import report_of
from coval_gate.step.step import LegRun

OPTIONAL_TIME: Final = 15.0  # s for a call that the step can do without
SETTLING: Final = 20.0  # s for which data must stay the same if more may come
EMPTY_SETTLING: Final = 30.0  # s for which a run must list no simulation if Coval does not report that it has none
UNNAMED_SETTLING: Final = 60.0  # s for which data must stay the same if neither the launch nor the agent names metrics
UNUSED: Final = (CANCELLED, SKIPPED)  # the status of a metric that is not computed for a simulation
ASKED: Final = 5  # simulations whose outputs are fetched, at most

Outputs = dict[str, "MetricOutput"]  # of one simulation, by the id of their metric
FIRST_LOOK_PAUSE, LONGEST_LOOK_PAUSE = 2.0, 15.0  # s between two looks


async def collect(session: LegRun, trial: Trial, run: Run) -> Completed | NotCompleted:
    """Collect what the criteria need. Raises CovalError.

    Wait as long as `metrics_grace_time` and the deadline allow. If Coval does not report how much there is, wait until
    the data have stayed the same for SETTLING, even beyond that.
    """
    clock, deadline = session.clock, session.deadline
    began = looked_at = clock.now()
    give_up = min(deadline, began + session.inputs.metrics_grace_time)
    until = max(deadline, began + COLLECTING)
    collector = Collector(session, trial, until)
    pause, late = FIRST_LOOK_PAUSE, None
    while True:
        snapshot = await collector.look(run)
        if run.is_over and run.status != COMPLETED:
            return NotCompleted(run=run)
        result, since = snapshot.result, collector.since
        settles_at = since + (SETTLING if result.simulations else EMPTY_SETTLING)
        missing = await collector.missing(run, snapshot, unchanged=max(0.0, looked_at - since))
        if missing is None:
            break
        last = min(deadline, max(give_up, settles_at) if missing.is_open else give_up)
        if looked_at >= last:
            late = session.overall_limit if clock.now() >= deadline else None
            result = result._replace(settled=not missing.is_open)
            break
        if pause == FIRST_LOOK_PAUSE:
            session.log(f"The run completed; waiting for {missing.what}.")
        next_look = min(clock.now() + pause, last, settles_at if settles_at > looked_at else math.inf)
        await Wait(max(0.0, next_look - clock.now()))
        pause = min(LONGEST_LOOK_PAUSE, pause * 1.5)
        looked_at = clock.now()
        with suppress(NotFound):  # it was there a moment ago; if it is gone for good, its values stay missing
            run = await session.client.get_run(run.run_id, until=until)
            see(session, trial, run)
    return Completed(result=await with_definitions(session, result), late=late)


async def most_common_error(session: Session, run_id: str) -> str:
    """Return an empty text if Coval does not show errors in time."""
    until = min(session.deadline, session.clock.now() + OPTIONAL_TIME)
    with suppress(CovalError):
        simulations = await session.client.list_simulations(run_id, until=until)
        errors = Counter(one_line(simulation.error) for simulation in simulations if simulation.error)
        return next((text for text, _ in errors.most_common(1)), "")
    return ""


async def with_definitions(session: LegRun, result: RunResult) -> RunResult:
    """Return the run with the values that its metrics can have, as far as they matter and Coval responds in time."""
    until = _optional_until(session)
    named = [
        (metric.id, value)
        for reference, values in session.criteria.named_values
        for metric in result.find_metrics(reference)
        for value in values
    ]
    metrics = []
    for metric in result.metrics:
        values = [value for metric_id, value in named if metric_id == metric.id]
        values += named_values(metric.target) if metric.target else ()
        if metric.is_identified and Vocabulary.of(metric).unseen(values):
            with suppress(CovalError):  # else its only texts are not known
                definition = await session.client.get(METRIC, metric.id, until=until)
                metric = metric._replace(defined=definition.texts)
        metrics.append(metric)
    return result._replace(metrics=tuple(metrics))


def _optional_until(session: Session) -> float:
    """Return when to end calls that the step can do without. What a call shows after the deadline still informs."""
    now = session.clock.now()
    return min(max(session.deadline, now), now + OPTIONAL_TIME)


class Never(NamedTuple):
    """What will not come: further metrics, or missing values of the metrics with these ids."""

    no_more_metrics: bool = False
    values_of: frozenset[str] = frozenset()


async def find_never(session: Session, snapshot: "Snapshot", named: frozenset[str], *, until: float) -> Never:
    """Look at a few simulations. If a call fails, nothing is certain. `named`: metrics of the launch or the agent."""
    completed = [simulation.id for simulation in snapshot.result.simulations if simulation.completed]
    if not completed:
        return Never(no_more_metrics=True)  # metrics are computed for simulations that completed
    lacking = {
        metric.id: [simulation_id for simulation_id in completed if simulation_id not in metric.values]
        for metric in snapshot.needed
    }
    # Those that lack a value of some metric come first, the smallest gap before others.
    ranked = [simulation_id for gap in sorted(lacking.values(), key=len) for simulation_id in gap]
    sample = list(dict.fromkeys(ranked or completed))[:ASKED]
    calls = (session.client.list_metric_outputs(simulation_id, until=until) for simulation_id in sample)
    responses = await together(calls, session.clock, at_once=ASKED)
    outputs: dict[str, Outputs] = {}
    for simulation_id, response in zip(sample, responses, strict=True):
        if isinstance(response, CovalError):
            return Never()
        outputs[simulation_id] = {output.metric_id: output for output in response}
    computed = {metric_id for by_metric in outputs.values() for metric_id in by_metric}
    listed = {metric.id for metric in snapshot.result.metrics}
    return Never(
        no_more_metrics=bool(computed) and named | computed <= listed,
        values_of=frozenset(
            metric_id for metric_id, ids in lacking.items() if _has_ended(metric_id, ids, completed, outputs)
        ),
    )


def _has_ended(
    metric_id: str, lacking: Sequence[str], completed: Sequence[str], outputs: Mapping[str, Outputs]
) -> bool:
    """Every simulation without a value must show that none will come. If all lack one, the sample stands for them."""
    shown = [outputs[simulation_id].get(metric_id) for simulation_id in lacking if simulation_id in outputs]
    is_known = len(shown) == len(lacking) or (len(lacking) == len(completed) and len(shown) > 0)
    # If an output has a value, the run will show it later.
    return is_known and all(output and output.status in ENDED and output.value is None for output in shown)


class Snapshot(NamedTuple):
    """`certain`: Coval reports how many simulations and metrics there are. `is_empty`: it reports no simulation.

    `lacking`: what the criteria name, and no metric of the run is. `needed`: metrics whose values must all come.
    """

    result: RunResult
    certain: bool
    is_empty: bool
    lacking: tuple[str, ...]
    needed: tuple[Metric, ...]


class Awaited(NamedTuple):
    """`may_never_come`: simulations may show that it will not. `is_open`: more may come than the run lists."""

    what: str
    may_never_come: bool = False
    is_open: bool = False


class Collector:
    """Looks again and again. It fetches each definition once, and simulations until all have ended.

    `until`: the end of calls that it cannot do without.
    """

    def __init__(self, session: LegRun, trial: Trial, until: float) -> None:
        self._session = session
        own = session.leg.slices[trial.number : trial.number + 1]  # of a slice, Coval must list every test case
        self._cases = sum(map(len, own)) or session.criteria.cases
        self._until = until
        self._definitions: dict[str, MetricDefinition] = {}
        self._announced = frozenset(session.criteria.metric_ids)  # ids that the launch or the agent names
        self._has_asked = False  # the agent
        self._simulations: tuple[Simulation, ...] | None = None
        self._last: RunResult | None = None
        self.since = -math.inf  # since when the data stay the same

    async def look(self, run: Run) -> Snapshot:
        """`run`: the poll that this look began with. Raises CovalError."""
        criteria, simulations = self._session.criteria, self._simulations
        if simulations is None:
            simulations = await self._session.client.list_simulations(run.run_id, until=self._until)
        people = population(run, simulations, replace(criteria, cases=self._cases))
        complete = people.certain and len(simulations) >= people.expected
        has_cases = not criteria.needs_test_cases or all(simulation.test_case_id for simulation in simulations)
        ended = all(simulation.ended for simulation in simulations)
        self._simulations = simulations if complete and ended and has_cases else None
        # EXECUTION_FAILURE adds nothing: Coval reports it if a single simulation failed.
        restated = run.error_status.upper() == "EXECUTION_FAILURE" and not all(one.completed for one in simulations)
        errors = ("" if run.is_clean or restated else run.error_status, run.error)
        result = RunResult(
            run_id=run.run_id,
            expected=people.expected,
            reported_error=one_line(": ".join(filter(None, errors))),
            simulations=simulations,
            metrics=run.metrics,
        )
        certain = people.certain
        if criteria.needs_targets:
            result = await self._with_targets(run, result)
            certain = certain and bool(self._announced)
        named = {reference: result.find_metrics(reference) for reference in criteria.references}
        wanted = (*(metric for metric in result.metrics if metric.target), *chain(*named.values()))
        needed = tuple(metric for metric in wanted if not metric.summary)  # which has no values
        lacking = tuple(reference for reference, metrics in named.items() if not metrics)
        if result != self._last:  # a look may have begun long before it showed its data
            self._last, self.since = result, self._session.clock.now()
        return Snapshot(result, certain, run.is_empty, lacking, needed)

    async def _with_targets(self, run: Run, result: RunResult) -> RunResult:
        """Add targets, and the metrics with a target that are announced, but not listed. Raises CovalError."""
        metrics, absent = [], []
        for metric in run.metrics:
            target = (await self._define(metric.id)).target if metric.is_identified else None
            metrics.append(metric._replace(target=target))
        result = result._replace(metrics=tuple(metrics))
        until = min(self._until, self._session.clock.now() + OPTIONAL_TIME)
        await self._ask_agent(run, until)
        announced, completed = self._announced, [one.id for one in result.simulations if one.completed]
        if completed and not announced:
            with suppress(CovalError):  # a call that fails announces nothing
                outputs = await self._session.client.list_metric_outputs(completed[-1], until=until)
                announced = frozenset(output.metric_id for output in outputs if output.status not in UNUSED)
        listed = {metric.id for metric in metrics}  # or names, in older responses
        for metric_id in sorted(announced - listed):
            with suppress(NotFound):  # a metric that was deleted gets no values
                definition = await self._define(metric_id)
                if definition.target is not None and definition.name not in listed:
                    absent.append(definition.name or metric_id)
        return result._replace(absent_metrics=tuple(absent))

    async def _define(self, metric_id: str) -> MetricDefinition:
        if metric_id not in self._definitions:
            definition = await self._session.client.get(METRIC, metric_id, until=self._until)
            self._definitions[metric_id] = definition
        return self._definitions[metric_id]

    async def _ask_agent(self, run: Run, until: float) -> None:
        """If the launch names no metrics, the run has those of its agent."""
        launched_here = self._session.criteria.iterations is not None
        if not (self._announced or self._has_asked) and launched_here and run.agent_id:
            with suppress(CovalError):
                agent = await self._session.client.get(AGENT, run.agent_id, until=until)
                self._announced, self._has_asked = frozenset(agent.metric_ids), True

    async def missing(self, run: Run, snapshot: Snapshot, *, unchanged: float) -> Awaited | None:
        """Return what is still missing. `unchanged`: seconds for which the data stayed the same."""
        criteria = self._session.criteria
        missing = _missing(snapshot, criteria, Never(), unchanged=unchanged)
        if unchanged >= SETTLING and missing and missing.may_never_come:
            never = await self._never(run, snapshot, unchanged=unchanged)
            missing = _missing(snapshot, criteria, never, unchanged=unchanged)
        return missing

    async def _never(self, run: Run, snapshot: Snapshot, *, unchanged: float) -> Never:
        session, until = self._session, _optional_until(self._session)
        await self._ask_agent(run, until)
        has_completed = any(simulation.completed for simulation in snapshot.result.simulations)
        if snapshot.lacking and has_completed and not self._announced and unchanged < UNNAMED_SETTLING:
            return Never()  # the outputs of simulations may lag behind the run's status, as its own metrics do
        never = await find_never(session, snapshot, self._announced, until=until)
        return never._replace(no_more_metrics=False) if session.criteria.persona_metrics else never


def _missing(snapshot: Snapshot, criteria: Criteria, never: Never, *, unchanged: float) -> Awaited | None:
    """Return the first data that the criteria need, and that may still come."""
    result = snapshot.result
    if not (result.simulations or result.expected) and (snapshot.is_empty or unchanged >= EMPTY_SETTLING):
        return None
    running = sum(not simulation.ended for simulation in result.simulations)
    absent = max(0, max(result.expected, 1) - len(result.simulations))
    if absent or running:
        return Awaited(plural(absent + running, "simulation"))
    lacking = snapshot.lacking if not never.no_more_metrics else ()
    if metric := next(iter((*lacking, *result.absent_metrics)), ""):
        return Awaited(f"the metric {one_line(metric, 80)}", may_never_come=True)
    completed = [simulation.id for simulation in result.simulations if simulation.completed]
    by_metric = {metric.id: metric.values for metric in snapshot.needed if metric.id not in never.values_of}
    if values := sum(simulation_id not in own for own in by_metric.values() for simulation_id in completed):
        return Awaited(f"{plural(values, 'value')} of metrics", may_never_come=True)
    if criteria.needs_targets and not result.metrics:
        return Awaited("the metric with a target", may_never_come=True)
    unnamed = sum(not simulation.test_case_id for simulation in result.simulations)
    if unnamed and criteria.needs_test_cases:
        return Awaited(f"the test cases of {plural(unnamed, 'simulation')}")
    if snapshot.certain or unchanged >= SETTLING:
        return None
    what = "further simulations and metrics, because Coval does not report how many there are"
    return Awaited(what, is_open=True)


def see(session: LegRun, trial: Trial, run: Run) -> Run:
    """Record what a poll showed. Return the run with counts of simulations, where Coval counts their test cases.

    Raises InputError if the inputs of mode wait name another run, and GateError if it is larger than planned.
    """
    step, leg, planned = session.step, session.leg, session.leg.size_of(trial.number)
    if run.progress:
        run = run._replace(progress=run.progress.in_simulations(planned))
    trial.see(run, at=session.clock.now())
    if trial.is_given:
        from coval_gate.features.given.step import guard_given, problems_of

        if problems := problems_of(leg, trial, run):
            trial.release()  # no run that the user means
            raise InputError(problems)
        guard_given(leg, trial, run)
        step.context = with_provenance(step.context, run)
        if pages := step.publisher.pages(step.inputs):
            pages.owe(report_of(step, UNFINISHED_RUN))
    if leg.inputs.max_simulations and planned is not None and run.progress and run.progress.total > planned:
        raise GateError(
            titles.TOO_MANY_SIMULATIONS,
            f"Run {run.run_id} has {run.progress.total:,} simulations, but {planned:,} were planned, and "
            "max_simulations limits them.",
            advice="The test set may have grown since it was counted. Raise max_simulations, or set test_case_ids.",
        )
    return run
